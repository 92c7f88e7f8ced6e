"""Both sides: apflow in a process of its own, Regrow on a real server."""

import asyncio
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.differential.probe import EVENTS

from regrow import TreeCancelled, TreeClient, TreeFailed, TreeResult
from regrow.core.convert import convert

Array = list[dict[str, Any]]
"""A tree as the other side has it; each task's inputs name the tree, the task and what it does."""
Event = list[Any]

_RUNNER: Final = Path(__file__).with_name("apflow_runner.py")
_PATIENCE: Final = 40
_ONCE: Final = {"retry": {"maximum_attempts": 1}}


@dataclass(frozen=True)
class There:
    """How a tree went with apflow."""

    told: list[str]
    """What each start was answered."""
    tasks: dict[str, dict[str, Any]]
    """Status, result and error of each task, in the database."""
    events: list[Event]
    exported: dict[str, Any] | None
    """The tree as their interfaces export it, with all that they know by now."""

    def statuses(self) -> dict[str, str]:
        return {task_id: task["status"] for task_id, task in self.tasks.items()}


@dataclass(frozen=True)
class Here:
    """How a tree went with Regrow."""

    result: TreeResult
    events: list[Event]

    def statuses(self) -> dict[str, str]:
        return {task_id: task.status.value for task_id, task in self.result.tasks.items()}


class Apflow:
    """The other side, in an environment of its own."""

    def __init__(self, python: Path) -> None:
        self._python = python

    def run(self, trees: Sequence[Array], *database: Path, **more: Any) -> list[There]:
        """Run trees one after another in one process; those after one that kills it are missing."""
        requests = [{"name": name_of(tree), "tasks": tree, **more} for tree in trees]
        done = subprocess.run(
            [self._python, _RUNNER, *database],
            input="\n".join(map(json.dumps, requests)),
            capture_output=True,
            text=True,
            check=False,
            env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        )
        assert done.returncode in (0, -9), done.stderr
        return [There(**json.loads(line)) for line in done.stdout.splitlines()]

    def run_one(self, tree: Array, **more: Any) -> There:
        return self.run([tree], **more)[0]


async def run_here(client: TreeClient, tree: Array, **head: Any) -> Here:
    """Run what `convert` makes of a tree, each task tried once, as there; `head` is more of it."""
    document = {**convert(tree).document, "defaults": _ONCE, **head}
    handle = await client.start(document, id=name_of(tree))
    async with asyncio.timeout(_PATIENCE):
        try:
            result = await handle.result()
        except (TreeFailed, TreeCancelled) as end:
            result = end.result
    return Here(result, EVENTS.get(name_of(tree), []))


def name_of(tree: Array) -> str:
    return tree[0]["inputs"]["tree"]


def seen(events: Sequence[Event]) -> dict[str, dict[str, Any]]:
    """Give what each task that ran saw of others."""
    return {event[1]: event[2] for event in events if event[0] == "starts"}


def order(events: Sequence[Event]) -> list[str]:
    """Give what happened, as text: `starts a`, `ends a`."""
    return [f"{event[0]} {event[1]}" for event in events]


def bare(value: Any) -> Any:
    """Give a result as Regrow has it: there, a dependent gets the whole answer."""
    match value:
        case {"status": "completed", "result": result}:
            return bare(result)
        case dict():
            return {key: bare(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
        case _:
            return value
