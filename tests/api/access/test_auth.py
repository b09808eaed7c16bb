"""Authentication: keys, signed tokens, host names; and connections that end with their credential."""

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

from api.app import make_app
from api.delivery.close_codes import UNAUTHORIZED
from api.transport import credential_watch
from shared.clock import now_ms
from shared.config import AuthSettings
from shared.errors import ConfigError
from tests.builders import Backend
from tests.support.protocol_client import connect
from tests.support.wait import until
from tests.support.wsgi_server import serve

SECRET = "a shared secret of more than thirty-two bytes"
ISSUER, AUDIENCE = "https://login.example", "threads"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
RSA_PUBLIC = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
Open = Callable[..., Backend]


def claims(**changed: Any) -> dict[str, Any]:
    """Return the claims of a valid token, changed. None leaves a claim out; exp and nbf are seconds from now."""
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


def open_with(
    open_backend: Open, tmp_path: Path, *, shared: bool, **settings: Any
) -> tuple[Backend, FlaskClient, Path]:
    """Return a server with [auth], its HTTP client, and the key file."""
    file = tmp_path / "auth"
    file.write_text(SECRET + "\n" if shared else jwks(("r", RSA), ("e", EC)))
    named: dict[str, Any] = {"jwt_secret_file" if shared else "jwks_file": file}
    backend = open_backend(auth=AuthSettings(ISSUER, AUDIENCE, **named, **settings))
    backend.store.users.add("ada")
    return backend, make_app(backend.services).test_client(), file


def status(http: FlaskClient, token: str | None, **headers: str) -> int:
    bearer = {"Authorization": f"Bearer {token}"} if token is not None else {}
    return http.post("/v2/account/read", json={}, headers=bearer | headers).status_code


def unsigned(payload: dict[str, Any]) -> str:
    parts = ({"alg": "none", "typ": "JWT"}, payload)
    return ".".join(base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in parts) + "."


def signed_with_public_key() -> str:
    """Return an HS256 token signed with the public key (RFC 8725, 2.1). Made by hand: the library refuses to."""
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
def test_a_token_is_accepted_only_with_a_valid_signature_time_and_user(
    open_backend: Open, tmp_path: Path, changed: dict[str, Any], expected: int
) -> None:
    _, shared, _ = open_with(open_backend, tmp_path, shared=True)

    assert status(shared, jwt.encode(claims(**changed), SECRET, "HS256")) == expected


def test_a_token_never_chooses_its_own_algorithm(open_backend: Open, tmp_path: Path) -> None:
    _, public, _ = open_with(open_backend, tmp_path, shared=False)

    assert status(public, jwt.encode(claims(), RSA, "RS256", headers={"kid": "r"})) == 200
    assert status(public, jwt.encode(claims(), EC, "ES256", headers={"kid": "e"})) == 200
    assert status(public, jwt.encode(claims(), RSA, "RS512", headers={"kid": "r"})) == 401
    assert status(public, jwt.encode(claims(), RSA, "RS256", headers={"kid": "e"})) == 401
    assert status(public, jwt.encode(claims(), RSA, "RS256")) == 401  # names neither of the two keys
    assert status(public, unsigned(claims())) == 401
    assert status(public, signed_with_public_key()) == 401
    assert status(public, jwt.encode(claims(), SECRET, "HS256")) == 401
    assert status(public, "no.token.atall") == 401
    assert status(public, None) == 401


def test_a_changed_key_file_is_reloaded_and_a_broken_one_is_ignored(open_backend: Open, tmp_path: Path) -> None:
    _, http, file = open_with(open_backend, tmp_path, shared=False)
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    new = jwt.encode(claims(), other, "RS256", headers={"kid": "new"})
    assert status(http, new) == 401

    file.write_text(jwks(("new", other)))

    assert status(http, new) == 200
    assert status(http, jwt.encode(claims(), RSA, "RS256", headers={"kid": "r"})) == 401
    file.write_text("{")
    assert status(http, jwt.encode(claims(jti="another"), other, "RS256", headers={"kid": "new"})) == 200


