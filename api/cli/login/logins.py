"""Logins that are kept: one per server, in a file that only this user can read."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from shared.errors import ConfigError, InvalidRequest, Unauthorized, Unavailable

EARLY_SECONDS = 60.0  # before its end in which a token is renewed
VARIABLE = "THREADHOUSE_TOKEN"
Token = str | Callable[[], str]


@dataclass(frozen=True, slots=True)
class Login:
    """A login at a server.

    issuer, client_id: of the identity provider, and what this program is called there
    id_token:      what the server accepts
    refresh_token: gets the next ID token; None: the provider gave none
    """

    issuer: str
    client_id: str
    id_token: str
    refresh_token: str | None

    def lasts(self, seconds: float) -> bool:
        """Return whether the token is valid for so long."""
        import jwt

        claims = jwt.decode(self.id_token, options={"verify_signature": False})
        return float(claims["exp"]) - time.time() > seconds


def server_token(url: str) -> Token | None:
    """Return the token for a server: THREADHOUSE_TOKEN, or what gives that of a login; None: neither is there."""
    if given := os.environ.get(VARIABLE):
        return given
    return partial(fresh_token, url) if find(url) is not None else None


def fresh_token(url: str) -> str:
    """Return a token of the login, which is renewed if it is about to end.

    Errors: Unauthorized (there is no login, or it has ended); Unavailable (the provider does not answer)
    """
    login = _found(url)
    if login.lasts(EARLY_SECONDS):
        return login.id_token
    with _locked():  # a refresh token often counts once, so only one process may use it
        login = _found(url)
        if login.lasts(EARLY_SECONDS):
            return login.id_token
        try:
            login = _renewed(login, url)
        except Unavailable:
            if login.lasts(0):
                return login.id_token
            raise
        _write({**_read(), _key(url): login})
        return login.id_token


def find(url: str) -> Login | None:
    """Return the login at a server; None: there is none."""
    return _read().get(_key(url))


def put(url: str, login: Login) -> None:
    """Keep a login, in place of an earlier one at the server."""
    with _locked():
        _write({**_read(), _key(url): login})


def remove(url: str) -> Login | None:
    """Forget the login at a server and return it; None: there is none."""
    with _locked():
        logins = _read()
        removed = logins.pop(_key(url), None)
        if removed is not None:
            _write(logins)
        return removed


def check_server(url: str) -> str:
    """Return the URL of a server to log in at. Errors: InvalidRequest (tokens could be read on their way)."""
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise InvalidRequest(f"{url}: expected https://, because others can read a token that is sent without")
    return url


def _renewed(login: Login, url: str) -> Login:
    from api.cli.login.device import AtProvider

    again = f"the login at {url} has ended: run `threadhouse login`"
    if login.refresh_token is None:
        raise Unauthorized(again)
    tokens = AtProvider(login.issuer, login.client_id).renew(login.refresh_token)
    if tokens is None:
        raise Unauthorized(again)
    return replace(login, id_token=tokens.id_token, refresh_token=tokens.refresh_token or login.refresh_token)


def _found(url: str) -> Login:
    login = find(url)
    if login is None:
        raise Unauthorized(f"there is no login at {url}: run `threadhouse login`, or set {VARIABLE} to an API key")
    return login


def _key(url: str) -> str:
    return url.rstrip("/")


def _folder() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")) / "threadhouse"


def _file() -> Path:
    return _folder() / "logins.json"


def _read() -> dict[str, Login]:
    try:
        return {url: Login(**values) for url, values in json.loads(_file().read_text()).items()}
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # such as of a service that has no home
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{_file()}: cannot be read: remove it and run `threadhouse login` ({error})") from None


def _write(logins: dict[str, Login]) -> None:
    """Replace the file; nobody ever sees half of it, and nobody else any of it."""
    text = json.dumps({url: asdict(login) for url, login in logins.items()}, indent=1)
    new = _file().with_suffix(f".{os.getpid()}")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
        new.replace(_file())
    except OSError as error:
        raise ConfigError(f"{_file()}: cannot be written: {error.strerror}") from None


@contextmanager
def _locked() -> Iterator[None]:
    """Keep other processes of this user from changing the file."""
    try:
        _folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(_folder() / "logins.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(f"{_folder()}: cannot be written: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
