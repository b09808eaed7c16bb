"""Signing in at an OpenID Connect provider: the way there and back, who comes in, and what is refused."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.access import auth as access
from api.access import oidc_provider, session_cookie
from api.app import make_app
from api.console.oidc_flow import COOKIE
from shared.clock import now_ms
from shared.config import AuthSettings
from shared.config.oidc import OidcSettings
from shared.errors import ConfigError
from shared.store import sessions
from tests.builders import Backend
from tests.support.oidc_provider import CLI, CLIENT, SECRET, OidcProvider

ORIGIN = "http://localhost"
VARIABLE = "OIDC_SECRET"
Make = Callable[..., Backend]


@pytest.fixture
def provider() -> Iterator[OidcProvider]:
    with OidcProvider() as started:
        yield started


@pytest.fixture
def make(open_backend: Make, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Return a function that makes an API process with the provider, and more settings of [auth.oidc]."""
    monkeypatch.setattr(access, "CACHE_SECONDS", 0.0)

    def make_(**settings: Any) -> Backend:
        usual: dict[str, Any] = {
            "issuer": provider.issuer,
            "client_id": CLIENT,
            "client_secret_env_var": VARIABLE,
            "client_secret": SECRET,
            "cli_client_id": CLI,
            "name": "Example",
            "create_users": True,
            "admin_values": ("ops",),
            "private_hosts": ("127.0.0.1",),
        }
        backend = open_backend(auth=AuthSettings(oidc=OidcSettings(**usual | settings)))
        object.__setattr__(backend.config.server, "public_url", ORIGIN)
        return backend

    return make_


@pytest.fixture
def backend(make: Make) -> Backend:
    return make()


def browser(backend: Backend) -> FlaskClient:
    return make_app(backend.services).test_client()


def start(client: FlaskClient, page: str = "/", **headers: str) -> TestResponse:
    return client.get("/oidc/start?" + urlencode({"next": page}), headers=headers)


def come_back(client: FlaskClient, location: str) -> TestResponse:
    parts = urlsplit(location)
    return client.get(f"{parts.path}?{parts.query}")


def sign_in(client: FlaskClient, provider: OidcProvider, person: str = "ada", page: str = "/") -> TestResponse:
    return come_back(client, provider.visit(start(client, page).headers["Location"], person))


def who(client: FlaskClient, **headers: str) -> Any:
    return client.get("/console/session", headers=headers).get_json()


def sign_out(client: FlaskClient) -> Any:
    return client.delete("/console/session", headers={"Origin": ORIGIN}).get_json()


def session_of(answer: TestResponse) -> str | None:
    """Return the new session's cookie; None: there is no session."""
    return next((one for one in answer.headers.getlist("Set-Cookie") if one.startswith(session_cookie.NAME)), None)


# -- in and out


def test_a_user_signs_in_at_the_provider_and_lands_where_they_wanted(backend: Backend, provider: OidcProvider) -> None:
    client = browser(backend)
    assert who(client)["provider"] == "Example"

    gone = start(client, "/#/threads/0123")
    asked = {name: values[0] for name, values in parse_qs(urlsplit(gone.headers["Location"]).query).items()}
    back = come_back(client, provider.visit(gone.headers["Location"], "ada"))

    assert asked["code_challenge_method"] == "S256"
    assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT)
    assert asked["redirect_uri"] == f"{ORIGIN}/oidc/callback"
    assert (back.status_code, back.headers["Location"]) == (303, f"{ORIGIN}/#/threads/0123")
    cookie = session_of(back)
    assert cookie is not None
    assert all(part in cookie for part in ("HttpOnly", "SameSite=Strict", "Path=/"))
    assert not [
        one
        for one in back.headers.getlist("Set-Cookie")
        if one.startswith(COOKIE) and "Expires=Thu, 01 Jan 1970" not in one
    ]
    assert who(client)["user"]["name"] == "ada"
    assert who(client)["user"]["role"] == "member"
    user = backend.store.users.get("ada")
    assert [(row.owner, row.action) for row in backend.store.audit.all_users_page()][-1] == (user.id, "console/signIn")


def test_the_cookie_of_a_sign_in_is_read_by_no_script_and_comes_back_from_the_provider(backend: Backend) -> None:
    [cookie] = start(browser(backend)).headers.getlist("Set-Cookie")

    assert all(part in cookie for part in ("HttpOnly", "SameSite=Lax", "Max-Age=600"))


