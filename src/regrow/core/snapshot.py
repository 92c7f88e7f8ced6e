"""What a run hands to its continuation: how every task ended, and the results still needed.

Results that nothing pending will read stay behind in the finished run's history and are marked.
"""

from builtins import isinstance
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from regrow.core import limits
from regrow.core.inputs import Inputs
from regrow.core.models import TaskId
from regrow.core.outcome import Because, Outcome
from regrow.core.record import Kind, Record, Start
from regrow.core.references import compile_items, compile_template, condition
from regrow.core.result import json_size
from regrow.core.run import TreeRun
from regrow.core.waits import Wait, read_wait
from regrow.core.wire import AGGREGATE_RESULTS, GROUP, RERUN_KEY, TREE, Status

_LETTERS: Final = {
    Status.COMPLETED: "c",
    Status.FAILED: "f",
    Status.CANCELLED: "x",
    Status.SKIPPED: "s",
}
_STATUSES: Final = {letter: status for status, letter in _LETTERS.items()}
_COMPLETED: Final = _LETTERS[Status.COMPLETED]
_DONE: Final = Outcome(Status.COMPLETED, attempts=None)
"""How often its executor ran, and when, is in history."""
_MOST_PROMPT: Final = 1_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def take_snapshot(run: TreeRun, *, spare: bool = False) -> dict[str, Any]:
    """Write down a run in which no activity is in flight, in few bytes per task.

    With `spare`, results that nothing pending needs are taken along too while there is room.
    """
    needed = dict.fromkeys(_needed_results(run), True)
    for_retries = dict.fromkeys(_needed_by_hand(run), True)
    room = limits.MAX_RESULTS_BYTES

    def is_kept(task_id: TaskId, kept: list[Any]) -> bool:
        nonlocal room
        if task_id in needed:
            return True
        if spare or task_id in for_retries or run.is_default_output(task_id):
            room -= json_size(kept)
            return room >= 0
        return False

    optional = {
        "maps": _maps(run),
        "events": run.events,
        "undo": run.undo.completed,
        "ended_maps": _ended_maps(run),
        "reused": [task_id for task_id, record in run.records.items() if record.reused],
        "before": {
            task_id: record.attempts_before
            for task_id, record in run.records.items()
            if record.attempts_before
        },
        "by_hand": {
            task_id: record.by_hand for task_id, record in run.records.items() if record.by_hand
        },
        "to_cancel": {task_id: because.as_json() for task_id, because in run.to_cancel.items()},
        "paused": run.paused,
        "closed": run.closed and run.closed.as_json(),
        "undoing": _undoing(run) if run.undo.is_begun else None,
        "partitions": run.partitions.begun,
    }
    said = write_ends(run.records, is_kept)
    return {
        **said,
        **(_left_behind(run, said) if run.partitions.is_on else {}),
        "sleeping": {task_id: _wait(run, task_id) for task_id in run.waits},
        **{key: value for key, value in optional.items() if value},
    }


def _left_behind(run: TreeRun, said: dict[str, Any]) -> dict[str, Any]:
    """Of a large tree's tasks that need no more than a mark, write down where they stand."""
    ended, results = said["ended"], said["results"]
    behind: list[list[int]] = []
    for at, task_id in enumerate(run.records):
        if task_id in ended and ended[task_id][0] == _COMPLETED and task_id not in results:
            del ended[task_id]
            if behind and sum(behind[-1]) == at:
                behind[-1][1] += 1
            else:
                behind.append([at, 1])
    return {"behind": behind}


def write_ends(
    records: Mapping[TaskId, Record], is_kept: Callable[[TaskId, list[Any]], bool]
) -> dict[str, Any]:
    """Write down the tasks that have ended, and those results and metadata that are kept."""
    ended: dict[TaskId, list[Any]] = {}
    results: dict[TaskId, list[Any]] = {}
    notes: dict[TaskId, dict[str, Any]] = {}
    for task_id, record in records.items():
        end = record.outcome
        if end is None:
            continue
        times = (_millis(record.started_at), _millis(record.finished_at))
        ended[task_id] = [_LETTERS[end.status], end.attempts, *times]
        if end.status is Status.COMPLETED and not record.result_omitted:
            kept = [end.result, dict(end.metadata)]
            if is_kept(task_id, kept):
                results[task_id] = kept
        if note := _note(end):
            notes[task_id] = note
    return {"ended": ended, "results": results, "notes": notes}


