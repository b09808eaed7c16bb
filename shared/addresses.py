"""Which addresses a request to a foreign URL (a webhook, a git repository) may reach: public ones only.

A name is resolved once, and the connection goes to an address that was checked, never to the name again. So a name
server that answers with a public address first and with 127.0.0.1 a moment later gains nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from shared.errors import AddressRefused, Unavailable

IPV6_PUBLIC = IPv6Network("2000::/3")  # all globally routed addresses; RFC 4291
IPV6_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are the IPv4 address that is reached
# Not public, although some versions of Python's ipaddress, or all of them, say so.
LOOK_PUBLIC = (
    IPv4Network("192.0.0.0/24"),  # RFC 6890; Oracle's cloud metadata is there
    IPv4Network("192.88.99.0/24"),  # 6to4 relays, RFC 7526
    IPv4Network("168.63.129.16/32"),  # Azure's metadata
)


def check_address(
    host: str,
    port: int,
    allowed: Collection[str] = (),
    resolve: Callable[..., list[tuple[Any, ...]]] = socket.getaddrinfo,
) -> list[str]:
    """Resolve a host, check all of its addresses and return them in the resolver's order; connect only to these.

    host:    a name or an address, without brackets
    allowed: hosts that may be private: names ("hooks.internal"), addresses, networks ("10.1.0.0/16")
    Errors:  AddressRefused (one address that is not public is enough); Unavailable (the name cannot be resolved)
    """
    name = host.rstrip(".").lower()
    try:
        found = resolve(host, port, type=socket.SOCK_STREAM) if name else []
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"{host}: the name cannot be resolved: {error}") from None
    addresses = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
    if not addresses:
        raise AddressRefused(f"{host!r} is not the name of a host")
    if name in {entry.rstrip(".").lower() for entry in allowed}:
        return addresses
    networks = [network for entry in allowed if (network := _network(entry)) is not None]
    for text in addresses:
        address = ip_address(text)
        if not is_public(address) and not any(_reached(address) in network for network in networks):
            raise AddressRefused(f"{host} is {text}: private, local and reserved addresses are refused unless allowed")
    return addresses


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address belongs to the public internet. IPv6 forms of IPv4 addresses count as the latter."""
    reached = _reached(address)
    if reached != address:
        return is_public(reached)
    if isinstance(address, IPv6Address) and address not in IPV6_PUBLIC:
        return False
    if address.is_multicast or address.is_reserved or any(address in network for network in LOOK_PUBLIC):
        return False
    return address.is_global


def _reached(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the address that packets reach in the end: IPv4-mapped, 6to4 and NAT64 addresses contain an IPv4 one."""
    if isinstance(address, IPv4Address):
        return address
    if address in IPV6_NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _network(entry: str) -> IPv4Network | IPv6Network | None:
    """Return an entry of `allowed` as a network; None when it is a name."""
    try:
        return ip_network(entry, strict=False)
    except ValueError:
        return None
