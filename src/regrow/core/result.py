"""What a run answers: the `TreeResult`, kept small enough for Temporal to carry."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, cast

from pydantic import BaseModel, ConfigDict, Field

from regrow.core import limits
from regrow.core.models import Json, TaskId
from regrow.core.outcome import Outcome
from regrow.core.record import Record
from regrow.core.run import TreeRun
from regrow.core.wire import ErrorType, Status

AND_MORE: Final = "…"
"""Stands for the names that were too many to list."""

_as_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class TaskBecause(BaseModel):
    """Why a task did not run."""

    model_config = ConfigDict(frozen=True)
    reason: str
    task_id: str | None = None
    root: str | None = None
    error: str | None = None
    error_type: str | None = None


class Compensation(BaseModel):
    """How a completed task was undone; what that gave is in history."""

    model_config = ConfigDict(frozen=True)
    status: Status
    error: str | None = None
    error_type: str | None = None
    attempts: int | None = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None


class TaskResult(BaseModel):
    """How one task stands or ended."""

    model_config = ConfigDict(frozen=True)
    status: Status
    result: Json = None
    error: str | None = None
    error_type: str | None = None
    because: TaskBecause | None = None
    attempts: int | None = 0
    """How often the executor ran; null when it isn't known, as after a timeout."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    metadata: dict[str, Json] = Field(default_factory=dict)
    tolerated: bool = Field(default=False, exclude_if=lambda tolerated: not tolerated)
    """It failed, and the tree is none the worse."""
    result_omitted: bool = Field(default=False, exclude_if=lambda omitted: not omitted)
    """The result (and metadata) is only in history."""
    compensation: Compensation | None = Field(default=None, exclude_if=lambda undone: not undone)
    """How the task was undone."""
    reused: bool = Field(default=False, exclude_if=lambda reused: not reused)
    """It was kept from the tree that this one is a rerun of; nothing was executed for it."""
    by_hand: tuple[dict[str, Json], ...] = Field(default=(), exclude_if=lambda notes: not notes)
    """What people did to it, the latest last: `action`, `by`, `reason`, `at`."""


class TreeResult(BaseModel):
    """How a whole tree stands or ended."""

    model_config = ConfigDict(frozen=True)
    tree_id: str
    name: str
    status: Status
    outputs: dict[str, Json] = Field(default_factory=dict)
    tasks: dict[TaskId, TaskResult] = Field(default_factory=dict)
    counts: dict[str, int] = Field(default_factory=dict)
    error: str | None = Field(default=None, exclude_if=lambda error: error is None)
    """Why the tree itself failed, when it isn't for a task."""
    outputs_omitted: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    paused: dict[str, Json] | None = Field(default=None, exclude_if=lambda paused: not paused)
    """Who paused the tree, why and when: `by`, `reason`, `at`."""
    rerun_of: str | None = Field(default=None, exclude_if=lambda tree_id: not tree_id)
    """The id of the tree that this one is a rerun of."""
    demo: bool = Field(default=False, exclude_if=lambda shown: not shown)
    """Whether it was only shown, and no executor was called."""
    truncated: bool = Field(default=False, exclude_if=lambda truncated: not truncated)
    """`tasks` lists only some of those that did not complete."""


def task_entry(
    run: TreeRun, task_id: TaskId, roots: dict[TaskId, TaskId] | None = None
) -> dict[str, Any]:
    """Give everything known of a task, as results carry it."""
    record = run.records[task_id]
    end = record.outcome or Outcome(record.status)
    because = run.because(task_id, roots)
    entry: dict[str, Any] = {
        "status": record.status.value,
        "result": end.result,
        "error": end.error,
        "error_type": end.error_type,
        "because": because.as_json() if because else None,
        "attempts": end.attempts,
        "started_at": moment(record.started_at),
        "finished_at": moment(record.finished_at),
        "metadata": dict(end.metadata),
    }
    if record.status in (Status.FAILED, Status.CANCELLED) and run.is_tolerated(task_id):
        entry["tolerated"] = True
    if record.result_omitted:
        entry["result_omitted"] = True
    if record.reused:
        entry["reused"] = True
    if record.by_hand:
        entry["by_hand"] = list(record.by_hand)
    if undone := run.undo.records.get(task_id):
        entry["compensation"] = _compensation_entry(undone)
    return entry