def read_ends(said: Mapping[str, Any]) -> Iterator[tuple[TaskId, Record]]:
    """Read what `write_ends` wrote."""
    for task_id, (letter, attempts, started, finished) in said["ended"].items():
        status = _STATUSES[letter]
        result, metadata = said["results"].get(task_id, (None, {}))
        note = said["notes"].get(task_id, {})
        outcome = Outcome(
            status,
            result,
            note.get("error"),
            note.get("error_type"),
            note.get("metadata", metadata),
            _because(note.get("because")),
            attempts,
        )
        omitted = status is Status.COMPLETED and task_id not in said["results"]
        yield task_id, Record(status, outcome, _moment(started), _moment(finished), omitted)


def _maps(run: TreeRun) -> dict[TaskId, list[Any]]:
    known = {**run.restored_maps, **{each: of.as_json() for each, of in run.maps.items()}}
    return {
        task_id: [_millis(run.records[task_id].started_at), *shape]
        for task_id, shape in known.items()
        if run.records[task_id].status is Status.IN_PROGRESS
    }


def _ended_maps(run: TreeRun) -> dict[TaskId, list[Any]]:
    """Write down maps that run again or that somebody may retry, as far as there is room."""
    room = limits.MAX_RESULTS_BYTES
    kept: dict[TaskId, list[Any]] = {}
    known = {**run.restored_maps, **{each: of.as_json() for each, of in run.maps.items()}}
    for task_id, shape in known.items():
        is_open = run.records[task_id].status not in (Status.COMPLETED, Status.IN_PROGRESS)
        if is_open and run.closed is None and (size := json_size(shape)) <= room:
            kept[task_id] = shape
            room -= size
    return kept


def _wait(run: TreeRun, task_id: TaskId) -> list[Any]:
    """Write down a wait, so that its inputs need not be read again."""
    wait = run.waits[task_id]
    prompt = wait.prompt and wait.prompt[:_MOST_PROMPT]
    about = [wait.timeout, wait.event, prompt, wait.on_timeout]
    return [_millis(run.records[task_id].started_at), _millis(wait.until), *about]


def _undoing(run: TreeRun) -> dict[str, Any]:
    """Write down how far the tree has been undone; what compensations gave stays behind."""
    ended = {
        task_id: [
            _LETTERS[record.status],
            record.outcome and record.outcome.attempts,
            _millis(record.started_at),
            _millis(record.finished_at),
            record.outcome and record.outcome.error,
            record.outcome and record.outcome.error_type,
        ]
        for task_id, record in run.undo.records.items()
    }
    return {"left": run.undo.left, "ended": ended}


def restore_snapshot(run: TreeRun, snapshot: dict[str, Any]) -> None:
    """Bring a fresh run to where the finished one was."""
    run.restore_close(_because(snapshot.get("closed")))
    for task_id, record in read_ends(snapshot):
        run.restore(task_id, record)
    for task_id in _behind(run, snapshot.get("behind", ())):
        run.restore(task_id, Record(Status.COMPLETED, _DONE, result_omitted=True))
    run.begin_anew(_EPOCH)
    run.partitions.begun = snapshot.get("partitions", 0)
    run.restored_maps |= snapshot.get("ended_maps", {})
    for task_id in snapshot.get("reused", ()):
        run.records[task_id].reused = True
    for task_id, attempts in snapshot.get("before", {}).items():
        run.records[task_id].attempts_before = attempts
    for task_id, notes in snapshot.get("by_hand", {}).items():
        run.records[task_id].by_hand = notes
    for task_id, said in snapshot.get("to_cancel", {}).items():
        run.to_cancel[task_id] = Because(**said)
    run.paused = snapshot.get("paused")
    run.events |= snapshot.get("events", {})
    run.undo.completed += snapshot.get("undo", [])
    if undoing := snapshot.get("undoing"):
        ended = {task_id: _undone(*shape) for task_id, shape in undoing["ended"].items()}
        run.undo.restore(undoing["left"], ended)
    for task_id, (started, until, *about) in snapshot["sleeping"].items():
        began = cast("datetime", _moment(started))
        wait = _read_wait(run, task_id, began, about)
        start = Start(task_id, task_id, Kind.WAIT, wait=replace(wait, until=_moment(until)))
        run.waiting(start, began)
    for task_id, (started, *shape) in snapshot.get("maps", {}).items():
        run.restore_map(task_id, cast("datetime", _moment(started)), shape)


