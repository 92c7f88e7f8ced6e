"""Trees and runs from plain data.

A dependency is written `a`, or `a?` when it is optional. Every run made here checks on the way that
each change of status is one that the design allows.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop, heappush
from typing import Any

import pytest

from regrow.core.graph import children_of
from regrow.core.loading import load
from regrow.core.models import Policy, TaskTree
from regrow.core.outcome import Outcome, outcome_of
from regrow.core.problems import InvalidTree, path_text
from regrow.core.record import Start
from regrow.core.resolve import Description, Plan, Unknown, executor_ids, resolve
from regrow.core.result import tree_result
from regrow.core.run import TreeRun
from regrow.core.snapshot import restore_snapshot, take_snapshot
from regrow.core.wire import Status, split_unit

Document = dict[str, Any]
Script = Mapping[str, Any]
"""What executors answer, by task; an `Outcome` is how the activity itself ended."""

NOW = datetime(2030, 1, 1, tzinfo=UTC)
CANCELLED = Outcome(Status.CANCELLED, error="cancelled", attempts=1)
LEGAL = {
    ("pending", "in_progress"),
    ("pending", "completed"),
    ("pending", "failed"),
    ("pending", "cancelled"),
    ("pending", "skipped"),
    ("in_progress", "completed"),
    ("in_progress", "failed"),
    ("in_progress", "cancelled"),
    # by a person's hand:
    ("failed", "pending"),
    ("failed", "completed"),
    ("failed", "skipped"),
    ("skipped", "pending"),
    ("skipped", "completed"),
    ("cancelled", "pending"),
    ("cancelled", "completed"),
    ("cancelled", "skipped"),
    ("in_progress", "skipped"),
}


def task(task_id: str, *dependencies: str | Document, **fields: Any) -> Document:
    """An executor `work` unless said otherwise."""
    edges = [_edge(each) for each in dependencies]
    return {"id": task_id, "executor": "work", "dependencies": edges, **fields}


def group(task_id: str, *dependencies: str | Document, **fields: Any) -> Document:
    return task(task_id, *dependencies, **{"executor": "group", **fields})


def sleep(task_id: str, *dependencies: str | Document, **inputs: Any) -> Document:
    return task(task_id, *dependencies, executor="sleep", inputs=inputs or {"duration": "1h"})


def approval(task_id: str, *dependencies: str | Document, **inputs: Any) -> Document:
    return task(task_id, *dependencies, executor="approval", inputs=inputs)


def event(task_id: str, *dependencies: str | Document, **inputs: Any) -> Document:
    """Waits for the event of its own name unless said otherwise."""
    asked = {"event": task_id, **inputs}
    return task(task_id, *dependencies, executor="wait_for_event", inputs=asked)


def undone(task_id: str, *dependencies: str | Document, **fields: Any) -> Document:
    """A task with a compensation that is given its result."""
    inputs = {"was": f"${{{{ tasks.{task_id}.result }}}}"}
    compensation = {"executor": "undo", "inputs": inputs}
    return task(task_id, *dependencies, **{"compensate": compensation, **fields})


def subtree(task_id: str, *tasks: Document, **head: Any) -> Document:
    """A task that runs a tree of those tasks; `inputs` are what that tree declares."""
    return {"id": task_id, "tree": {**head, "tasks": list(tasks)}}


def _edge(written: str | Document) -> str | Document:
    if isinstance(written, str) and written.endswith("?"):
        return {"id": written[:-1], "required": False}
    return written


def document(*tasks: Document, **head: Any) -> Document:
    return {"name": "tree", **head, "tasks": list(tasks)}


def tree_of(*tasks: Document, **head: Any) -> TaskTree:
    return load(document(*tasks, **head))


def refusal(written: object) -> InvalidTree:
    with pytest.raises(InvalidTree) as refused:
        load(written)
    return refused.value


def problems_of(written: object) -> list[str]:
    """Every problem as `code path`, in order; none for a sound document."""
    try:
        load(written)
    except InvalidTree as refused:
        return [f"{each.code} {path_text(each.path)}" for each in refused.problems]
    return []


def chain(length: int) -> list[Document]:
    return [task(f"t{at}", *[f"t{at - 1}"] * (at > 0)) for at in range(length)]


def describe(tree: TaskTree, *unknown: str) -> Description:
    """A worker that has every executor of the tree but those."""
    known = {name: Policy() for name in executor_ids(tree) if name not in unknown}
    return Description(executors=known, unknown={name: Unknown() for name in unknown})


def plan_of(tree: TaskTree) -> Plan:
    """Every executor is known; a task that only has children is a group."""
    children = children_of(tree.tasks)
    groups = [each.id for each in tree.tasks if each.id in children and each.executor is None]
    return resolve(tree, describe(tree, *groups))


def begin(
    tree: TaskTree, on_change: Callable[[str], object] = lambda _: None, *, tree_id: str = "run"
) -> TreeRun:
    """A fresh run whose every change of status is checked."""
    seen: dict[str, str] = {}

    def checked(task_id: str) -> None:
        before, after = seen.get(task_id, "pending"), run.records[task_id].status.value
        assert (before, after) in LEGAL, f"{task_id}: {before} → {after}"
        seen[task_id] = after
        on_change(task_id)

    run = TreeRun(plan_of(tree), tree_id=tree_id, on_change=checked)
    return run


def begun(*tasks: Document, **head: Any) -> TreeRun:
    """A run in which everything that may start has."""
    run = begin(tree_of(*tasks, **head))
    start_all(run)
    return run


def continued(run: TreeRun) -> TreeRun:
    """A fresh run of the same tree where that one was, as the wire carries it."""
    fresh = begin(run.plan.tree)
    restore_snapshot(fresh, json.loads(json.dumps(take_snapshot(run))))
    return fresh


def clock(run: TreeRun) -> datetime:
    """A second for every change so far: the same state has the same time."""
    counts = run.counts
    settled = sum(count for status, count in counts.items() if status.is_settled)
    return NOW + timedelta(seconds=2 * settled + counts[Status.IN_PROGRESS])


def start_all(run: TreeRun, limit: int = 10**6) -> list[Start]:
    """Start what may start now."""
    starts: list[Start] = []
    while len(starts) < limit and (start := run.next_start(clock(run))) is not None:
        starts.append(start)
        if start.wait is None:
            run.began(start.unit, clock(run))
        else:
            run.waiting(start, clock(run))
    return starts


def settle(run: TreeRun, task_id: str, answer: Any = None) -> None:
    """End what runs: a sleep wakes, an activity answers or fails."""
    if task_id in run.waits:
        run.woke(task_id, clock(run))
    else:
        outcome = answer if isinstance(answer, Outcome) else outcome_of(answer)
        run.ended(task_id, outcome, clock(run))


def end(run: TreeRun, unit: str, answer: Any = None) -> None:
    """End one activity or sub-tree, named as in history: `task`, `task[3]`, `task~compensate`."""
    run.ended(unit, answer if isinstance(answer, Outcome) else outcome_of(answer), clock(run))


def play(run: TreeRun, script: Script | None = None) -> list[str]:
    """Start and end units, the longest running first; gives them in the order of their starts.

    Unscripted ones answer their name; an item may be scripted by its task. Waits, and what was
    started before, are left alone.
    """
    answers: Script = script or {}
    rest: list[str] = []
    played: list[str] = []
    while True:
        begun = [start.unit for start in start_all(run) if start.wait is None]
        played += begun
        rest += begun
        while (interrupted := run.next_interrupt()) is not None:
            if interrupted in rest:
                rest.remove(interrupted)
                end(run, interrupted, CANCELLED)
        if not rest:
            return played
        unit = rest.pop(0)
        end(run, unit, answers.get(unit, answers.get(split_unit(unit)[0], unit)))


def running(run: TreeRun) -> list[str]:
    return [each for each, record in run.records.items() if record.status is Status.IN_PROGRESS]


def drive(
    run: TreeRun, script: Script, order: Sequence[str] = (), *, settles: int = 10**6
) -> list[Start]:
    """Start and settle one by one, those of `order` first; unscripted tasks answer their id."""
    places = dict(reversed([(each, at) for at, each in enumerate([*order, *run.records])]))
    waiting = [(places[each], each) for each in running(run)]
    heapify(waiting)
    starts: list[Start] = []
    while True:
        for start in start_all(run):
            heappush(waiting, (places[start.task_id], start.task_id))
            starts.append(start)
        while (interrupted := run.next_interrupt()) is not None:
            if run.records[interrupted].status is Status.IN_PROGRESS:
                settle(run, interrupted, CANCELLED)
        if not waiting or not settles:
            return starts
        _, task_id = heappop(waiting)
        if run.records[task_id].status is Status.IN_PROGRESS:
            settles -= 1
            settle(run, task_id, script.get(task_id, task_id))


def run_to_end(
    tree: TaskTree, script: Script | None = None, order: Sequence[str] | None = None
) -> TreeRun:
    """Run a whole tree, with the ends in the order given where there is a choice."""
    run = begin(tree)
    drive(run, script or {}, order or ())
    assert run.is_finished, running(run)
    return run


def inputs_of(tree: TaskTree, task_id: str, script: Script | None = None) -> dict[str, Any]:
    """What a task is given in a run of the tree."""
    starts = drive(begin(tree), script or {})
    return next(dict(start.inputs) for start in starts if start.task_id == task_id)


def statuses(run: TreeRun) -> dict[str, str]:
    return {task_id: record.status.value for task_id, record in run.records.items()}


def entry_of(run: TreeRun, task_id: str) -> dict[str, Any]:
    return tree_result(run)["tasks"][task_id]


def fails(error: str = "broken", error_type: str = "execution_error") -> dict[str, Any]:
    return {"status": "failed", "error": error, "error_type": error_type}
