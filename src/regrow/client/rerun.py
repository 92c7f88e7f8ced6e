"""Run an ended tree again, keeping what needs no repeating; the rules are in `core.rerun`."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from regrow.client.errors import TreeError, TreeNotFound
from regrow.client.fold import Fold
from regrow.client.submission import Submitted, bytes_of, checked_tree, prepare
from regrow.core import limits
from regrow.core.loading import with_inputs
from regrow.core.models import TaskTree
from regrow.core.packing import packed
from regrow.core.rerun import RerunPlan, RerunRefused, Selection, plan_rerun
from regrow.core.resolve import Description, resolve
from regrow.core.simulate import everything_known
from regrow.core.wire import ENGINE_KEY, MEMO_RERUN_OF, WORKFLOW_TYPE

if TYPE_CHECKING:
    from regrow.client.tree_handle import TreeHandle

_NUMBER: Final = re.compile(r"\.r[1-9][0-9]*$")
_TRIES: Final = 20
_MOST_SUBTREES: Final = 100


class RerunError(TreeError):
    """The tree cannot be run again like that; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What is asked of a rerun, besides what it keeps."""

    failed: bool = False
    from_tasks: Sequence[str] = ()
    items: Mapping[str, Sequence[int]] | None = None
    inputs: Mapping[str, Any] | None = None
    document: Submitted | None = None

    @property
    def selection(self) -> Selection:
        """Give what runs again in any case; everything, if nothing is said."""
        everything = not (self.failed or self.from_tasks or self.items)
        return Selection(everything, tuple(self.from_tasks), self.items)


async def plan(tree: "TreeHandle", changes: Changes) -> RerunPlan:
    """Say what a rerun would keep and run, and why; starts nothing."""
    fold = tree.new_fold()
    await tree.status(fold)
    if fold.run is None:
        raise RerunError(f"'{tree.id}' never began, so there is nothing to keep; start it again")
    if fold.ended is None and not fold.run.is_held:
        raise RerunError(f"'{tree.id}' still runs; cancel it, or wait for its end")
    wanted = _new_tree(fold.run.plan.tree, changes)
    if fold.run.plan.tree.demo and not wanted.demo:
        raise RerunError(f"'{tree.id}' was a demo, whose results are none; start the tree itself")
    plan_of_it = resolve(wanted, _description(fold, wanted))
    try:
        planned = plan_rerun(fold.run, plan_of_it, changes.selection)
    except RerunRefused as refusal:
        raise RerunError(str(refusal)) from None
    await _plan_inside(tree, planned)
    return planned


async def _plan_inside(tree: "TreeHandle", planned: RerunPlan) -> None:
    """Find out what sub-trees that did not complete can keep."""
    for unit in planned.subtrees[:_MOST_SUBTREES]:
        child = type(tree)(tree.client, f"{tree.id}/{unit}")
        fold = child.new_fold()
        try:
            await child.status(fold)
        except TreeNotFound:
            continue
        if fold.run is None or fold.ended is None:
            continue
        inner = plan_rerun(fold.run, fold.run.plan, Selection())
        await _plan_inside(child, inner)
        if inner.kept or inner.inside:
            planned.inside[unit] = inner


async def rerun(
    tree: "TreeHandle", changes: Changes, new_id: str | None
) -> tuple[str, WorkflowHandle[Any, Any]]:
    """Start the rerun, where the tree ran; gives its id and Temporal's handle."""
    planned = await plan(tree, changes)
    about = await tree.workflow_handle.describe()
    submission = prepare(planned.tree)
    document = packed({**submission.document, ENGINE_KEY: planned.engine_part(tree.id)})
    _check_size(document)
    async for candidate in _ids(tree.client, tree.id, new_id):
        try:
            return candidate, await tree.client.start_workflow(
                WORKFLOW_TYPE,
                document,
                id=candidate,
                task_queue=about.task_queue,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                memo={**submission.memo, MEMO_RERUN_OF: tree.id},
                static_summary=submission.summary,
                static_details=submission.details,
            )
        except WorkflowAlreadyStartedError:
            continue
    taken = new_id or f"{_root(tree.id)}.r…"
    raise RerunError(f"there is a tree '{taken}' already; use another id")


async def lineage(client: Client, tree_id: str) -> list[str]:
    """Give the ids of a tree and its reruns, oldest first, as far as they are named by default."""
    root = _root(tree_id)
    numbers = [number async for number in _numbers(client, root)]
    return [root, *(f"{root}.r{number}" for number in sorted(numbers))]


def _new_tree(old: TaskTree, changes: Changes) -> TaskTree:
    """Give what is to run: the changed document, the inputs as they were, then as they are set."""
    tree = old if changes.document is None else checked_tree(changes.document)
    kept = {name: value for name, value in old.inputs.items() if name in tree.inputs}
    return with_inputs(tree, {**kept, **(changes.inputs or {})})


def _description(fold: Fold, tree: TaskTree) -> Description:
    """Take what the worker said of the executors then; of others, that they are there."""
    assumed = everything_known(tree)
    then = fold.description or Description()
    return Description(
        executors={**assumed.executors, **then.executors},
        unknown={
            name: each for name, each in assumed.unknown.items() if name not in then.executors
        },
        local=then.local,
    )


def _check_size(document: Mapping[str, Any]) -> None:
    size = bytes_of(document)
    if size > limits.MAX_PAYLOAD:
        raise RerunError(
            f"the document and the results that are needed again take {size:,} bytes; to start a"
            f" tree a server takes at most {limits.MAX_PAYLOAD:,}. Rerun from further up (--from)"
        )


async def _ids(client: Client, tree_id: str, new_id: str | None) -> AsyncIterator[str]:
    """Give the id that is asked for, or the next ones that seem free."""
    if new_id is not None:
        yield new_id
        return
    root = _root(tree_id)
    numbers = [number async for number in _numbers(client, root)]
    first = max(numbers, default=0) + 1
    for number in range(first, first + _TRIES):
        yield f"{root}.r{number}"


async def _numbers(client: Client, root: str) -> AsyncIterator[int]:
    quoted = root.replace("'", "''")
    query = f"WorkflowType = '{WORKFLOW_TYPE}' AND WorkflowId STARTS_WITH '{quoted}.r'"
    async for execution in client.list_workflows(query):
        number = execution.id.removeprefix(f"{root}.r")
        if number.isdecimal():
            yield int(number)


def _root(tree_id: str) -> str:
    return _NUMBER.sub("", tree_id)
