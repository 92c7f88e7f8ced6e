"""Where a document may send an executor."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing

import pytest
from tests.executors.names import know

from regrow.activities.network import checked_addresses, checked_connection
from regrow.executors import TaskError
from regrow.settings import InvalidSettings, load_settings
from regrow.worker import configure

PUBLIC = (
    "1.0.0.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.1",
    "168.63.129.15",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.1",
    "192.169.0.1",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
)

NOT_PUBLIC = (
    # this machine
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "::1",
    "::",
    # private networks
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "198.18.0.1",
    "fc00::1",
    "fd12:3456::1",
    "fec0::1",
    # the network it is in
    "169.254.1.1",
    "fe80::1",
    "255.255.255.255",
    "224.0.0.1",
    "239.255.255.250",
    "ff02::1",
    "ff0e::1",
    # metadata of clouds
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd20:ce::254",
    # documentation, protocols, nobody's
    "192.0.0.8",
    "192.0.2.1",
    "198.51.100.1",
    "203.0.113.1",
    "240.0.0.1",
    "100::1",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
    "4000::1",
    "2001:20::1",
    "192.88.99.1",
    # IPv4 inside IPv6, whatever it is
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:169.254.169.254",
    "::ffff:0:10.0.0.1",
    "::127.0.0.1",
    "::8.8.8.8",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::8.8.8.8",
    "2002:7f00:1::1",
    "2002:808:808::1",
    "2001:0:808:808::1",
)

ODD = (
    "2130706433",
    "017700000001",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "127.1",
    "127.0.1",
    "0",
    "10.1",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "::1%1",
    "0000:0::1",
    "127.0.0.1.",
    "\uff11\uff12\uff17.0.0.1",  # wide digits
    "127\u30020\u30020\u30021",  # ideographic full stops
    "\u24dbocalhost",  # an l in a circle
    "localhost",
    "LOCALHOST",
    "",
)


async def refusal(host: str, port: int = 80) -> TaskError:
    with pytest.raises(TaskError) as raised:
        await checked_addresses(host, port)
    return raised.value


@asynccontextmanager
async def listening() -> AsyncGenerator[int]:
    """Listen on 127.0.0.1 alone; gives the port."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


# Addresses


@pytest.mark.parametrize("address", PUBLIC)
async def test_public_addresses_may_be_reached(address: str) -> None:
    [found] = await checked_addresses(address, 443)

    assert socket.getaddrinfo(found, 443, type=socket.SOCK_STREAM)[0][4][0] == found


@pytest.mark.parametrize("address", NOT_PUBLIC)
async def test_no_other_address_may_be_reached(address: str) -> None:
    refused = await refusal(address)

    assert (refused.error_type, refused.retryable) == ("not_allowed", False)


@pytest.mark.parametrize("host", ODD)
async def test_another_way_to_write_an_address_is_no_way_round(host: str) -> None:
    refused = await refusal(host)

    assert refused.error_type in ("not_allowed", "connection_error")  # or nobody reads it that way


async def test_a_refusal_says_who_can_allow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, {"db.corp.example": ["10.0.0.5"]})

    assert (await refusal("10.0.0.5")).error == (
        "this worker may not connect to 10.0.0.5, which is no public address; its operator allows"
        " a host or a network by listing it in REGROW_HTTP_ALLOW"
    )
    assert (
        "connect to db.corp.example (10.0.0.5), which" in (await refusal("db.corp.example")).error
    )


# Names


async def test_all_addresses_of_a_name_must_be_public(monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, {"both.example": [["8.8.8.8", "10.0.0.5"]], "two.example": [["8.8.8.8"]]})

    assert "both.example (10.0.0.5)" in (await refusal("both.example")).error
    assert await checked_addresses("two.example", 80) == ("8.8.8.8",)


async def test_a_name_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = know(monkeypatch, {"once.example": ["8.8.8.8", "127.0.0.1"]})

    assert await checked_addresses("once.example", 80) == ("8.8.8.8",)
    assert asked == {"once.example": 1}


async def test_a_name_that_is_not_found_is_worth_another_attempt() -> None:
    refused = await refusal("nobody.invalid")

    assert (refused.error_type, refused.retryable) == ("connection_error", True)
    assert refused.error.startswith("cannot find the host 'nobody.invalid': ")


@pytest.mark.parametrize("host", ["a..b", "x" * 70, ".example.com"])
async def test_what_is_no_name_fails_for_good(host: str) -> None:
    refused = await refusal(host)

    assert (refused.error_type, refused.retryable) == ("not_found", False)
    assert refused.error == f"'{host}' is no host's name"


# What the operator allows


