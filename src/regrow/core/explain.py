"""Why a task stands where it stands, in sentences: the rule, the edge, and what it waits for."""

from collections.abc import Iterator, Mapping

from regrow.core.models import Dependency, Json, TaskId
from regrow.core.outcome import Because, Outcome
from regrow.core.references import named_tasks
from regrow.core.run import TreeRun
from regrow.core.waits import Wait
from regrow.core.wire import APPROVAL, GROUP, SLEEP, Status

_MOST_NAMED = 5


def explain(run: TreeRun, task_id: TaskId) -> list[str]:
    """Say why a task is in its status; what only a server knows of a running one isn't here."""
    status = run.records[task_id].status
    said = {
        Status.PENDING: _pending,
        Status.IN_PROGRESS: _in_progress,
        Status.COMPLETED: _completed,
        Status.FAILED: _failed,
        Status.CANCELLED: _cancelled,
        Status.SKIPPED: _skipped,
    }[status](run, task_id)
    return [*said, *_by_hand(run, task_id)]


# --- not begun


def _pending(run: TreeRun, task_id: TaskId) -> Iterator[str]:
    open_edges = [edge for edge in run.tasks[task_id].dependencies if not _ended(run, edge.id)]
    yield from (_waits_for(run, edge) for edge in open_edges)
    direct = [edge.id for edge in run.tasks[task_id].dependencies]
    named = [n for n in named_tasks(run.tasks[task_id]) if n not in direct and not _ended(run, n)]
    if named:
        yield f"it reads {_names(named)}, further up, which must have ended"
    members: list[TaskId] = []
    if run.plan.natives.get(task_id) == GROUP:
        members = [member for member in run.members(task_id) if not _ended(run, member)]
    if members:
        yield f"it is a group, and {_names(members)} in it must have ended"
    if not (open_edges or named or members):
        yield from _ready(run)
    if run.paused is not None:
        yield f"the tree is paused{_by(run.paused)}: nothing starts"


def _waits_for(run: TreeRun, edge: Dependency) -> str:
    how = "required" if edge.required else "optional, but awaited"
    status = run.records[edge.id].status.value.replace("_", " ")
    return f"it waits for '{edge.id}' ({how}), which is {status}"


def _ready(run: TreeRun) -> Iterator[str]:
    most = run.plan.tree.max_in_flight
    if run.in_flight >= most:
        yield f"it could start, but {run.in_flight} are in flight, and max_in_flight is {most}"
    elif not run.has_room:
        yield f"it could start, but {run.local_in_flight} local tasks are in flight, as many as may"
    elif run.paused is None:
        yield "nothing keeps it from starting: the workflow has not come to it yet"


# --- under way


def _in_progress(run: TreeRun, task_id: TaskId) -> Iterator[str]:
    if because := run.to_cancel.get(task_id):
        yield f"it is being cancelled by hand{_reason(because)}"
    if wait := run.waits.get(task_id):
        yield _wait(wait)
    if mapping := run.maps.get(task_id):
        failed = f", {mapping.failed} failed" if mapping.failed else ""
        left = len(mapping.items) - mapping.next_item + len(mapping.again)
        count = f"{mapping.completed} of {len(mapping.items)} items completed{failed}"
        yield f"{count}, {mapping.running} run, {left} have not begun"


def _wait(wait: Wait) -> str:
    until = f" until {wait.until.isoformat(timespec='seconds')}" if wait.until else ""
    if wait.kind == SLEEP:
        return f"it sleeps{until}"
    if wait.kind == APPROVAL:
        asks = f': "{wait.prompt}"' if wait.prompt else ""
        return f"it waits{until} for a person's answer{asks}"
    return f"it waits{until} for the event '{wait.event}'"


# --- ended


def _completed(run: TreeRun, task_id: TaskId) -> Iterator[str]:
    record = run.records[task_id]
    if record.by_hand and record.by_hand[-1]["action"] == "skip":
        yield "a person gave it its result"
    elif record.reused:
        yield f"it was kept from '{run.rerun_of}'; nothing was executed for it"
    elif (attempts := _end(run, task_id).attempts) and attempts > 1:
        yield f"it completed at the attempt {attempts}"
    else:
        yield "it completed"


def _failed(run: TreeRun, task_id: TaskId) -> Iterator[str]:
    end = _end(run, task_id)
    tries = f" after {end.attempts} attempts" if end.attempts and end.attempts > 1 else ""
    yield f"it failed{tries}: {end.error} ({end.error_type})"
    if run.is_tolerated(task_id):
        allowed = run.tasks[task_id].allow_failure
        yield "that is tolerated: " + (
            "allow_failure" if allowed else "every edge to it is optional"
        )
    elif run.is_held:
        yield "the tree waits for somebody to retry or skip it"


def _cancelled(run: TreeRun, task_id: TaskId) -> Iterator[str]:
    because = run.because(task_id)
    if because is None:
        yield "it was cancelled from outside"
    elif because.reason == "by_hand":
        yield f"it was cancelled by hand{_reason(because)}"
    elif because.reason == "cancel":
        yield f"the tree was cancelled{_reason(because)}"
    elif because.task_id is None:
        yield f"the tree gave up{_reason(because)}"
    else:
        yield f"'{because.task_id}' failed{_reason(because)}, and on_failure is cancel"


def _skipped(run: TreeRun, task_id: TaskId) -> Iterator[str]:
    because = run.because(task_id)
    if because is None or because.reason == "by_hand":
        yield "it was skipped by hand"
    elif because.reason == "condition":
        yield f"its condition was false: {run.tasks[task_id].when}"
    else:
        yield from _chain(run, task_id)


def _chain(run: TreeRun, task_id: TaskId) -> Iterator[str]:
    """Follow the edges up to where the trouble began."""
    seen = 0
    while (because := run.because(task_id)) and because.reason == "dependency":
        cause = because.task_id or task_id
        status = run.records[cause].status.value
        yield f"'{task_id}' requires '{cause}', which is {status}"
        task_id, seen = cause, seen + 1
        if seen == _MOST_NAMED and because.root != cause:
            yield f"… and so on up to '{because.root}'"
            task_id = because.root or cause
            break
    for line in explain(run, task_id)[:1]:
        yield f"'{task_id}': {line}"


# --- words


def _by_hand(run: TreeRun, task_id: TaskId) -> Iterator[str]:
    for note in run.records[task_id].by_hand:
        yield f"{note['at']}: {note['action']}{_by(note)}"


def _by(said: Mapping[str, Json]) -> str:
    by = f" by {said['by']}" if said.get("by") else ""
    return f"{by} ({said['reason']})" if said.get("reason") else by


def _reason(because: Because) -> str:
    return f": {because.error}" if because.error else ""


def _names(task_ids: list[TaskId]) -> str:
    shown = ", ".join(f"'{task_id}'" for task_id in task_ids[:_MOST_NAMED])
    more = len(task_ids) - _MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def _end(run: TreeRun, task_id: TaskId) -> Outcome:
    record = run.records[task_id]
    return record.outcome or Outcome(record.status)


def _ended(run: TreeRun, task_id: TaskId) -> bool:
    return run.records[task_id].status.is_settled
