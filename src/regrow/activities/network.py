"""Where executors may connect to when a document says where.

A document names a host; this worker may stand where that host means something else: a database
that asks for no password, a cloud's metadata service. So a host is looked up once, every address it
has must be public or allowed by the operator (`REGROW_HTTP_ALLOW`), and the caller connects to the
addresses that were checked, never to the name again: a second answer of the name service could be
another.
"""

import asyncio
import socket
from collections.abc import Iterator, Sequence
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

from regrow.activities.catalogue.failures import CONNECTION_ERROR
from regrow.core.wire import ErrorType
from regrow.executors import TaskError
from regrow.settings import load_settings

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_METADATA: Final = (ip_address("168.63.129.16"),)
"""Public by its number, but a cloud's own service."""
_NAT64: Final = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))
_LAST_FOUR: Final = 0xFFFF_FFFF


async def checked_addresses(host: str, port: int) -> tuple[str, ...]:
    """Look a host up and give its addresses, all of which may be connected to.

    Raises `TaskError`: `not_allowed` naming the first address that may not be reached,
    `connection_error` (retryable) for a host that has none.
    """
    allowed = load_settings().http_allow
    found = await _look_up(host, port)
    if _normal(host) in map(_normal, allowed):
        return found
    networks = tuple(_networks(allowed))
    for text in found:
        address = ip_address(text.partition("%")[0])
        if not _may_reach(address, networks):
            where = host if _normal(host) == text else f"{host} ({text})"
            message = (
                f"this worker may not connect to {where}, which is no public address; its operator"
                " allows a host or a network by listing it in REGROW_HTTP_ALLOW"
            )
            raise TaskError(message, error_type=ErrorType.NOT_ALLOWED)
    return found


async def _look_up(host: str, port: int) -> tuple[str, ...]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"cannot find the host '{host}': {reason}"
        raise TaskError(message, error_type=CONNECTION_ERROR, retryable=True) from None
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def _may_reach(address: Address, networks: Sequence[Network]) -> bool:
    """Tell whether an address, and every other that it stands for, is public or allowed."""
    return all(_is_public(each) or _is_in(each, networks) for each in _meanings(address))


def _meanings(address: Address) -> Iterator[Address]:
    """Give the address that packets to this one come to: of a mapped or tunnelled one, the inner.

    What begins with the bits of a tunnel is sent to the IPv4 address inside it.
    """
    if isinstance(address, IPv4Address):
        yield address
        return
    if address.ipv4_mapped is not None:  # the same socket, written in another way
        yield address.ipv4_mapped
        return
    yield address
    inner = [address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in _NAT64):
        inner.append(IPv4Address(int(address) & _LAST_FOUR))
    if int(address) >> 32 == 0:  # "IPv4-compatible", long out of use
        inner.append(IPv4Address(int(address)))
    yield from (each for each in inner if each is not None)


def _is_public(address: Address) -> bool:
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and address not in _METADATA
    ) or _is_nat64(address)


def _is_nat64(address: Address) -> bool:
    """A translator's address counts as what is inside it, which is looked at as well."""
    return any(address in network for network in _NAT64)


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _networks(allowed: Sequence[str]) -> Iterator[Network]:
    for entry in allowed:
        try:
            yield ip_network(entry.strip("[]"), strict=False)
        except (AddressValueError, ValueError):
            continue  # a host's name


def _normal(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()