@pytest.mark.parametrize("text", ["", "too short", None])
def test_a_missing_or_short_secret_refuses_to_start(open_backend: Open, tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "secret"
    if text is not None:
        file.write_text(text)

    with pytest.raises(ConfigError, match="secret"):
        make_app(open_backend(auth=AuthSettings(ISSUER, AUDIENCE, jwt_secret_file=file)).services)


def test_unknown_users_of_tokens_are_created_only_with_create_users(open_backend: Open, tmp_path: Path) -> None:
    backend, http, _ = open_with(open_backend, tmp_path, shared=True, create_users=True, user_claim="email")

    assert status(http, jwt.encode(claims(email="eve@example.com"), SECRET, "HS256")) == 200
    assert status(http, jwt.encode(claims(email="eve\n"), SECRET, "HS256")) == 401
    assert status(http, jwt.encode(claims(), SECRET, "HS256")) == 401  # the user claim is missing

    made = backend.store.users.get("eve@example.com")
    assert made.role == "member"
    assert [row.subject_id for row in backend.store.audit.all_users_page(action="users add")] == [made.id]
    backend.store.users.set_disabled(made.id, True)
    assert status(http, jwt.encode(claims(email="eve@example.com", jti="2"), SECRET, "HS256")) == 401


def test_keys_expire_and_their_use_is_recorded(backend: Backend) -> None:
    http = make_app(backend.services).test_client()
    backend.store.users.add("ada")
    good = backend.store.users.create_key("ada", "good", now_ms() + 60_000)
    expired = backend.store.users.create_key("ada", "expired", now_ms() - 1)

    assert status(http, good) == 200
    assert status(http, expired) == 401
    assert status(http, good[:-1]) == 401

    until(lambda: [key.last_used_at_ms is not None for key in backend.store.users.keys("ada")] == [True, False])


def test_requests_for_unknown_host_names_are_refused(open_backend: Open) -> None:
    backend = open_backend(server={"hosts": ("threads.example",)})
    http = make_app(backend.services).test_client()
    backend.store.users.add("ada")
    key = backend.store.users.create_key("ada", "laptop")

    assert status(http, key, Host="threads.example") == 200
    assert status(http, key, Host="THREADS.example:8443") == 200
    assert status(http, key, Host="127.0.0.1:8765") == 200
    assert status(http, key, Host="evil.example") == 403
    assert status(http, key, Host="threads.example.evil.example") == 403
    assert status(http, key, Host="threads.example", Origin="https://threads.example") == 200
    assert status(http, key, Host="threads.example", Origin="https://evil.example") == 403
    assert http.get("/docs", headers={"Host": "evil.example"}).status_code == 403
    assert http.get("/healthz", headers={"Host": "10.0.0.7:8765"}).status_code == 200


def test_a_server_without_users_refuses_proxied_requests(open_backend: Open) -> None:
    bare = make_app(open_backend().services).test_client()
    behind = make_app(open_backend(server={"proxies": 1}).services).test_client()

    assert status(bare, None) == 200
    assert status(bare, None, **{"X-Forwarded-For": "127.0.0.1"}) == 401
    assert status(behind, None, **{"X-Forwarded-For": "203.0.113.9"}) == 401


def test_the_first_key_is_never_taken_for_the_local_user(backend: Backend) -> None:
    http = make_app(backend.services).test_client()
    assert status(http, None) == 200  # the server has just seen that it has no users
    backend.store.users.add("ada")
    key = backend.store.users.create_key("ada", "laptop")

    assert status(http, key[:-1]) == 401
    assert status(http, None) == 401
    assert status(http, key) == 200


def test_the_audit_log_records_user_address_and_key(open_backend: Open) -> None:
    backend = open_backend(server={"proxies": 1})
    http = make_app(backend.services).test_client()
    ada = backend.store.users.add("ada")
    key = backend.store.users.create_key("ada", "laptop")
    headers = {"Authorization": f"Bearer {key}", "X-Forwarded-For": "198.51.100.1, 203.0.113.9"}

    for method, params in (("thread/start", {}), ("config/value/write", CONFIG_WRITE)):
        assert http.post(f"/v2/{method}", json=params, headers=headers).status_code == 200

    rows = backend.store.audit.all_users_page(owner=ada.id)
    assert [(row.action, row.transport, row.address) for row in rows] == [
        ("thread/start", "http", "203.0.113.9"),
        ("config/value/write", "http", "203.0.113.9"),
    ]
    assert {row.key_id for row in rows} == {backend.store.users.keys()[0].id}


CONFIG_WRITE = {"keyPath": "model_reasoning_effort", "value": "high", "mergeStrategy": "replace"}


@pytest.mark.parametrize("way", ["revoked", "disabled", "expired", "first user"])
def test_connections_end_with_their_credential(
    open_backend: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(credential_watch, "ROUND_SECONDS", 0.05)
    backend = (
        open_backend() if way == "first user" else open_with(open_backend, tmp_path, shared=True, leeway_seconds=0)[0]
    )
    token: str | None = None
    if way == "expired":
        token = jwt.encode(claims(exp=2), SECRET, "HS256")
    elif way != "first user":
        token = backend.store.users.create_key("ada", "laptop")
    with serve(make_app(backend.services)) as address:
        client = connect(f"ws://{address}/", token=token)
        client.initialize()

        if way == "revoked":
            backend.store.users.revoke_key(backend.store.users.keys()[0].id)
        elif way == "disabled":
            backend.store.users.set_disabled(backend.store.users.get("ada").id, True)
        elif way == "first user":
            backend.store.users.add("ada")

        lost = client.wait_until_lost()
    assert lost.code == UNAUTHORIZED
    reason = (
        "the server has users now: connect again with an API key"
        if way == "first user"
        else "was revoked or has expired"
    )
    assert reason in str(lost)


def test_users_with_keys_may_name_no_folder_of_a_new_thread(backend: Backend) -> None:
    http = make_app(backend.services).test_client()
    ada, _ = backend.store.users.add("ada"), backend.store.users.add("bob")
    headers = {"Authorization": f"Bearer {backend.store.users.create_key('ada', 'laptop')}"}
    own = backend.config.server.workspaces_dir / ada.id
    other = backend.config.server.workspaces_dir / backend.store.users.get("bob").id

    def asked(**params: Any) -> int:
        return http.post("/v2/thread/start", json=params, headers=headers).status_code

    assert asked(sandbox="workspace-write") == 200
    for refused in (
        {"cwd": str(own / "x")},
        {"sandbox": "danger-full-access"},
        {"permissions": ":danger-full-access"},
        {"config": {"sandbox_mode": "danger-full-access"}},
        {"cwd": "/etc"},
        {"cwd": str(other)},
        {"cwd": f"{own}/../{other.name}"},
        {"cwd": str(own) + "-evil"},
    ):
        assert asked(**refused) == 400, refused


def test_a_disabled_user_reads_why_the_key_does_not_work(open_backend: Callable[..., Backend]) -> None:
    backend = open_backend()
    backend.store.users.add("ada")
    key = backend.store.users.create_key("ada", "test")
    backend.store.users.set_disabled(backend.store.users.get("ada").id, True)
    client = make_app(backend.services).test_client()

    answer: Any = client.post("/v2/thread/list", json={}, headers={"Authorization": f"Bearer {key}"})

    assert answer.status_code == 401
    assert "your user is disabled" in answer.json["detail"]
