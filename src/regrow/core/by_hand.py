"""What people may do to the tasks of a running tree: cancel, retry or skip them.

Each `check_…` tells whether there is anything to do, or refuses with a reason; each of the others
does it. What people did is kept with the task.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from regrow.core.models import Json, TaskId
from regrow.core.outcome import Because, Outcome
from regrow.core.problems import suggestion
from regrow.core.result import moment
from regrow.core.run import TreeRun
from regrow.core.snapshot import read_by
from regrow.core.wire import ErrorType, Status

BY_HAND: Final = "by_hand"
_MOST_NOTES: Final = 10


class RequestRefused(ValueError):  # noqa: N818 - it is an answer, not an accident
    """The request cannot be done; the message says why and what to do."""


def note(run: TreeRun, task_id: TaskId, action: str, said: dict[str, Json], at: datetime) -> None:
    """Keep what somebody did to a task, and what they said about it."""
    notes = run.records[task_id].by_hand
    notes.append({"action": action, **said, "at": moment(at)})
    del notes[:-_MOST_NOTES]


def check_task(run: TreeRun, task_id: TaskId) -> None:
    """Refuse what the tree doesn't have, and anything once it is ending."""
    if task_id not in run.tasks:
        raise RequestRefused(f"the tree has no task '{task_id}'{suggestion(task_id, run.tasks)}")
    check_open(run)


def check_open(run: TreeRun) -> None:
    """Refuse anything once the tree is ending: it was cancelled, gave up, or is being undone."""
    if run.closed is not None:
        why = "was cancelled" if run.closed.reason == "cancel" else "gave up at a failure"
        raise RequestRefused(f"the tree {why} and is ending; a rerun can go on from here")
    if run.outputs is not None:
        raise RequestRefused("the tree has ended and is being undone; a rerun can go on from here")


# --- cancel


def check_cancel(run: TreeRun, task_id: TaskId) -> bool:
    """Tell whether there is anything to cancel."""
    check_task(run, task_id)
    record = run.records[task_id]
    if task_id in run.to_cancel or _cancelled_by_hand(record.outcome):
        return False
    if record.status.is_settled:
        raise RequestRefused(f"'{task_id}' has ended already: it is {record.status.value}")
    return True


def cancel(run: TreeRun, task_id: TaskId, said: dict[str, Json], at: datetime) -> None:
    """Cancel a task; a group passes it down to whatever in it has not ended."""
    reason = said.get("reason")
    because = Because(BY_HAND, error=None if reason is None else str(reason))
    inside = run.members(task_id) if task_id in run.plan.groups else iter(())
    for each in (*inside, task_id):
        if not run.records[each].status.is_settled and each not in run.to_cancel:
            note(run, each, "cancel", said, at)
            run.cancel_task(each, because, at)


# --- retry


def check_retry(run: TreeRun, task_id: TaskId | None) -> bool:
    """Tell whether there is anything to retry; without an id, everything that failed."""
    if task_id is None:
        check_open(run)
        again = failed_tasks(run)
        if not again:
            raise RequestRefused("no task has failed")
        for each in again:
            _refuse_without_results(run, each)
        return True
    check_task(run, task_id)
    record = run.records[task_id]
    if not record.status.is_settled:
        return False
    if record.status is Status.COMPLETED:
        raise RequestRefused(f"'{task_id}' is completed; a rerun can run it again")
    if record.status is Status.SKIPPED and not _skipped_by_hand(run, task_id):
        raise RequestRefused(f"'{task_id}' did not fail: {_why_skipped(run, task_id)}")
    if lost := next(
        filter(lambda each: _may_still_run(run, each), _own_failures(run, task_id)), None
    ):
        raise RequestRefused(
            f"'{lost}' has no heartbeat, so that it may run on although it was cancelled; rerun the"
            " tree once it has ended"
        )
    for each in _own_failures(run, task_id):
        _refuse_without_results(run, each)
    if _items_are_gone(run, task_id):
        raise RequestRefused(f"the results of '{task_id}' are in an earlier run; rerun it instead")
    return True


def _may_still_run(run: TreeRun, task_id: TaskId) -> bool:
    """Tell whether the end of a cancelled activity was not awaited, since nothing would tell of it.

    A server refuses a second activity with its id as long as the first one is open.
    """
    record = run.records[task_id]
    begun = record.status is Status.CANCELLED and record.started_at is not None
    policy = run.plan.activities.get(task_id)
    return begun and policy is not None and policy.heartbeat_timeout is None


