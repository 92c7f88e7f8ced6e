"""What a tree and its partitions tell each other: the tasks to run, and how they ended."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

from regrow.core import limits
from regrow.core.by_hand import BY_HAND
from regrow.core.models import Task, TaskId
from regrow.core.outcome import Because, Outcome, failed
from regrow.core.packing import unpacked
from regrow.core.problems import InvalidTree, Problem
from regrow.core.record import Record, Start
from regrow.core.references import named_tasks
from regrow.core.resolve import Description
from regrow.core.result import json_size
from regrow.core.run import TreeRun
from regrow.core.snapshot import read_at_the_end, read_by, read_ends, write_ends
from regrow.core.subtree import known_of
from regrow.core.wire import (
    AGGREGATE_RESULTS,
    ENGINE_KEY,
    PARTITION_KEY,
    ErrorType,
    Status,
)


def partition_document(run: TreeRun, start: Start, description: Description) -> dict[str, Any]:
    """Give the argument of a partition's workflow: its tasks, and how those before them ended."""
    tasks = [_alone(run.tasks[task_id]) for task_id in start.tasks]
    inside = dict.fromkeys(start.tasks)
    before = dict.fromkeys(name for task in tasks for name in _looks_at(task) if name not in inside)
    ended = [Task(id=task_id, executor=AGGREGATE_RESULTS) for task_id in before]
    tree = run.plan.tree.model_copy(
        update={
            "description": "",
            "max_in_flight": start.share,
            "on_failure": "continue",
            "outputs": {},
            "tasks": (*ended, *tasks),
        }
    )
    known = known_of((task.executor_id for task in tasks if not task.task_queue), description)
    known = known.model_copy(update={"search_attributes": ()})
    engine = {
        "description": known.model_dump(mode="json"),
        "snapshot": _snapshot(run, before, inside),
        PARTITION_KEY: _about(run, inside, before),
    }
    return {**tree.as_document(), ENGINE_KEY: engine}


def partition_bytes(run: TreeRun, start: Start) -> int:
    """Tell how much a partition would be given, or that it is more than `PARTITION_BYTES`."""
    inside, total = dict.fromkeys(start.tasks), 0
    outside = dict.fromkeys(
        name for task_id in inside for name in read_by(run, task_id) if name not in inside
    )
    inputs = (run.tasks[task_id].inputs for task_id in inside)
    results = (cast("Outcome", run.records[name].outcome).result for name in outside)
    for value in (*inputs, *results):
        total += json_size(value)
        if total > limits.PARTITION_BYTES:
            break
    return total


def _alone(task: Task) -> Task:
    """Give a task without what the tree does for it."""
    if task.parent_id is None and task.compensate is None:
        return task
    return task.model_copy(update={"parent_id": None, "compensate": None})


def _looks_at(task: Task) -> Iterator[TaskId]:
    yield from (edge.id for edge in task.dependencies)
    yield from named_tasks(task)


def _snapshot(
    run: TreeRun, before: Mapping[TaskId, object], inside: Mapping[TaskId, object]
) -> dict[str, Any]:
    needed = {name: True for task_id in inside for name in read_by(run, task_id)}
    records = {task_id: _on_its_own(run, task_id) for task_id in before}
    return {**write_ends(records, lambda task_id, _: task_id in needed), "sleeping": {}}


def _on_its_own(run: TreeRun, task_id: TaskId) -> Record:
    """Give how a task ended, as it stands without what led to it: a skip says why it is one."""
    record = run.records[task_id]
    end = cast("Outcome", record.outcome)
    return replace(record, outcome=replace(end, because=run.because(task_id)))


def _about(
    run: TreeRun, inside: Mapping[TaskId, object], before: Mapping[TaskId, object]
) -> dict[str, Any]:
    if run.partitions.read_later is None:
        run.partitions.read_later = dict.fromkeys(read_at_the_end(run))
    read_later = run.partitions.read_later
    kept = [each for each in inside if each in read_later or run.is_default_output(each)]
    about = {
        "of": run.tree_id,
        "before": list(before),
        "exports": [task_id for task_id in inside if run.leads_out(task_id, inside)],
        "kept": kept,
    }
    gives_up = run.plan.tree.on_failure == "cancel"
    return {**about, "at_once": True} if gives_up else about


def obey(run: TreeRun, asked: Mapping[str, Any], at: datetime) -> None:
    """Do in a partition what the tree asks of it: cancel tasks, pause, go on."""
    if "paused" in asked:
        run.paused = asked["paused"]
    for task_id in asked.get("cancel", ()):
        record = run.records.get(task_id)
        if record is not None and not record.status.is_settled and task_id not in run.to_cancel:
            run.cancel_task(task_id, Because(BY_HAND), at)