def _compensation_entry(record: Record) -> dict[str, Any]:
    end = record.outcome or Outcome(record.status)
    return {
        "status": record.status.value,
        "error": end.error,
        "error_type": end.error_type,
        "attempts": end.attempts,
        "started_at": moment(record.started_at),
        "finished_at": moment(record.finished_at),
    }


def moment(at: datetime | None) -> str | None:
    """Write a time as results carry it, to the millisecond."""
    return at.isoformat(timespec="milliseconds") if at else None


def bounded_entry(run: TreeRun, task_id: TaskId) -> dict[str, Any]:
    """Give one task's entry without a result that would be too large to answer."""
    entry = task_entry(run, task_id)
    too_large = json_size(entry["result"]) + json_size(entry["metadata"]) > limits.MAX_RESULTS_BYTES
    return _without_result(entry) if too_large else entry


def status_summary(run: TreeRun) -> dict[str, Any]:
    """Answer the `status` query: everything for a small tree, what matters for a large one."""
    statuses = {task_id: record.status.value for task_id, record in run.records.items()}
    paused = run.paused is not None
    summary = {"status": run.status.value, "paused": paused, "counts": counts_of(run)}
    if len(statuses) <= limits.MAX_LISTED_TASKS:
        return {**summary, "tasks": statuses}
    quiet = (Status.PENDING.value, Status.COMPLETED.value)
    shown = [(task_id, status) for task_id, status in statuses.items() if status not in quiet]
    return {**summary, "tasks": dict(shown[: limits.MAX_LISTED_PROBLEM_TASKS]), "truncated": True}


def counts_of(run: TreeRun) -> dict[str, int]:
    """How many tasks have each status."""
    return {status.value: count for status, count in run.counts.items()}


def tree_result(run: TreeRun) -> dict[str, Any]:
    """Give the whole result as JSON within the limits; what is left out is marked."""
    kept, omitted, room = _fitting(run, run.outputs or {}, limits.MAX_RESULTS_BYTES)
    result: dict[str, Any] = {
        "tree_id": run.tree_id,
        "name": run.plan.tree.name,
        "status": run.status.value,
        "outputs": kept,
        "counts": counts_of(run),
    }
    result |= {"error": run.error} if run.error else {}
    result |= {"paused": run.paused} if run.paused else {}
    result |= {"rerun_of": run.rerun_of} if run.rerun_of else {}
    result |= {"demo": True} if run.plan.tree.demo else {}
    result |= {"outputs_omitted": omitted} if omitted else {}
    left = limits.MAX_ENGINE_BYTES - json_size(result)
    tasks, truncated = _bounded_tasks(run, room, left)
    return {**result, "tasks": tasks, **({"truncated": True} if truncated else {})}


def failures_of(result: Mapping[str, Any]) -> list[tuple[TaskId, dict[str, Any]]]:
    """Give what made a tree fail, out of its result; of groups only where nothing else did."""
    tasks = cast("dict[TaskId, dict[str, Any]]", result["tasks"])
    failures = [
        (task_id, entry)
        for task_id, entry in tasks.items()
        if entry["status"] == Status.FAILED and not entry.get("tolerated")
    ]
    own = [each for each in failures if each[1]["error_type"] != ErrorType.GROUP_FAILED]
    return own or failures


