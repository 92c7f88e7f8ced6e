"""Where executors may connect to when a document says where.

A document names a host; this worker may stand where that host means something else: a database
that asks for no password, a cloud's metadata service. So a host is looked up once, every address it
has must be public or allowed by the operator (`REGROW_HTTP_ALLOW`), and the caller connects to the
addresses that were checked, never to the name again: a second answer of the name service could be
another.

What counts is the address that comes out, however the host was written: `127.1`, `2130706433` and
`0x7f.1` are looked up as a connection would be.
"""

import asyncio
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from regrow.activities.catalogue.failures import CONNECTION_ERROR, NOT_FOUND
from regrow.core.wire import ErrorType
from regrow.executors import TaskError
from regrow.settings import load_settings

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_UNICAST: Final = ip_network("2000::/3")
"""All that is public in IPv6; loopback, private, local and multicast addresses are elsewhere."""

_NOT_PUBLIC: Final = (
    ip_network("168.63.129.16/32"),  # public by its number, but a cloud's own service
    ip_network("192.0.0.0/24"),  # protocols, and a cloud's metadata service
    ip_network("192.88.99.0/24"),  # 6to4 relays
    ip_network("2001::/23"),  # protocols, Teredo among them
    ip_network("2002::/16"),  # 6to4
    ip_network("3fff::/20"),  # documentation
)
"""What every Python, or an older one, takes for public. Tunnels end at the address inside them."""

_NAT64: Final = ip_network("64:ff9b::/96")
_LAST_FOUR_BYTES: Final = 0xFFFF_FFFF

_PATIENCE: Final = 10.0
"""Seconds for one address, since the next may answer."""


async def checked_addresses(host: str, port: int) -> tuple[str, ...]:
    """Look a host up and give its addresses, all of which may be connected to.

    Raises `TaskError`: `not_allowed` naming the first address that may not be reached, `not_found`
    for what is no host's name, `connection_error` (retryable) for a host that isn't found.
    """
    allowed = load_settings().http_allow
    found = await _look_up(host, port)
    if any(_names(entry, host) for entry in allowed):
        return found
    networks = tuple(_networks(allowed))
    for text in found:
        if not _may_reach(ip_address(text), networks):
            raise _not_allowed(host, text)
    return found


async def checked_connection(host: str, port: int) -> socket.socket:
    """Give a socket that is connected to the first address of a host that answers.

    Raises `TaskError` as `checked_addresses` does, and `connection_error` (retryable) if no
    address answers.
    """
    reason = ""
    for address in await checked_addresses(host, port):
        try:
            return await _connected(address, port)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else f"silent for {_PATIENCE:g}s"
    message = f"cannot connect to '{host}', port {port}: {reason}"
    raise TaskError(message, error_type=CONNECTION_ERROR, retryable=True)


async def _connected(address: str, port: int) -> socket.socket:
    peer = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        peer.settimeout(0)
        async with asyncio.timeout(_PATIENCE):
            await asyncio.get_running_loop().sock_connect(peer, (address, port))
    except BaseException:
        peer.close()
        raise
    return peer


async def _look_up(host: str, port: int) -> tuple[str, ...]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise TaskError(f"'{host}' is no host's name", error_type=NOT_FOUND) from None
    except OSError as error:
        message = f"cannot find the host '{host}': {error.strerror or error}"
        raise TaskError(message, error_type=CONNECTION_ERROR, retryable=True) from None
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def _not_allowed(host: str, address: str) -> TaskError:
    where = host if host.strip("[]") == address else f"{host} ({address})"
    message = (
        f"this worker may not connect to {where}, which is no public address; its operator allows a"
        " host or a network by listing it in REGROW_HTTP_ALLOW"
    )
    return TaskError(message, error_type=ErrorType.NOT_ALLOWED)


def _may_reach(address: Address, networks: Sequence[Network]) -> bool:
    meant = _meant(address)
    return _is_public(meant) or any(meant in network for network in networks)


def _meant(address: Address) -> Address:
    """Give the IPv4 address that a mapped or a translated one stands for; else the address."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & _LAST_FOUR_BYTES)
    return address if address.ipv4_mapped is None else address.ipv4_mapped


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address not in _UNICAST:
        return False
    listed = any(address in network for network in _NOT_PUBLIC)
    return address.is_global and not address.is_multicast and not listed


def _networks(allowed: Sequence[str]) -> Iterator[Network]:
    for entry in allowed:
        with suppress(ValueError):  # the others are names
            yield ip_network(entry)


def _names(entry: str, host: str) -> bool:
    """Tell whether an entry names a host, itself or with all below a domain: `*.example.com`."""
    plain, name = entry.rstrip(".").lower(), host.rstrip(".").lower()
    return name.endswith(plain[1:]) if plain.startswith("*.") else name == plain
