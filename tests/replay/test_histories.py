"""Trees that were recorded keep running: every history replays on today's code."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from tests.replay.behaviours import BEHAVIOURS, CONTINUED, HEARD, PARTITIONED, SHOWN, STEERED
from tests.replay.record import HISTORIES

from regrow.core import frontier, gates, run
from regrow.core.graph import dependents_of
from regrow.plugin import RegrowPlugin

FILES = sorted(HISTORIES.glob("*.json"))


def history_of(path: Path) -> WorkflowHistory:
    text = path.read_text()
    started = json.loads(text)["events"][0]["workflowExecutionStartedEventAttributes"]
    return WorkflowHistory.from_json(started["workflowId"], text)


async def replay(*paths: Path) -> None:
    replayer = Replayer(workflows=[], plugins=[RegrowPlugin()])
    for path in paths:
        await replayer.replay_workflow(history_of(path))


def test_every_behaviour_has_a_history() -> None:
    recorded = {path.name.split(".")[0] for path in FILES}
    assert recorded == {*BEHAVIOURS, *STEERED, *CONTINUED, *SHOWN, *HEARD, *PARTITIONED}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_history_replays(path: Path) -> None:
    await replay(path)


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_replay_does_not_depend_on_hash_order(seed: str) -> None:
    code = (
        "import asyncio; from tests.replay.test_histories import FILES, replay;"
        " asyncio.run(replay(*FILES)); import os; os._exit(0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": seed},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def starts_low_priority_first(monkeypatch: pytest.MonkeyPatch) -> None:
    original = frontier.Frontier.__init__

    def broken(self: frontier.Frontier, *args: Any) -> None:
        original(self, *args)
        turned = {task_id: -value for task_id, value in vars(self)["_priority"].items()}
        vars(self)["_priority"] = turned

    monkeypatch.setattr(frontier.Frontier, "__init__", broken)


def takes_required_edges_for_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(tasks: Any) -> dict[str, list[tuple[str, bool]]]:
        edges = dependents_of(tasks)
        return {task_id: [(to, False) for to, _ in found] for task_id, found in edges.items()}

    monkeypatch.setattr(frontier, "dependents_of", broken)


def ignores_conditions(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(value: Any) -> bool:
        return True

    monkeypatch.setattr(gates, "is_true", broken)


def goes_on_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        pass

    monkeypatch.setattr(run.TreeRun, "_close", broken)


def forgets_what_a_continuation_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        pass

    monkeypatch.setattr(run.TreeRun, "restore", broken)


BROKEN: dict[Callable[[pytest.MonkeyPatch], None], str] = {
    starts_low_priority_first: "a_window_admits_tasks_by_priority",
    takes_required_edges_for_optional: "a_required_failure_skips_dependents",
    ignores_conditions: "a_false_condition_skips",
    goes_on_after_a_failure: "the_first_failure_cancels_the_rest",
    forgets_what_a_continuation_was_given: "a_long_tree_continues_as_new.run2",
}


@contextmanager
def quiet_sdk() -> Generator[None]:
    """The SDK logs each divergence that these tests provoke."""
    logger = logging.getLogger("temporalio")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
async def test_a_broken_interpreter_is_caught(
    broken: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)

    with quiet_sdk(), pytest.raises(Exception, match=r"(?i)nondeterminism|non.?determinis"):
        await replay(HISTORIES / f"{BROKEN[broken]}.json")


def test_the_corpus_has_every_status() -> None:
    text = " ".join(path.read_text() for path in FILES)
    assert "EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW" in text
    assert "EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED" in text
