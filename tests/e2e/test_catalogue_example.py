"""The morning example: the built-in executors together, typed in a shell as its README says."""

import base64
import json
import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from tests.docs.pages import Step, blocks_of, steps_of
from tests.docs.terminal import Terminal, agrees, without_server
from tests.e2e.command import free_port, wait_until

from regrow.client import read_document

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "morning"
README: Final = EXAMPLE / "README.md"
PORTS: Final = ("8790", "8791")
KEY: Final = "not-a-real-key"
DEMO, PEERS, SETTINGS, RUN, LOOK, SEARCH, AGAIN, NEW_PEERS, COURIER, END = (
    "regrow run tree.yaml --demo",
    "python peers.py > peers.log &",
    ". ./settings.sh",
    "regrow run tree.yaml --db state.db",
    "cat counter/packing-list.txt peers.log",
    f"grep {KEY} state.db*",
    "regrow run tree.yaml",
    "kill %1; python peers.py > peers.log &",
    "regrow run tree.yaml --set courier=127.0.0.1:8790",
    "kill $!",
)
PARCELS: Final = ["1 x teapot for Ann", "6 x cup for Bob", "3 x tray for Cem"]


@dataclass(frozen=True)
class Moment:
    """What a command printed, and what the peers had been told by then."""

    code: int
    output: str
    agrees: bool
    """Whether it printed what the README shows, if it shows anything."""
    files: tuple[str, ...]
    peers: tuple[str, ...] = ()
    booked: tuple[tuple[str, float | None], ...] = ()

    @property
    def outputs(self) -> dict[str, Any]:
        """The tree's, which `regrow run` prints last."""
        return json.loads(self.output[self.output.index("\n{\n") :])


class Shop:
    """A copy of the example on free ports, and a shell in it."""

    def __init__(self, home: Path) -> None:
        self.directory = directory = home / "a shop" / "morning"
        self.ports = {port: str(free_port()) for port in PORTS}
        shutil.copytree(EXAMPLE, directory, ignore=shutil.ignore_patterns("__pycache__"))
        for path in directory.iterdir():
            path.write_text(self.here(path.read_text()))
        self.shell = Terminal(home, free_port(), without_server(home))
        self.shell.source(f"cd '{directory}'")

    def here(self, text: str) -> str:
        return re.sub("|".join(PORTS), lambda found: self.ports[found[0]], text)

    def type(self, step: Step) -> Moment:
        code, output = self.shell.source(self.here(step.typed))
        if "peers.py" in step.typed:
            wait_until(lambda: len(self.peers()) == 1)
        shows = not step.shown or agrees(step, output)
        files = tuple(sorted(path.name for path in self.directory.iterdir()))
        return Moment(code, output, shows, files, self.peers(), self.booked())

    def peers(self) -> tuple[str, ...]:
        log = self.directory / "peers.log"
        return tuple(log.read_text().splitlines()) if log.exists() else ()

    def booked(self) -> tuple[tuple[str, float | None], ...]:
        path = self.directory / "shop.sqlite3"
        if not path.exists():
            return ()
        with closing(sqlite3.connect(path)) as db:
            return tuple(db.execute("SELECT state, euros FROM orders ORDER BY id"))

    def history(self) -> bytes:
        return b"".join(path.read_bytes() for path in self.directory.glob("state.db*"))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    made = Shop(tmp_path_factory.mktemp("home"))
    yield made
    made.shell.close()


@pytest.fixture(scope="module")
def typed(shop: Shop) -> Mapping[str, Moment]:
    """What came of each command of the README, in its order."""
    steps = [step for block in blocks_of(README) for step in steps_of(block)]
    return {step.typed: shop.type(step) for step in steps}


def test_the_readme_is_short_and_types_these_commands(typed: Mapping[str, Moment]) -> None:
    assert len(README.read_text().splitlines()) <= 40
    assert list(typed) == [
        DEMO, PEERS, SETTINGS, RUN, LOOK, SEARCH, AGAIN, NEW_PEERS, COURIER, END,
    ]  # fmt: skip


def test_every_command_does_what_the_readme_shows(typed: Mapping[str, Moment]) -> None:
    for command, moment in typed.items():
        assert moment.agrees, f"$ {command}\n{moment.output}"
        assert moment.code == (1 if command == SEARCH else 0), f"$ {command}\n{moment.output}"
        assert "warning" not in moment.output.lower()