@pytest.mark.parametrize(
    ("allowed", "host", "address"),
    [
        ("10.1.2.3", "10.1.2.3", "10.1.2.3"),
        ("10.1.0.0/16", "10.1.2.3", "10.1.2.3"),
        ("10.1.0.0/16", "db.corp.example", "10.1.2.3"),
        ("8.8.8.8, 10.1.0.0/16", "10.1.2.3", "10.1.2.3"),
        ("::1", "[::1]", "::1"),
        ("fd00::/8", "fd12::1", "fd12::1"),
        ("10.1.2.3", "::ffff:10.1.2.3", "::ffff:10.1.2.3"),
        ("10.1.2.3", "64:ff9b::10.1.2.3", "64:ff9b::a01:203"),
        ("db.corp.example", "db.corp.example", "10.1.2.3"),
        ("DB.corp.example.", "db.CORP.example", "10.1.2.3"),
        ("db.corp.example", "db.corp.example.", "10.1.2.3"),
        ("*.corp.example", "db.corp.example", "10.1.2.3"),
        ("*.example", "db.corp.example", "10.1.2.3"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", "10.1.2.3"),
    ],
)
async def test_what_is_listed_may_be_reached(
    monkeypatch: pytest.MonkeyPatch, allowed: str, host: str, address: str
) -> None:
    names = ("db.corp.example", "db.CORP.example", "db.corp.example.", "xn--bcher-kva.example")
    know(monkeypatch, {name: ["10.1.2.3"] for name in names})
    monkeypatch.setenv("REGROW_HTTP_ALLOW", allowed)

    assert await checked_addresses(host, 80) == (address,)


@pytest.mark.parametrize(
    ("allowed", "host"),
    [
        ("10.1.2.3", "10.1.2.4"),
        ("10.1.0.0/16", "10.2.0.1"),
        ("0.0.0.0/0", "::1"),
        ("::/0", "::ffff:127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("db.corp.example", "other.corp.example"),
        ("db.corp.example", "x.db.corp.example"),
        ("*.corp.example", "corp.example"),
        ("*.corp.example", "evilcorp.example"),
    ],
)
async def test_what_is_not_listed_may_not(
    monkeypatch: pytest.MonkeyPatch, allowed: str, host: str
) -> None:
    know(monkeypatch, {host: ["10.9.9.9"]} if host.endswith("example") else {})
    monkeypatch.setenv("REGROW_HTTP_ALLOW", allowed)

    assert (await refusal(host)).error_type == "not_allowed"


@pytest.mark.parametrize(
    "entry",
    [
        "localhost",
        "my_service",
        "db-1.corp.example.",
        "*.corp.example",
        "10.0.0.1",
        "10.0.0.0/8",
        "::1",
        "fd00::/8",
    ],
)
def test_hosts_addresses_and_networks_can_be_listed(
    monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    monkeypatch.setenv("REGROW_HTTP_ALLOW", entry)

    assert load_settings().http_allow == (entry,)


@pytest.mark.parametrize(
    "entry",
    [
        "http://localhost",
        "localhost:8080",
        "[::1]",
        "10.0.0.256",
        "10.1",
        "0x7f.1",
        "2130706433",
        "10.1.2.3/16",
        "10.0.0.0/33",
        "*",
        "*.*.example",
        "db.*.example",
        "b\u00fccher.example",
        "localhost evil",
    ],
)
def test_a_worker_does_not_start_with_an_entry_that_says_something_else(
    monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    monkeypatch.setenv("REGROW_HTTP_ALLOW", f"localhost,{entry}")

    with pytest.raises(InvalidSettings) as refused:
        configure([])

    [problem] = refused.value.problems
    assert f"'{entry}' must be a host, an address or a network: no scheme, no port" in problem


# Connections


async def test_a_connection_goes_to_the_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch, loopback: None
) -> None:
    asked = know(monkeypatch, {"turns.example": ["127.0.0.1", "192.0.2.1"]})

    async with listening() as port:
        with closing(await checked_connection("turns.example", port)) as connected:
            assert connected.getpeername() == ("127.0.0.1", port)

    assert asked == {"turns.example": 1}


async def test_the_next_address_is_tried_if_one_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, loopback: None
) -> None:
    know(monkeypatch, {"pair.example": [["::1", "127.0.0.2", "127.0.0.1"]]})

    async with listening() as port:
        with closing(await checked_connection("pair.example", port)) as connected:
            assert connected.getpeername() == ("127.0.0.1", port)


async def test_a_connection_that_nobody_takes_is_worth_another_attempt(loopback: None) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        with pytest.raises(TaskError) as raised:
            await checked_connection("127.0.0.1", port)

    assert (raised.value.error_type, raised.value.retryable) == ("connection_error", True)
    assert raised.value.error == f"cannot connect to '127.0.0.1', port {port}: Connection refused"


async def test_no_connection_is_made_to_what_is_refused() -> None:
    async with listening() as port:
        with pytest.raises(TaskError, match="this worker may not connect to 127"):
            await checked_connection("127.0.0.1", port)