def test_behind_https_cookies_are_secure_and_no_other_host_can_set_them(make: Make, provider: OidcProvider) -> None:
    backend = make()
    object.__setattr__(backend.config.server, "public_url", "https://threads.example")
    client = browser(backend)

    gone = client.get("/oidc/start", base_url="https://threads.example")
    [cookie] = gone.headers.getlist("Set-Cookie")
    location = urlsplit(provider.visit(gone.headers["Location"], "ada"))
    back = client.get(f"{location.path}?{location.query}", base_url="https://threads.example")

    assert cookie.startswith(f"__Host-{COOKIE}")
    assert "Secure" in cookie
    assert "Secure" in (session_of(back) or "")


def test_two_tabs_sign_in_side_by_side(backend: Backend, provider: OidcProvider) -> None:
    client = browser(backend)
    first, second = (start(client).headers["Location"] for _ in range(2))

    answers = [come_back(client, provider.visit(url, "ada")) for url in (first, second)]

    assert [answer.status_code for answer in answers] == [303, 303]


def test_groups_make_an_admin_for_the_session_alone(backend: Backend, provider: OidcProvider) -> None:
    client = browser(backend)

    sign_in(client, provider, "grace")

    assert who(client)["user"]["role"] == "admin"
    assert backend.store.users.get("grace").role == "member"
    provider.people["grace"] = {"groups": "staff"}
    sign_in(client, provider, "grace")
    assert who(client)["user"]["role"] == "member"


def test_the_same_subject_is_the_same_user_as_with_a_token(backend: Backend, provider: OidcProvider) -> None:
    client = browser(backend)
    sign_in(client, provider)

    token = {"Authorization": f"Bearer {provider.id_token('ada', CLI)}"}

    assert who(client)["user"] == who(browser(backend), **token)["user"]


def test_signing_out_ends_the_session_here_and_leads_to_the_provider(backend: Backend, provider: OidcProvider) -> None:
    client = browser(backend)
    secret = (session_of(sign_in(client, provider)) or "").partition("=")[2].partition(";")[0]
    with backend.store.database.read() as connection:
        [row] = connection.execute(sessions.sessions.select()).all()
    assert row.id_token
    assert "eyJ" not in str(row)

    leave = urlsplit(sign_out(client)["continueAt"])

    query = {name: values[0] for name, values in parse_qs(leave.query).items()}
    assert f"{leave.scheme}://{leave.netloc}{leave.path}" == f"{provider.issuer}/end"
    assert query["post_logout_redirect_uri"] == f"{ORIGIN}/"
    hint = query["id_token_hint"]
    assert jwt.decode(hint, options={"verify_signature": False})["sub"] == "ada"
    client.set_cookie(session_cookie.NAME, secret)
    assert who(client)["user"] is None
    refused = client.get("/console/session", headers={"Authorization": f"Bearer {hint}"}).get_json()
    assert refused["user"] is None


def test_a_user_signs_out_although_the_provider_is_away(backend: Backend, provider: OidcProvider) -> None:
    client = browser(backend)
    cookie = session_of(sign_in(client, provider)) or ""
    provider.faults["/.well-known/openid-configuration"] = "fails"
    other = browser(backend)  # a process that has not asked the provider yet
    other.set_cookie(session_cookie.NAME, cookie.partition("=")[2].partition(";")[0])

    assert sign_out(other) == {}
    assert who(client)["user"] is None


def test_a_session_ends_after_its_hours_and_with_its_user(
    backend: Backend, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, grace = browser(backend), browser(backend)
    [seconds] = re.findall(r"Max-Age=(\d+)", session_of(sign_in(ada, provider)) or "")
    assert 12 * 3600 - 10 < int(seconds) <= 12 * 3600
    sign_in(grace, provider, "grace")

    backend.store.users.set_disabled(backend.store.users.get("ada").id, True)
    assert who(ada)["user"] is None
    assert who(grace)["user"]["name"] == "grace"
    monkeypatch.setattr(sessions, "now_ms", lambda: now_ms() + 12 * 3600 * 1000 + 1)
    assert who(grace)["user"] is None


@pytest.mark.parametrize("named", [{"sub": "ada"}, {"sid": "session-of-ada"}, {"sub": "ada", "sid": "session-of-ada"}])
def test_the_provider_ends_the_sessions_that_it_names(
    backend: Backend, provider: OidcProvider, named: dict[str, str]
) -> None:
    ada, grace = browser(backend), browser(backend)
    sign_in(ada, provider)
    sign_in(grace, provider, "grace")

    answer = ada.post("/oidc/logout", data={"logout_token": provider.logout_token(**named)})

    assert answer.status_code == 200
    assert who(ada)["user"] is None
    assert who(grace)["user"]["name"] == "grace"


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "ada", "nonce": "n"},
        {"sub": "ada", "events": {}},
        {"sub": "ada", "aud": "others"},
        {"sub": "ada", "exp": 1},
        {"sub": "ada", "iss": "https://evil.example"},
        {"sub": ["ada"]},
        {},
    ],
)
def test_what_is_no_logout_token_ends_nothing(backend: Backend, provider: OidcProvider, claims: dict[str, Any]) -> None:
    client = browser(backend)
    sign_in(client, provider)

    for token in (provider.logout_token(**claims), provider.id_token("ada", CLIENT), "rubbish"):
        assert client.post("/oidc/logout", data={"logout_token": token}).status_code == 400

    assert client.post("/oidc/logout", data="rubbish").status_code == 400
    assert client.post("/oidc/logout", data={"logout_token": "x" * 20_000}).status_code == 413
    assert who(client)["user"]["name"] == "ada"