def read_report(message: object) -> tuple[str, dict[TaskId, Record]]:
    """Read what a partition says: which one it is, and how its tasks ended.

    Raises `InvalidTree` for what no partition would say.
    """
    try:
        said = cast("dict[str, Any]", unpacked(message))
        return str(said.get("unit")), dict(read_ends(said))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        text = f"this is the engine's own, and cannot be read: {error!r}"
        raise InvalidTree([Problem("reserved", (), text)]) from error


class Reporter:
    """What a partition has to tell the tree, and when: soon what others wait for."""

    def __init__(self, about: Mapping[str, Any]) -> None:
        self._before = dict.fromkeys(about["before"])
        self._exports = dict.fromkeys(about["exports"])
        self._kept = self._exports | dict.fromkeys(about["kept"])
        self._failures_at_once = about.get("at_once", False)
        self._told = dict.fromkeys(about.get("told", ()))
        self._changed: list[TaskId] = []
        self._untold: dict[TaskId, int] = {}
        """What has ended, and the bytes of what is to be said about it."""
        self.due_at: datetime | None = None
        """When to report, if there is something to report."""

    @property
    def told(self) -> list[TaskId]:
        """The tasks whose end has been reported."""
        return list(self._told)

    def changed(self, task_id: TaskId) -> None:
        """Note that a task has a new status."""
        if task_id not in self._before:
            self._changed.append(task_id)

    def look(self, run: TreeRun, now: datetime) -> None:
        """See what has ended, and when that is to be reported."""
        ended = {
            task_id: end
            for task_id in self._changed
            if (end := run.records[task_id].outcome) is not None and task_id not in self._told
        }
        self._changed.clear()
        for task_id, end in ended.items():
            if end.status is not Status.COMPLETED:
                self._keep_what_it_needs(run, task_id)
        for task_id, end in ended.items():
            self._add(task_id, end, now)

    def _keep_what_it_needs(self, run: TreeRun, task_id: TaskId) -> None:
        """Should a task be tried again, the tree needs results that it has not been told so far."""
        for name in read_by(run, task_id):
            if name not in self._before and name not in self._kept:
                self._kept[name] = None
                end = run.records[name].outcome
                if end is not None and (name in self._told or name in self._untold):
                    self._untold[name] = self._size(name, end)

    def _add(self, task_id: TaskId, end: Outcome, now: datetime) -> None:
        self._untold[task_id] = self._size(task_id, end)
        due_at = now + self._patience(task_id, end)
        self.due_at = min(self.due_at or due_at, due_at)

    def _size(self, task_id: TaskId, end: Outcome) -> int:
        is_said = task_id in self._kept or end.status is not Status.COMPLETED
        return json_size([end.result, end.error, dict(end.metadata)]) if is_said else 0

    def _patience(self, task_id: TaskId, end: Outcome) -> timedelta:
        """Somebody may wait for a result; and for a failure, to do something about it."""
        is_failure = end.status in (Status.FAILED, Status.CANCELLED)
        ends_tree = end.status is Status.FAILED and self._failures_at_once
        if ends_tree or sum(self._untold.values()) >= limits.REPORT_BYTES:
            return timedelta(0)
        return (
            limits.REPORT_EXPORTS if is_failure or task_id in self._exports else limits.REPORT_ALL
        )

    def report(self, run: TreeRun, now: datetime) -> dict[str, Any]:
        """Give what has not been told, as much as one message can hold; it counts as told."""
        taken = self._next_message()
        self._told |= dict.fromkeys(taken)
        self.due_at = now if self._untold else None
        records = {each: _bounded(run.records[each], each, size) for each, size in taken.items()}
        return write_ends(records, lambda task_id, _: task_id in self._kept)

    def last_words(self, run: TreeRun, now: datetime) -> list[dict[str, Any]]:
        """Give all that has not been told, in as many messages as it takes, at least one."""
        messages = [self.report(run, now)]
        while self._untold:
            messages.append(self.report(run, now))
        return messages

    def _next_message(self) -> dict[TaskId, int]:
        taken: dict[TaskId, int] = {}
        for task_id, size in self._untold.items():
            if taken and sum(taken.values()) + size > limits.REPORT_BYTES:
                break
            taken[task_id] = size
        for task_id in taken:
            del self._untold[task_id]
        return taken


def _bounded(record: Record, task_id: TaskId, size: int) -> Record:
    """What the server takes by itself may be too large for it beside something else."""
    end = record.outcome
    if end is None or size <= limits.MAX_HANDED_ON:
        return record
    if end.status is not Status.COMPLETED:
        return replace(record, outcome=replace(end, metadata={}))
    error = f"the result of '{task_id}' is too large to be handed on; let it return a reference"
    lost = failed(error, ErrorType.PAYLOAD_TOO_LARGE, attempts=end.attempts)
    return replace(record, status=Status.FAILED, outcome=lost)