def _behind(run: TreeRun, ranges: Iterable[list[int]]) -> Iterator[TaskId]:
    task_ids = list(run.records)
    for at, count in ranges:
        yield from task_ids[at : at + count]


def rerun_of(engine: Mapping[str, Any]) -> str | None:
    """Give the id of the tree that this one is a rerun of, out of the engine's part."""
    about = engine.get(RERUN_KEY)
    return cast("dict[str, Any]", about).get("of") if isinstance(about, dict) else None


def _read_wait(run: TreeRun, task_id: TaskId, began: datetime, about: list[Any]) -> Wait:
    kind = run.plan.natives[task_id]
    if about:
        timeout, event, prompt, on_timeout = about
        return Wait(kind, timeout=timeout, event=event, prompt=prompt, on_timeout=on_timeout)
    inputs = compile_template(run.tasks[task_id].inputs).render(run)  # an old engine's snapshot
    return read_wait(kind, inputs, began)


def _undone(  # noqa: PLR0913, PLR0917 - as it is written down
    letter: str,
    attempts: int | None,
    started: int | None,
    finished: int | None,
    error: str | None,
    error_type: str | None,
) -> Record:
    status = _STATUSES[letter]
    outcome = Outcome(status, None, error, error_type, attempts=attempts)
    return Record(status, outcome, _moment(started), _moment(finished), result_omitted=True)


def _because(said: dict[str, Any] | None) -> Because | None:
    return Because(**said) if said else None


def _needed_results(run: TreeRun) -> Iterator[TaskId]:
    """Tasks whose results something pending, a compensation or the tree's outputs will read."""
    for task_id, record in run.records.items():
        if not record.status.is_settled:
            yield from read_by(run, task_id)
    yield from read_at_the_end(run)


def _needed_by_hand(run: TreeRun) -> Iterator[TaskId]:
    """Give the tasks whose results are needed should somebody retry what did not complete."""
    for task_id, record in run.records.items():
        if record.status.is_settled and record.status is not Status.COMPLETED:
            yield from read_by(run, task_id)


def read_at_the_end(run: TreeRun) -> Iterator[TaskId]:
    """Give the tasks whose results compensations or the tree's outputs read."""
    undoings = [task.compensate.inputs for task in run.tasks.values() if task.compensate]
    declared = (run.plan.tree.outputs or {}).values()
    for value in (*undoings, *declared):
        for expression in compile_template(value).expressions:
            yield from expression.read_results


def read_by(run: TreeRun, task_id: TaskId) -> Iterator[TaskId]:
    """Give the tasks whose results a task reads or is passed."""
    task = run.tasks[task_id]
    kind = run.plan.natives.get(task_id)
    if kind == GROUP:
        yield from run.members(task_id)
    if kind == AGGREGATE_RESULTS:
        yield from (edge.id for edge in task.dependencies)
    elif kind in (None, TREE):
        inputs = Inputs.of(task)
        yield from (edge.id for edge in inputs.passed)
    for expression in compile_template(task.inputs).expressions:
        yield from expression.read_results
    if task.for_each is not None:
        for expression in compile_items(task.for_each).expressions:
            yield from expression.read_results
    if task.when is not None:
        yield from condition(task.when).read_results


def _note(end: Outcome) -> dict[str, Any]:
    """What an end that isn't plain success has to say."""
    note: dict[str, Any] = {}
    if end.error is not None:
        note |= {"error": end.error, "error_type": end.error_type, "metadata": dict(end.metadata)}
    if end.because is not None:
        note["because"] = end.because.as_json()
    return note


def _millis(at: datetime | None) -> int | None:
    return None if at is None else (at - _EPOCH) // timedelta(milliseconds=1)


def _moment(millis: int | None) -> datetime | None:
    return None if millis is None else _EPOCH + timedelta(milliseconds=millis)