def _refuse_without_results(run: TreeRun, task_id: TaskId) -> None:
    """Refuse what needs results that are left behind, as nothing seemed to need them.

    Runs of older engines go on without.
    """
    gone = (name for name in read_by(run, task_id) if run.records[name].result_omitted)
    if run.partitions.is_wanted and (name := next(gone, None)):
        raise RequestRefused(
            f"the result of '{name}', which '{task_id}' needs, is only in history; once the tree"
            " has ended, rerun it"
        )


def _items_are_gone(run: TreeRun, task_id: TaskId) -> bool:
    """Tell whether a continuation left behind what the items of a map had given."""
    known = task_id in run.maps or task_id in run.restored_maps
    end = run.records[task_id].outcome
    return (
        not known
        and end is not None
        and run.tasks[task_id].for_each is not None
        and bool(end.metadata.get("completed"))
    )


def _why_skipped(run: TreeRun, task_id: TaskId) -> str:
    because = run.because(task_id)
    if because is None or because.root is None:
        return "its `when` was false"
    return f"it was skipped because of '{because.root}'; retry that"


def retry(
    run: TreeRun, task_id: TaskId | None, said: dict[str, Json], at: datetime
) -> list[TaskId]:
    """Let failed tasks run again, and give which; the groups around them are open again too."""
    again = failed_tasks(run) if task_id is None else list(_own_failures(run, task_id))
    reopened = dict.fromkeys(again)
    for each in again:
        note(run, each, "retry", said, at)
        reopened |= dict.fromkeys(_failed_groups(run, each))
    run.reopen(reopened, at)
    return again


def failed_tasks(run: TreeRun) -> list[TaskId]:
    """Give the tasks that failed, but not the groups that only contain them."""
    return [
        task_id
        for task_id, record in run.records.items()
        if record.status is Status.FAILED and not _is_failed_group(run, task_id)
    ]


def _own_failures(run: TreeRun, task_id: TaskId) -> Iterator[TaskId]:
    """Give the task, or what failed inside the group that it is."""
    if task_id not in run.plan.groups:
        yield task_id
        return
    for member in run.members(task_id):
        ended_badly = run.records[member].status in (Status.FAILED, Status.CANCELLED)
        if ended_badly and member not in run.plan.groups:
            yield member


def _failed_groups(run: TreeRun, task_id: TaskId) -> Iterator[TaskId]:
    group = run.grouped.get(task_id)
    while group is not None:
        record = run.records[group]
        if _is_failed_group(run, group) or _cancelled_by_hand(record.outcome):
            yield group
        group = run.grouped.get(group)


def _is_failed_group(run: TreeRun, task_id: TaskId) -> bool:
    end = run.records[task_id].outcome
    return (
        task_id in run.plan.groups and end is not None and end.error_type == ErrorType.GROUP_FAILED
    )


# --- skip


def check_skip(run: TreeRun, task_id: TaskId, *, with_result: bool) -> bool:
    """Tell whether there is anything to skip: what has failed, was skipped, or has not begun."""
    check_task(run, task_id)
    record = run.records[task_id]
    if task_id in run.plan.groups:
        raise RequestRefused(f"'{task_id}' is a group; skip the tasks in it")
    if record.status is Status.IN_PROGRESS and task_id not in run.waits:
        raise RequestRefused(f"'{task_id}' is running; cancel it first")
    if holder := run.partitions.holders.get(task_id):
        where = f"is in the hands of the child workflow '{run.tree_id}/{holder}'"
        raise RequestRefused(f"'{task_id}' {where}, which may have begun it; cancel it first")
    if record.status is Status.COMPLETED and not _skipped_by_hand(run, task_id):
        raise RequestRefused(f"'{task_id}' is completed")
    wanted = Status.COMPLETED if with_result else Status.SKIPPED
    return not (_skipped_by_hand(run, task_id) and record.status is wanted)


def skip(
    run: TreeRun, task_id: TaskId, outcome: Outcome, said: dict[str, Json], at: datetime
) -> None:
    """Let a task end as a person says."""
    note(run, task_id, "skip", said, at)
    run.amend(task_id, outcome, at)


def _skipped_by_hand(run: TreeRun, task_id: TaskId) -> bool:
    notes = run.records[task_id].by_hand
    return bool(notes) and notes[-1]["action"] == "skip"


def _cancelled_by_hand(end: Outcome | None) -> bool:
    because = end and end.because
    return (
        end is not None
        and end.status is Status.CANCELLED
        and bool(because and because.reason == BY_HAND)
    )
