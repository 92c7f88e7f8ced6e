"""Why a task stands where it stands: what its history says, and what only the server knows."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from regrow.client.attempts import Attempt, attempts, has_pollers
from regrow.client.errors import TreeError
from regrow.core.explain import explain as explain_run
from regrow.core.models import TaskId
from regrow.core.problems import suggestion
from regrow.core.run import TreeRun
from regrow.core.wire import Status, split_unit

if TYPE_CHECKING:
    from regrow.client.tree_handle import TreeHandle

_MOST_ITEMS = 5


class UnknownTask(TreeError):  # noqa: N818 - named as the other errors of the contract
    """The tree has no such task."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a task is in its status, in sentences."""

    task_id: TaskId
    status: Status
    lines: tuple[str, ...]


async def explain(tree: "TreeHandle", task_id: TaskId) -> Explanation:
    """Say why a task waits, was skipped, failed, or is being retried."""
    fold = tree.new_fold()
    await tree.status(fold)
    run = fold.run
    if run is None:
        ended = fold.ended is not None
        line = "the tree ended before it began" if ended else await _untaken(tree)
        return Explanation(task_id, Status.PENDING, (line,))
    if task_id not in run.tasks:
        message = f"the tree has no task '{task_id}'{suggestion(task_id, run.tasks)}"
        raise UnknownTask(message)
    lines = explain_run(run, task_id)
    if run.records[task_id].status is Status.IN_PROGRESS and fold.ended is None:
        lines += [line async for line in _running(tree, run, task_id)]
    elif fold.ended is not None and not run.records[task_id].status.is_settled:
        lines = [f"the tree was ended from outside: it is {fold.ended.value}"]
    return Explanation(task_id, run.records[task_id].status, tuple(lines))


async def _untaken(tree: "TreeHandle") -> str:
    about = await tree.workflow_handle.describe()
    polled = await has_pollers(tree.client, about.task_queue)
    who = "a worker polls" if polled else "no worker polls"
    return f"no worker has taken the tree yet; {who} its task queue '{about.task_queue}'"


async def _running(tree: "TreeHandle", run: TreeRun, task_id: TaskId) -> AsyncIterator[str]:
    """Say what the server knows of a task under way."""
    known = await attempts(tree.client, tree.workflow_handle)
    own = [each for unit, each in known.items() if split_unit(unit)[0] == task_id]
    for each in own[:_MOST_ITEMS]:
        for line in _attempt_lines(each):
            yield line if each.unit == task_id else f"{each.unit}: {line}"
    if run.plan.is_subtree(task_id):
        units = run.units_of(task_id)
        for unit in units[:_MOST_ITEMS]:
            yield f"it runs as the tree '{tree.id}/{unit}'; explain what is in that"
    if own and not any(each.is_running for each in own):
        queue = run.tasks[task_id].task_queue or (await tree.workflow_handle.describe()).task_queue
        if not await has_pollers(tree.client, queue):
            yield f"no worker polls its task queue '{queue}'"


def _attempt_lines(attempt: Attempt) -> Iterator[str]:
    most = f" of {attempt.maximum_attempts}" if attempt.maximum_attempts else ""
    which = f"attempt {attempt.attempt}{most}"
    if attempt.is_running:
        yield f"{which} runs since {_clock(attempt.started_at)} on {attempt.worker}"
    elif attempt.next_attempt_at:
        yield f"{which} begins at {_clock(attempt.next_attempt_at)}"
    else:
        yield f"{which} waits for a worker"
    if attempt.error:
        yield f"the attempt before failed: {attempt.error}"
    if attempt.heartbeat_at:
        said = "" if attempt.progress is None else f", saying {_short(attempt.progress)}"
        yield f"its last heartbeat was at {_clock(attempt.heartbeat_at)}{said}"


def _clock(at: datetime | None) -> str:
    return at.isoformat(timespec="seconds") if at else "a time unknown"


def _short(progress: Any) -> str:
    text = str(progress)
    return text if len(text) <= 200 else f"{text[:200]}…"  # noqa: PLR2004 - a line or two