# -- who comes in


def test_a_user_whom_nobody_added_stays_out_unless_that_is_allowed(make: Make, provider: OidcProvider) -> None:
    backend = make(create_users=False)
    client = browser(backend)

    answer = sign_in(client, provider)

    assert answer.status_code == 401
    assert "threadhouse users add" in answer.get_data(as_text=True)
    assert session_of(answer) is None
    backend.store.users.add("ada")
    assert sign_in(client, provider).status_code == 303


def test_a_disabled_user_stays_out(backend: Backend, provider: OidcProvider) -> None:
    user = backend.store.users.add("ada")
    backend.store.users.set_disabled(user.id, True)
    client = browser(backend)

    assert sign_in(client, provider).status_code == 401
    assert who(client, Authorization=f"Bearer {provider.id_token('ada', CLI)}")["user"] is None


def test_the_name_comes_from_the_claim_that_the_operator_chose(make: Make, provider: OidcProvider) -> None:
    client = browser(make(user_claim="email"))
    missing = sign_in(client, provider)
    provider.people["ada"] = {"email": "ada@example.com", "email_verified": False}
    unverified = sign_in(client, provider)
    provider.people["ada"] = {"email": "ada@example.com", "email_verified": True}

    assert (missing.status_code, "user_claim" in missing.get_data(as_text=True)) == (401, True)
    assert (unverified.status_code, "verify it there" in unverified.get_data(as_text=True)) == (401, True)
    assert sign_in(client, provider).status_code == 303
    assert who(client)["user"]["name"] == "ada@example.com"


def test_a_missing_secret_stops_the_start(make: Make) -> None:
    with pytest.raises(ConfigError, match="environment variable OIDC_SECRET to be set"):
        make_app(make(client_secret=None).services)


# -- attacks


@pytest.mark.parametrize(
    "page",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "/#/x\r\nSet-Cookie: a=b",
        "javascript:alert(1)",
        "/@evil.example",
        "/oidc/start",
        "#/threads",
    ],
)
def test_signing_in_leads_to_no_other_place(backend: Backend, page: str) -> None:
    answer = start(browser(backend), page)

    assert answer.status_code == 400
    assert "Location" not in answer.headers


def test_a_cookie_that_was_written_by_hand_leads_to_no_other_place(backend: Backend, provider: OidcProvider) -> None:
    client = browser(backend)
    location = provider.visit(start(client).headers["Location"], "ada")
    name = next(one.key for one in client._cookies.values() if one.key.startswith(COOKIE))  # type: ignore[union-attr]
    value = base64.urlsafe_b64decode(client.get_cookie(name).value)  # type: ignore[union-attr]
    evil = value.replace(b'"page":"/"', b'"page":"//evil.example/"')
    assert evil != value
    client.set_cookie(name, base64.urlsafe_b64encode(evil).decode())

    assert come_back(client, location).status_code == 400


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_page_begins_no_sign_in(backend: Backend, site: str) -> None:
    assert start(browser(backend), **{"Sec-Fetch-Site": site}).status_code == 403


def test_another_browser_cannot_finish_a_sign_in(backend: Backend, provider: OidcProvider) -> None:
    """Login CSRF: the attacker's own code and state in the victim's browser."""
    attacker, victim = browser(backend), browser(backend)
    location = provider.visit(start(attacker).headers["Location"], "ada")
    start(victim)

    answer = come_back(victim, location)

    assert (answer.status_code, session_of(answer)) == (400, None)
    assert "not begun in this browser" in answer.get_data(as_text=True)
    assert not [path for path, _ in provider.requests if path == "/token"]


