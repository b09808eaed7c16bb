"""Webhooks over HTTPS: which certificates are trusted, and for which name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import guarded_http
from shared.config.webhooks import Webhook
from shared.store.outbox import Outgoing
from tests.support.certificate import make_certificate
from tests.support.webhook_receiver import SECRET, WebhookReceiver
from workers.delivery import webhook_sender

SECONDS = 60.0


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Forget the TLS context: SSL_CERT_FILE is read once per process, and each test needs its own."""
    guarded_http._tls.cache_clear()
    yield monkeypatch
    guarded_http._tls.cache_clear()


def send(receiver: WebhookReceiver) -> str | None:
    outgoing = Outgoing("msg_1", receiver.url, "turn.started", {"turnId": "t"}, 0, "pending", 0, 0, 0, None)
    return webhook_sender.send(Webhook(receiver.url, SECRET, allow_private=True), outgoing, SECONDS)


def test_certificate_of_the_operators_authority_is_trusted(tmp_path: Path, trusting: pytest.MonkeyPatch) -> None:
    file = make_certificate(tmp_path, "localhost")
    trusting.setenv("SSL_CERT_FILE", str(file))

    with WebhookReceiver(certfile=file) as receiver:
        assert send(receiver) is None

        assert receiver.received[0].verified()["data"] == {"turnId": "t"}


@pytest.mark.parametrize(
    ("name", "trusted", "complaint"),
    [("localhost", False, "self-signed certificate"), ("other.example", True, "Hostname mismatch")],
    ids=["of an unknown authority", "of another name"],
)
def test_other_certificate_is_refused_before_anything_is_sent(
    tmp_path: Path, trusting: pytest.MonkeyPatch, name: str, trusted: bool, complaint: str
) -> None:
    file = make_certificate(tmp_path, name)
    if trusted:
        trusting.setenv("SSL_CERT_FILE", str(file))

    with WebhookReceiver(certfile=file) as receiver:
        assert complaint in str(send(receiver))

        assert receiver.received == []
