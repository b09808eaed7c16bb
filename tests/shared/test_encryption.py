"""What is encrypted for the database: unreadable without a key, and readable while a key is replaced."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet

from shared.config import load
from shared.encryption import Encryption
from shared.errors import ConfigError, InvalidRequest

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))


def test_a_key_is_replaced_while_old_texts_are_still_read() -> None:
    before = Encryption(OLD).encrypt({"token": "canary"})
    assert "canary" not in before

    both = Encryption(f"{NEW}, {OLD}")

    assert both.decrypt(before) == {"token": "canary"}
    after = both.encrypt({"token": "canary"})
    assert Encryption(NEW).decrypt(after) == {"token": "canary"}
    with pytest.raises(InvalidRequest, match="THREADHOUSE_SECRETS_KEY"):
        Encryption(NEW).decrypt(before)
    with pytest.raises(InvalidRequest):
        both.decrypt(after[:-6] + "AAAA==")


@pytest.mark.parametrize("keys", [OLD, f"{NEW},{OLD}", f"{NEW}\n {OLD}"], ids=["one", "two", "two lines"])
def test_the_environment_has_the_keys(keys: str, tmp_path: object) -> None:
    config = load(None, {"THREADHOUSE_SECRETS_KEY": keys, "THREADHOUSE_HOME": str(tmp_path)})

    assert config.server.secrets_key == keys
    assert OLD not in repr(config)


@pytest.mark.parametrize("keys", ["short", OLD[:-2], f"{OLD};{NEW}"], ids=["short", "cut", "semicolon"])
def test_a_wrong_key_is_refused_without_being_shown(keys: str, tmp_path: object) -> None:
    with pytest.raises(ConfigError, match="openssl rand") as raised:
        load(None, {"THREADHOUSE_SECRETS_KEY": keys, "THREADHOUSE_HOME": str(tmp_path)})

    assert keys[:10] not in str(raised.value) or keys == "short"