@pytest.mark.parametrize("reuses_codes", [False, True])
def test_an_answer_of_the_provider_counts_once(backend: Backend, provider: OidcProvider, reuses_codes: bool) -> None:
    provider.reuses_codes = reuses_codes
    client = browser(backend)
    gone = start(client)
    location = provider.visit(gone.headers["Location"], "ada")
    name, _, value = gone.headers["Set-Cookie"].partition(";")[0].partition("=")
    assert come_back(client, location).status_code == 303

    without_cookie = come_back(client, location)
    client.set_cookie(name, value)
    with_cookie = come_back(client, location)

    assert [(one.status_code, session_of(one)) for one in (without_cookie, with_cookie)] == [(400, None)] * 2


def test_a_code_of_another_sign_in_is_of_no_use(backend: Backend, provider: OidcProvider) -> None:
    """Code injection: the state of the victim with the code of an attacker. PKCE and nonce are in the way."""
    attacker, victim = browser(backend), browser(backend)
    stolen = parse_qs(urlsplit(provider.visit(start(attacker).headers["Location"], "grace")).query)["code"][0]
    own = parse_qs(urlsplit(provider.visit(start(victim).headers["Location"], "ada")).query)

    query = urlencode({"code": stolen, "state": own["state"][0], "iss": provider.issuer})
    answer = victim.get(f"/oidc/callback?{query}")

    assert (answer.status_code, session_of(answer)) == (400, None)


@pytest.mark.parametrize("issuer", ["https://evil.example", None])
def test_an_answer_of_another_provider_is_refused(backend: Backend, provider: OidcProvider, issuer: str | None) -> None:
    client = browser(backend)
    location = provider.visit(start(client).headers["Location"], "ada")
    replaced = {"iss": issuer} if issuer else {}
    query = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items() if name != "iss"} | replaced

    answer = client.get(f"/oidc/callback?{urlencode(query)}")

    assert (answer.status_code, session_of(answer)) == (400, None)
    assert not [path for path, _ in provider.requests if path == "/token"]


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"aud": "others"},
        {"aud": [CLIENT, "others"], "azp": "others"},
        {"iss": "https://evil.example"},
        {"exp": 1},
        {"exp": int(time.time()) - 60},
        {"nbf": int(time.time()) + 86_400},
        {"sub": None},
        {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
        {"events": {}},
    ],
    ids=" ".join,
)
def test_an_id_token_for_something_else_signs_nobody_in(
    backend: Backend, provider: OidcProvider, claims: dict[str, Any]
) -> None:
    client = browser(backend)
    provider.claims = claims

    answer = sign_in(client, provider)

    assert (answer.status_code, session_of(answer)) == (401, None)


def forged(provider: OidcProvider) -> list[tuple[Any, str, str]]:
    key, _, key_id = provider.signs_with
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    raw = public.replace(b"PUBLIC KEY", b"PUBLIC  KEY")  # PyJWT would not sign with the other
    other = ec.generate_private_key(ec.SECP256R1())
    return [(None, "none", key_id), (raw, "HS256", key_id), (other, "ES256", key_id), (other, "ES256", "unknown")]


@pytest.mark.parametrize("number", range(4), ids=["none", "HS256 of the public key", "another key", "an unknown key"])
def test_a_token_that_the_provider_has_not_signed_is_refused(
    backend: Backend, provider: OidcProvider, number: int
) -> None:
    client = browser(backend)
    provider.signs_with = forged(provider)[number]

    answer = sign_in(client, provider)

    assert (answer.status_code, session_of(answer)) == (401, None)
    assert who(client, Authorization=f"Bearer {provider.id_token('ada', CLI)}")["user"] is None
    assert client.post("/oidc/logout", data={"logout_token": provider.logout_token(sub="ada")}).status_code == 400


# -- bearer tokens


@pytest.mark.parametrize(
    ("claims", "accepted"),
    [
        ({}, True),
        ({"aud": "service"}, True),
        ({"aud": ["x", CLI]}, True),
        ({"aud": CLIENT}, True),
        ({"aud": CLIENT, "nonce": "n"}, False),
        ({"aud": "others"}, False),
        ({"exp": 1}, False),
        ({"iss": "https://evil.example"}, False),
        ({"events": {"x": {}}}, False),
    ],
    ids=str,
)
def test_which_tokens_of_the_provider_send_requests(
    make: Make, provider: OidcProvider, claims: dict[str, Any], accepted: bool
) -> None:
    client = browser(make(audiences=("service",)))

    answer = client.post(
        "/v2/account/read", json={}, headers={"Authorization": f"Bearer {provider.id_token('grace', CLI, **claims)}"}
    )

    assert answer.status_code == (200 if accepted else 401)


