"""Runs the trees of docs/semantics.md in memory and says what became of them, as the page does."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

from tests.semantics.table import NONE, Cell, End, Row, Scenario, ends, pieces, scenario, values
from tests.unit.core.builders import CANCELLED, begin, clock, describe, start_all

from regrow import Status, TaskError, TaskResult, TreeResult, simulate
from regrow.core.loading import load
from regrow.core.models import TaskTree
from regrow.core.outcome import Outcome, completed, failed
from regrow.core.record import Kind, Start
from regrow.core.result import tree_result
from regrow.core.run import TreeRun
from regrow.core.script import Act
from regrow.core.simulate import BEGINNING
from regrow.core.subtree import child_document, subtree_outcome
from regrow.core.wire import COMPENSATE, ENGINE_KEY


@dataclass
class Seen:
    """What became of a tree."""

    result: TreeResult
    started: tuple[str, ...]
    """The units of work that were started, in that order."""
    gets: Mapping[str, Any]
    """What executors were given, by unit of work."""


async def seen_of(scene: Scenario) -> Seen:
    """Run it in memory: simulated or, if a single task is cancelled, driven by hand."""
    return driven(scene) if scene.cancelled else await simulated(scene)


# --- simulate


class _Recording(Mapping[str, Any]):
    """A script that notes what is started, and with which inputs."""

    def __init__(self, scene: Scenario) -> None:
        self.scene = scene
        self.started: list[str] = []
        self.gets: dict[str, Any] = {}

    def __getitem__(self, unit: str) -> Act | Callable[..., Any]:
        assert unit not in self.started, f"{unit} is started twice"
        self.started.append(unit)
        act = self.scene.act(unit)
        if act.seconds != 0 or self._is_native(unit):
            return act

        def execute(inputs: dict[str, Any]) -> Any:
            self.gets[unit] = inputs
            if not act.ok:
                raise TaskError(str(act.error), error_type=str(act.error_type))
            return act.value

        return execute

    def __contains__(self, unit: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self.scene.acts)

    def __len__(self) -> int:
        return 1  # simulate() takes an empty script for none

    def _is_native(self, unit: str) -> bool:
        tasks: list[dict[str, Any]] = self.scene.document["tasks"]
        return any(task["id"] == unit and task.get("executor") != "work" for task in tasks)


async def simulated(scene: Scenario) -> Seen:
    script = _Recording(scene)
    result = await simulate(scene.document, script, cancel_after=scene.cancel_after)
    return Seen(result, tuple(script.started), script.gets)


# --- by hand


def driven(scene: Scenario, order: Sequence[str] = ()) -> Seen:
    """Tell a run what happens, step by step; of several tasks the first of `order` ends first."""
    drive = _Drive(scene, {unit: at for at, unit in enumerate(order)})
    result = TreeResult.model_validate(drive(load(scene.document), ""))
    return Seen(result, tuple(drive.gets), drive.gets)


@dataclass
class _Drive:
    scene: Scenario
    places: Mapping[str, int]
    gets: dict[str, Any] = field(default_factory=dict[str, Any])

    def __call__(self, tree: TaskTree, path: str) -> dict[str, Any]:
        run = begin(tree, tree_id=path.rstrip("/") or "tree")
        running: dict[str, Outcome] = {}
        while True:
            for start in start_all(run):
                unit = path + start.unit
                if start.kind is Kind.SUBTREE:
                    running[start.unit] = self._subtree(run, start, unit)
                    continue
                assert start.kind is Kind.ACTIVITY
                self.gets[unit] = dict(start.inputs)
                running[start.unit] = self._outcome(unit)
            if not running:
                assert run.is_finished
                return tree_result(run)
            first = min(running, key=lambda unit: self.places.get(unit, 0))
            run.ended(first, running.pop(first), clock(run))

    def _subtree(self, run: TreeRun, start: Start, unit: str) -> Outcome:
        tree = run.tasks[start.task_id].tree
        assert tree is not None
        document = child_document(tree, start.inputs, None, describe(tree))
        del document[ENGINE_KEY]
        return subtree_outcome(start.unit, self(load(document), f"{unit}/"))

    def _outcome(self, unit: str) -> Outcome:
        if unit in self.scene.cancelled:
            return CANCELLED
        act = self.scene.act(unit)
        if not act.ok:
            return failed(str(act.error), str(act.error_type), attempts=1)
        return completed(act.value, attempts=1)


# --- compare with the page


def check_cell(cell: Cell, seen: Seen) -> None:
    """Hold a run to all that a cell says of it."""
    up, down = seen.result.tasks["up"], seen.result.tasks["down"]
    others = [unit for unit in seen.gets if unit not in ("before", "up")]
    assert_end(up, cell.up)
    assert up.tolerated is (cell.tolerated and up.status in (Status.FAILED, Status.CANCELLED))
    assert_end(down, cell.down)
    assert because(down) == cell.because
    assert {unit: seen.gets[unit] for unit in others} == cell.gets
    assert seen.result.status == cell.tree


async def check_rule(row: Row, *, in_every_order: bool = False) -> None:
    """Hold a run, or a run in each order, to all that a row says of it."""
    scene = scenario(pieces(row["written"]))
    seen = await seen_of(scene)
    _assert_row(row, seen)
    if in_every_order:
        for order in permutations(task["id"] for task in scene.document["tasks"]):
            _assert_row(row, driven(scene, order))


def assert_end(task: TaskResult, end: End) -> None:
    """Hold a task to how it ended; in brackets stand its reason, its type, its tolerance."""
    assert task.status == end.status, (task, end)
    known = [because(task), task.error_type, "tolerated" if task.tolerated else None]
    assert all(detail in known for detail in end.details), (known, end)


def because(task: TaskResult) -> str:
    """Say why a task did not run, as the page does."""
    reason = task.because
    if reason is None:
        return NONE
    root = f", root: {reason.root}" if reason.root != reason.task_id else ""
    return f"{reason.reason}: {reason.task_id}{root}" if reason.task_id else reason.reason


def _assert_row(row: Row, seen: Seen) -> None:
    for column, text in row.items():
        if column not in ("rule", "written"):
            _COLUMNS[column](text, seen)


def _assert_ends(text: str, seen: Seen) -> None:
    said = ends(text)
    assert said.keys() == seen.result.tasks.keys()
    for task_id, end in said.items():
        task = seen.result.tasks[task_id]
        assert_end(task, end)
        if task.status is Status.FAILED:
            assert task.tolerated is ("tolerated" in end.details), (task, end)


def _assert_tree(text: str, seen: Seen) -> None:
    assert seen.result.status == text


def _assert_starts(text: str, seen: Seen) -> None:
    said = text.split(", ")
    if " " not in said[0]:
        assert said == [unit for unit in seen.started if not unit.endswith(COMPENSATE)]
        return
    assert dict(each.split(" ") for each in said) == {
        task_id: f"{(task.started_at - BEGINNING).total_seconds():g}s"
        for task_id, task in seen.result.tasks.items()
        if task.started_at is not None
    }


def _assert_undone(text: str, seen: Seen) -> None:
    undone = [unit for unit in seen.started if unit.endswith(COMPENSATE)]
    assert ", ".join(unit.removesuffix(COMPENSATE) for unit in undone) == text.replace(NONE, "")


def _assert_gets(text: str, seen: Seen) -> None:
    said = values(text)
    assert {unit: seen.gets[unit] for unit in said} == said


def _assert_result(text: str, seen: Seen) -> None:
    said = values(text)
    assert {task_id: seen.result.tasks[task_id].result for task_id in said} == said


def _assert_error(text: str, seen: Seen) -> None:
    said = values(text)
    assert {task_id: seen.result.tasks[task_id].error for task_id in said} == said


_COLUMNS: Mapping[str, Callable[[str, Seen], None]] = {
    "ends": _assert_ends,
    "tree": _assert_tree,
    "starts": _assert_starts,
    "undone": _assert_undone,
    "gets": _assert_gets,
    "result": _assert_result,
    "error": _assert_error,
}