def failure_message(result: Mapping[str, Any]) -> str:
    """Say in one line why a tree failed: its first failure, and how many more there are."""
    start = f"tree '{result['name']}' failed"
    failures = failures_of(result)
    if result.get("error"):
        return f"{start}: {result['error']}"
    if not failures:
        return start
    task_id, entry = failures[0]
    cut_off = result.get("truncated") and len(failures) == len(result["tasks"])
    count = f"{'at least ' if cut_off else ''}{len(failures) - 1}"
    more = f" (and {count} more)" if len(failures) > 1 else ""
    return f"{start}: {task_id}: {entry['error']}{more}"


def json_size(value: object) -> int:
    """Give the bytes a value takes as JSON."""
    return len(_as_json(value).encode(errors="surrogatepass"))


def _fitting(
    run: TreeRun, outputs: Mapping[str, Json], room: int
) -> tuple[dict[str, Json], tuple[str, ...], int]:
    """Keep what fits; of the rest the names are kept, as far as those fit."""
    kept: dict[str, Json] = {}
    omitted: list[str] = []
    names_room = limits.MAX_RESULTS_BYTES
    for name, value in outputs.items():
        names_room -= 2 * json_size(name)
        if names_room < 0:
            return kept, (*omitted, AND_MORE), room
        size = json_size(value)
        left_behind = run.is_default_output(name) and run.records[name].result_omitted
        fits = size <= room and not left_behind
        kept[name] = value if fits else None
        if fits:
            room -= size
        else:
            omitted.append(name)
    return kept, tuple(omitted), room


def _bounded_tasks(
    run: TreeRun, results_room: int, left: int
) -> tuple[dict[str, dict[str, Any]], bool]:
    roots: dict[TaskId, TaskId] = {}
    if len(run.records) > limits.MAX_LISTED_TASKS:
        return _incomplete_tasks(run, roots, left), True
    entries = {task_id: task_entry(run, task_id, roots) for task_id in run.records}
    if json_size([_weighty(entry) for entry in entries.values()]) > results_room:
        entries = _with_results_within(entries, results_room)
    if json_size(entries) <= left:
        return entries, False
    return _incomplete_tasks(run, roots, left), True


def _with_results_within(
    entries: Mapping[TaskId, dict[str, Any]], room: int
) -> dict[TaskId, dict[str, Any]]:
    """Leave out results, in the order of the tasks, for which there is no room any more."""
    kept: dict[TaskId, dict[str, Any]] = {}
    for task_id, entry in entries.items():
        size = sum(map(json_size, _weighty(entry)))
        kept[task_id] = entry if size <= room else _without_result(entry)
        room -= size if size <= room else 0
    return kept


def _weighty(entry: Mapping[str, Any]) -> tuple[Any, Any]:
    """Give what of an entry may be large."""
    return entry["result"], entry["metadata"]


def _incomplete_tasks(
    run: TreeRun, roots: dict[TaskId, TaskId], left: int
) -> dict[str, dict[str, Any]]:
    """List what did not complete, as far as there is room: first of all why the tree failed."""
    incomplete = [task_id for task_id in run.records if not run.completed(task_id)]
    entries: dict[str, dict[str, Any]] = {}
    for task_id in sorted(incomplete, key=lambda task_id: _weight(run, task_id)):
        entry = _without_result(task_entry(run, task_id, roots))
        left -= json_size(entry) + len(task_id) + 4
        if left < 0 or len(entries) == limits.MAX_LISTED_PROBLEM_TASKS:
            break
        entries[task_id] = entry
    return {task_id: entries[task_id] for task_id in incomplete if task_id in entries}


def _weight(run: TreeRun, task_id: TaskId) -> int:
    """Order by what matters: own failures, those of groups, which follow from others, the rest."""
    end = run.records[task_id].outcome
    if end is None or end.status is not Status.FAILED or run.is_tolerated(task_id):
        return 2
    return 1 if end.error_type == ErrorType.GROUP_FAILED else 0


def _without_result(entry: dict[str, Any]) -> dict[str, Any]:
    if entry["result"] is None and not entry["metadata"]:
        return entry
    return {**entry, "result": None, "metadata": {}, "result_omitted": True}