def test_the_tree_is_of_built_in_executors() -> None:
    path = EXAMPLE / "tree.yaml"
    tree = read_document(path).tree()

    assert path.read_text().startswith(
        "# yaml-language-server: $schema=../../src/regrow/tree.schema.json\n"
    )
    assert {task.executor for task in tree.tasks} == {
        "sql_query", "batch", "python", "http_request", "file_write", "object_put",
        "websocket_send", "send_email",
    }  # fmt: skip


def test_a_demo_needs_neither_peers_nor_settings_and_does_nothing(
    typed: Mapping[str, Moment],
) -> None:
    demo = typed[DEMO]

    assert demo.files == tuple(sorted(path.name for path in EXAMPLE.iterdir() if path.is_file()))
    assert demo.outputs["parcels"] == ["Ann", "Bob"]
    assert demo.outputs["usual"] == "what the function gives"
    assert demo.outputs["mailed"] == ["ann@example.com"]


def test_every_peer_is_asked_and_told(typed: Mapping[str, Moment]) -> None:
    ran = typed[RUN]
    greeting, *told = ran.peers
    tree_id = found[1] if (found := re.search(r"tree (morning-\S+)", ran.output)) else ""

    assert greeting.startswith("prices, courier and screen on ")
    assert sorted(told[:3]) == [
        "prices: order 1, 1 x teapot",
        "prices: order 2, 6 x cup",
        "prices: order 3, 3 x tray",
    ]
    assert told[3] == f"screen: pack {', '.join(PARCELS)}"
    assert told[4:] == [
        "mail: to Olga <olga@shop.example>: 3 parcels to pack",
        *(f"    {parcel}" for parcel in PARCELS),
        "",
        "    Euros: 161.75, usually 49.5 an order.",
        "    The courier: no answer, please call.",
        f"    The figures: {tree_id}.json",
    ]
    assert typed[LOOK].output.splitlines() == [*PARCELS, *ran.peers]


def test_the_outputs_say_what_came_of_it(typed: Mapping[str, Moment]) -> None:
    outputs = typed[RUN].outputs

    assert outputs.pop("no_courier").startswith("GET http://127.0.0.1:9/courier: ")
    assert outputs.pop("archived").startswith("morning-")
    assert outputs == {
        "parcels": PARCELS, "euros": 161.75, "usual": 49.5, "list": "packing-list.txt",
        "screen": "shown", "mailed": ["olga@shop.example"],
    }  # fmt: skip


def test_orders_are_booked_once_everybody_knows(typed: Mapping[str, Moment]) -> None:
    assert [state for state, _ in typed[SETTINGS].booked] == ["open", "open", "open", "packing"]
    assert typed[RUN].booked == (
        ("packing", 34.25), ("packing", 49.5), ("packing", 78.0), ("packing", None),
    )  # fmt: skip


def test_a_second_run_finds_nothing_to_do(typed: Mapping[str, Moment]) -> None:
    assert "✔ morning completed: 1 completed, 8 skipped" in typed[AGAIN].output
    assert typed[AGAIN].peers == typed[RUN].peers


def test_the_mail_says_when_the_courier_comes_if_one_answers(typed: Mapping[str, Moment]) -> None:
    assert "✔ morning completed: 9 completed" in typed[COURIER].output
    assert typed[COURIER].outputs["no_courier"] is None
    assert "courier: 3 parcels" in typed[COURIER].peers
    assert "    The courier: at 11." in typed[COURIER].peers


def test_the_archive_keeps_every_morning(typed: Mapping[str, Moment], shop: Shop) -> None:
    kept = {path.name: json.loads(path.read_text()) for path in shop.directory.glob("archive/*")}

    assert set(kept) == {typed[RUN].outputs["archived"], typed[COURIER].outputs["archived"]}
    for figures in kept.values():
        assert [order["name"] for order in figures["orders"]] == PARCELS
        assert [price["euros"] for price in figures["prices"]] == [34.25, 49.5, 78.0]


@pytest.mark.usefixtures("typed")
def test_the_key_is_nowhere_in_history(shop: Shop) -> None:
    history = shop.history()

    assert b"3 x tray for Cem" in history  # which is in plain text
    assert b"${{ secrets.PRICES_KEY }}" in history
    assert KEY.encode() not in history
    assert base64.b64encode(KEY.encode()).rstrip(b"=") not in history
    assert f"REGROW_SECRET_PRICES_KEY={KEY} " in (shop.directory / "settings.sh").read_text()
