"""Addresses that a request to a foreign URL may reach, and those it may not."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from shared.addresses import check_address
from shared.errors import AddressRefused, Unavailable

PUBLIC = ["93.184.216.34", "1.1.1.1", "2606:4700::1111", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"]
REFUSED = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1",
    "169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16", "192.0.2.1", "198.18.0.1", "203.0.113.1",
    "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "100::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1",
    "2002:7f00:1::", "2002:a00:1::1", "2002:a9fe:a9fe::1",
    "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2001:0:7f00:1::",
]  # fmt: skip


def resolver(*addresses: str) -> Any:
    def resolve(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
            for one in addresses
        ]

    return resolve


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    assert check_address("hooks.example", 443, resolve=resolver(address)) == [address]


@pytest.mark.parametrize("address", REFUSED)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(AddressRefused, match=r"hooks\.example is "):
        check_address("hooks.example", 443, resolve=resolver(address))


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "127.1", "017700000001", "::1", "localhost", ""])
def test_every_spelling_of_this_machine_is_refused(host: str) -> None:
    with pytest.raises(AddressRefused):
        check_address(host, 80)


def test_one_private_address_among_public_ones_is_refused() -> None:
    with pytest.raises(AddressRefused, match=r"10\.0\.0\.7"):
        check_address("two.example", 443, resolve=resolver("93.184.216.34", "10.0.0.7"))


@pytest.mark.parametrize(
    ("address", "allowed", "may"),
    [
        ("10.1.2.3", ["hooks.internal"], True),
        ("10.1.2.3", ["Hooks.Internal."], True),
        ("10.1.2.3", ["10.1.0.0/16"], True),
        ("10.1.2.3", ["10.1.2.3"], True),
        ("::ffff:10.1.2.3", ["10.1.0.0/16"], True),
        ("fd00::7", ["fd00::/8"], True),
        ("10.2.2.3", ["10.1.0.0/16", "internal", "x.hooks.internal"], False),
        ("169.254.169.254", ["10.0.0.0/8"], False),
    ],
)
def test_a_private_host_is_allowed_by_name_address_or_network(address: str, allowed: list[str], may: bool) -> None:
    try:
        found = check_address("hooks.internal", 443, allowed, resolve=resolver(address))
    except AddressRefused:
        found = []

    assert found == ([address] if may else [])


def test_a_name_that_cannot_be_resolved_is_unavailable() -> None:
    def resolve(*_: Any, **__: Any) -> Any:
        raise socket.gaierror("Name or service not known")

    with pytest.raises(Unavailable, match=r"nowhere\.example: the name cannot be resolved"):
        check_address("nowhere.example", 443, resolve=resolve)