def test_a_new_key_of_the_provider_is_found_and_strange_ones_are_not_looked_for_each_time(
    backend: Backend, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = browser(backend)

    def status(token: str) -> int:
        return client.post("/v2/account/read", json={}, headers={"Authorization": f"Bearer {token}"}).status_code

    assert status(provider.id_token("ada", CLI)) == 200
    provider.rotate()
    for _ in range(5):
        assert status(provider.id_token("ada", CLI)) == 401
    assert [path for path, _ in provider.requests].count("/keys") == 1
    monkeypatch.setattr(oidc_provider, "RETRY_SECONDS", 0.0)
    assert status(provider.id_token("ada", CLI)) == 200


# -- a provider that fails


@pytest.mark.parametrize(
    "fault", ["fails", "rubbish", "huge", "silent", {"issuer": "https://evil.example"}, []], ids=str
)
@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token", "/keys"])
def test_a_provider_that_fails_signs_nobody_in_and_the_page_says_so(
    backend: Backend, provider: OidcProvider, path: str, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc_provider, "REQUEST_SECONDS", 0.5 if fault == "silent" else 8.0)
    client = browser(backend)
    provider.faults[path] = fault

    answer = start(client)
    if answer.status_code == 303:
        answer = come_back(client, provider.visit(answer.headers["Location"], "ada"))

    page = answer.get_data(as_text=True)
    assert (answer.status_code, session_of(answer)) == (503, None)
    assert "identity provider" in page
    assert "canary" not in page
    provider.faults.clear()
    monkeypatch.setattr(oidc_provider, "FAILED_SECONDS", 0.0)
    assert sign_in(browser(backend), provider).status_code == 303


def test_a_provider_that_is_away_later_changes_nothing_for_those_who_have_signed_in(
    backend: Backend, provider: OidcProvider
) -> None:
    client = browser(backend)
    sign_in(client, provider)
    token = provider.id_token("ada", CLI)
    provider.faults |= dict.fromkeys(("/.well-known/openid-configuration", "/token", "/keys"), "fails")

    assert who(client)["user"]["name"] == "ada"
    assert who(client, Authorization=f"Bearer {token}")["user"]["name"] == "ada"
    assert start(client).status_code == 303


def test_a_refusal_of_the_provider_is_shown_as_text(backend: Backend, provider: OidcProvider) -> None:
    client = browser(backend)
    location = provider.visit(start(client).headers["Location"], None)
    refused = come_back(client, location)
    assert (refused.status_code, "access_denied" in refused.get_data(as_text=True)) == (400, True)

    other = provider.visit(start(client).headers["Location"], None).replace("access_denied", "%3Cscript%3E")
    page = come_back(client, other)

    assert "script" not in page.get_data(as_text=True)
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


def test_a_private_address_is_asked_only_if_the_operator_names_it(make: Make, provider: OidcProvider) -> None:
    answer = start(browser(make(private_hosts=())))

    assert answer.status_code == 503
    assert "127.0.0.1" not in answer.get_data(as_text=True).partition("<p><a")[0]
    assert provider.requests == []


def test_endpoints_of_a_provider_with_https_are_not_asked_without(make: Make, provider: OidcProvider) -> None:
    backend = make(issuer="https://127.0.0.1:9")
    known = oidc_provider.Provider(backend.config.auth.oidc)  # type: ignore[union-attr,arg-type]

    assert not known._is_usable(f"{provider.issuer}/token")
    assert known._is_usable("https://127.0.0.1/token")


def test_a_browser_at_another_name_of_this_server_is_told_the_right_one(backend: Backend) -> None:
    answer = browser(backend).get("/oidc/start", base_url="http://127.0.0.1")

    assert (answer.status_code, ORIGIN in answer.get_data(as_text=True)) == (400, True)


def test_a_server_without_a_provider_has_none_of_these_routes(open_backend: Make) -> None:
    client = browser(open_backend())

    assert [client.get(f"/oidc/{name}").status_code for name in ("start", "callback", "client")] == [404] * 3


def test_programs_learn_where_to_log_in(make: Make, provider: OidcProvider) -> None:
    told = browser(make()).get("/oidc/client").get_json()

    assert told == {"issuer": provider.issuer, "clientId": CLI, "scopes": ["openid", "profile", "email"]}
    assert browser(make(cli_client_id=None)).get("/oidc/client").status_code == 404
