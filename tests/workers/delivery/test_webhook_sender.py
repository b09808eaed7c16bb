"""Webhooks over HTTPS: which certificates are trusted, and for which name."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared import guarded_http
from shared.config.webhooks import Webhook
from shared.store.outbox import Outgoing
from tests.support.webhook_receiver import SECRET, WebhookReceiver
from workers.delivery import webhook_sender

SECONDS = 60.0


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Forget the TLS context: SSL_CERT_FILE is read once per process, and each test needs its own."""
    guarded_http._tls.cache_clear()
    yield monkeypatch
    guarded_http._tls.cache_clear()


def certificate(folder: Path, name: str) -> Path:
    """Write a self-signed certificate and its key as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "receiver")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    private = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(serialization.Encoding.PEM, *private)
    )
    return file


def send(receiver: WebhookReceiver) -> str | None:
    outgoing = Outgoing("msg_1", receiver.url, "turn.started", {"turnId": "t"}, 0, "pending", 0, 0, 0, None)
    return webhook_sender.send(Webhook(receiver.url, SECRET, allow_private=True), outgoing, SECONDS)


def test_certificate_of_the_operators_authority_is_trusted(tmp_path: Path, trusting: pytest.MonkeyPatch) -> None:
    file = certificate(tmp_path, "localhost")
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
    file = certificate(tmp_path, name)
    if trusted:
        trusting.setenv("SSL_CERT_FILE", str(file))

    with WebhookReceiver(certfile=file) as receiver:
        assert complaint in str(send(receiver))

        assert receiver.received == []
