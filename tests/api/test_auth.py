"""Who is let in: keys, signed tokens, names of the server; and what ends with a credential."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from flask.testing import FlaskClient

from api import watch
from api.app import make_app
from shared.clock import now_ms
from shared.config import AuthSettings
from shared.errors import ConfigError
from tests.builders import House
from tests.support.protocol_client import connect
from tests.support.wait import until
from tests.support.wsgi_server import serve

SECRET = "a shared secret of more than thirty-two bytes"
ISSUER, AUDIENCE = "https://login.example", "threads"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
RSA_PUBLIC = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
Open = Callable[..., House]


def claims(**changed: Any) -> dict[str, Any]:
    """Of a good token; None leaves one out. exp and nbf in seconds from now."""
    now_s = int(time.time())
    good = {"sub": "ada", "iss": ISSUER, "aud": AUDIENCE, "exp": 600}
    wanted = {name: value for name, value in (good | changed).items() if value is not None}
    return {name: now_s + value if name in ("exp", "nbf") else value for name, value in wanted.items()}


def jwks(*keys: tuple[str, Any]) -> str:
    kinds = {rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm, ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm}
    found = []
    for key_id, key in keys:
        kind = next(kind for base, kind in kinds.items() if isinstance(key, base))
        found.append({**json.loads(kind.to_jwk(key.public_key())), "kid": key_id})
    return json.dumps({"keys": found})


def open_with(open_house: Open, tmp_path: Path, *, shared: bool, **settings: Any) -> tuple[House, FlaskClient, Path]:
    """A server with [auth], its door, and the file."""
    file = tmp_path / "auth"
    file.write_text(SECRET + "\n" if shared else jwks(("r", RSA), ("e", EC)))
    named: dict[str, Any] = {"jwt_secret_file" if shared else "jwks_file": file}
    house = open_house(auth=AuthSettings(ISSUER, AUDIENCE, **named, **settings))
    house.store.users.add("ada")
    return house, make_app(house.services).test_client(), file


def status(http: FlaskClient, token: str | None, **headers: str) -> int:
    bearer = {"Authorization": f"Bearer {token}"} if token is not None else {}
    return http.post("/v2/account/read", json={}, headers=bearer | headers).status_code


def unsigned(payload: dict[str, Any]) -> str:
    parts = ({"alg": "none", "typ": "JWT"}, payload)
    return ".".join(base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in parts) + "."


def signed_with_public_key() -> str:
    """HS256 with what everybody knows (RFC 8725, 2.1); the library refuses to make one, so that it is made by hand."""
    import hashlib
    import hmac

    parts = ({"alg": "HS256", "typ": "JWT", "kid": "r"}, claims())
    text = ".".join(base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in parts)
    mac = hmac.new(RSA_PUBLIC, text.encode(), hashlib.sha256).digest()
    return text + "." + base64.urlsafe_b64encode(mac).decode().rstrip("=")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, 200),
        ({"aud": ["others", AUDIENCE]}, 200),
        ({"exp": -5}, 200),  # within the leeway
        ({"aud": "others"}, 401),
        ({"aud": None}, 401),
        ({"iss": "https://evil.example"}, 401),
        ({"iss": None}, 401),
        ({"exp": -120}, 401),
        ({"exp": None}, 401),
        ({"nbf": 120}, 401),
        ({"sub": "nobody"}, 401),
        ({"sub": None}, 401),
    ],
)
def test_a_signed_token_must_be_ours_now_and_of_somebody_known(
    open_house: Open, tmp_path: Path, changed: dict[str, Any], expected: int
) -> None:
    _, shared, _ = open_with(open_house, tmp_path, shared=True)

    assert status(shared, jwt.encode(claims(**changed), SECRET, "HS256")) == expected


def test_a_token_never_chooses_its_own_algorithm(open_house: Open, tmp_path: Path) -> None:
    _, public, _ = open_with(open_house, tmp_path, shared=False)

    assert status(public, jwt.encode(claims(), RSA, "RS256", headers={"kid": "r"})) == 200
    assert status(public, jwt.encode(claims(), EC, "ES256", headers={"kid": "e"})) == 200
    assert status(public, jwt.encode(claims(), RSA, "RS512", headers={"kid": "r"})) == 401
    assert status(public, jwt.encode(claims(), RSA, "RS256", headers={"kid": "e"})) == 401
    assert status(public, jwt.encode(claims(), RSA, "RS256")) == 401  # which of the two?
    assert status(public, unsigned(claims())) == 401
    assert status(public, signed_with_public_key()) == 401
    assert status(public, jwt.encode(claims(), SECRET, "HS256")) == 401
    assert status(public, "no.token.atall") == 401
    assert status(public, None) == 401


def test_a_changed_key_file_is_read_again_and_a_broken_one_changes_nothing(open_house: Open, tmp_path: Path) -> None:
    _, http, file = open_with(open_house, tmp_path, shared=False)
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    new = jwt.encode(claims(), other, "RS256", headers={"kid": "new"})
    assert status(http, new) == 401

    file.write_text(jwks(("new", other)))

    assert status(http, new) == 200
    assert status(http, jwt.encode(claims(), RSA, "RS256", headers={"kid": "r"})) == 401
    file.write_text("{")
    assert status(http, jwt.encode(claims(jti="another"), other, "RS256", headers={"kid": "new"})) == 200


@pytest.mark.parametrize("text", ["", "too short", None])
def test_a_secret_that_protects_nothing_refuses_to_start(open_house: Open, tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "secret"
    if text is not None:
        file.write_text(text)

    with pytest.raises(ConfigError, match="secret"):
        make_app(open_house(auth=AuthSettings(ISSUER, AUDIENCE, jwt_secret_file=file)).services)


def test_unknown_users_of_tokens_are_made_only_when_the_operator_says_so(open_house: Open, tmp_path: Path) -> None:
    house, http, _ = open_with(open_house, tmp_path, shared=True, create_users=True, user_claim="email")

    assert status(http, jwt.encode(claims(email="eve@example.com"), SECRET, "HS256")) == 200
    assert status(http, jwt.encode(claims(email="eve\n"), SECRET, "HS256")) == 401
    assert status(http, jwt.encode(claims(), SECRET, "HS256")) == 401  # no such claim

    made = house.store.users.by_name("eve@example.com")
    assert made.role == "member"
    assert [row.subject_id for row in house.store.audit.all_users_page(action="users add")] == [made.id]
    house.store.users.set_disabled(made.id, True)
    assert status(http, jwt.encode(claims(email="eve@example.com", jti="2"), SECRET, "HS256")) == 401


def test_keys_expire_and_their_use_is_noted_beside_the_request(house: House) -> None:
    http = make_app(house.services).test_client()
    house.store.users.add("ada")
    good = house.store.users.create_key("ada", "good", now_ms() + 60_000)
    expired = house.store.users.create_key("ada", "expired", now_ms() - 1)

    assert status(http, good) == 200
    assert status(http, expired) == 401
    assert status(http, good[:-1]) == 401

    until(lambda: [key.last_used_at_ms is not None for key in house.store.users.keys("ada")] == [True, False])


def test_a_server_is_called_by_its_names_only(open_house: Open) -> None:
    house = open_house(server={"hosts": ("threads.example",)})
    http = make_app(house.services).test_client()
    house.store.users.add("ada")
    key = house.store.users.create_key("ada", "laptop")

    assert status(http, key, Host="threads.example") == 200
    assert status(http, key, Host="THREADS.example:8443") == 200
    assert status(http, key, Host="127.0.0.1:8765") == 200
    assert status(http, key, Host="evil.example") == 403
    assert status(http, key, Host="threads.example.evil.example") == 403
    assert status(http, key, Host="threads.example", Origin="https://threads.example") == 200
    assert status(http, key, Host="threads.example", Origin="https://evil.example") == 403
    assert http.get("/docs", headers={"Host": "evil.example"}).status_code == 403
    assert http.get("/healthz", headers={"Host": "10.0.0.7:8765"}).status_code == 200


def test_a_server_without_users_serves_nobody_behind_a_proxy(open_house: Open) -> None:
    bare = make_app(open_house().services).test_client()
    behind = make_app(open_house(server={"proxies": 1}).services).test_client()

    assert status(bare, None) == 200
    assert status(bare, None, **{"X-Forwarded-For": "127.0.0.1"}) == 401
    assert status(behind, None, **{"X-Forwarded-For": "203.0.113.9"}) == 401


def test_the_audit_log_says_who_from_where_and_with_which_key(open_house: Open) -> None:
    house = open_house(server={"proxies": 1})
    http = make_app(house.services).test_client()
    ada = house.store.users.add("ada")
    key = house.store.users.create_key("ada", "laptop")
    headers = {"Authorization": f"Bearer {key}", "X-Forwarded-For": "198.51.100.1, 203.0.113.9"}

    for method, params in (("thread/start", {}), ("config/value/write", CONFIG_WRITE)):
        assert http.post(f"/v2/{method}", json=params, headers=headers).status_code == 200

    rows = house.store.audit.all_users_page(owner=ada.id)
    assert [(row.action, row.door, row.address) for row in rows] == [
        ("thread/start", "http", "203.0.113.9"),
        ("config/value/write", "http", "203.0.113.9"),
    ]
    assert {row.key_id for row in rows} == {house.store.users.keys()[0].id}


CONFIG_WRITE = {"keyPath": "model_reasoning_effort", "value": "high", "mergeStrategy": "replace"}


@pytest.mark.parametrize("way", ["revoked", "disabled", "expired", "first user"])
def test_what_a_credential_opened_ends_with_it(
    open_house: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(watch, "ROUND_SECONDS", 0.05)
    house = open_house() if way == "first user" else open_with(open_house, tmp_path, shared=True, leeway_seconds=0)[0]
    token: str | None = None
    if way == "expired":
        token = jwt.encode(claims(exp=2), SECRET, "HS256")
    elif way != "first user":
        token = house.store.users.create_key("ada", "laptop")
    with serve(make_app(house.services)) as address:
        client = connect(f"ws://{address}/", token=token)
        client.initialize()

        if way == "revoked":
            house.store.users.revoke_key(house.store.users.keys()[0].id)
        elif way == "disabled":
            house.store.users.set_disabled(house.store.users.by_name("ada").id, True)
        elif way == "first user":
            house.store.users.add("ada")

        assert client.wait_until_lost().code == watch.UNAUTHORIZED


def test_users_with_keys_ask_for_nothing_outside_of_their_workspaces(house: House) -> None:
    http = make_app(house.services).test_client()
    ada, _ = house.store.users.add("ada"), house.store.users.add("bob")
    headers = {"Authorization": f"Bearer {house.store.users.create_key('ada', 'laptop')}"}
    own = house.config.server.workspaces_dir / ada.id
    other = house.config.server.workspaces_dir / house.store.users.by_name("bob").id

    def asked(**params: Any) -> int:
        return http.post("/v2/thread/start", json=params, headers=headers).status_code

    assert asked(sandbox="workspace-write", cwd=str(own / "x")) == 200
    for refused in (
        {"sandbox": "danger-full-access"},
        {"permissions": ":danger-full-access"},
        {"config": {"sandbox_mode": "danger-full-access"}},
        {"cwd": "/etc"},
        {"cwd": str(other)},
        {"cwd": f"{own}/../{other.name}"},
        {"cwd": str(own) + "-evil"},
    ):
        assert asked(**refused) == 400, refused
