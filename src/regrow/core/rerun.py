"""What a rerun keeps of an ended tree, and what it runs again and why.

A task is kept if it completed, is written as it was, was not undone, isn't asked to run again, and
nothing further up runs again. All else runs; what needs no worker is decided anew.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from regrow.core.graph import enclosing_groups
from regrow.core.hashing import document_hash
from regrow.core.mapping import MapRun
from regrow.core.models import Json, Policy, Task, TaskId, TaskTree
from regrow.core.problems import suggestion
from regrow.core.references import (
    Expression,
    compile_items,
    compile_template,
    condition,
    named_tasks,
)
from regrow.core.resolve import Plan
from regrow.core.run import TreeRun
from regrow.core.snapshot import take_snapshot
from regrow.core.wire import (
    AGGREGATE_RESULTS,
    GROUP,
    RERUN_KEY,
    TREE,
    Status,
    item_unit,
    split_unit,
)

SELECTED: Final = "selected"
ITEMS: Final = "some of its items"
FAILED: Final = "it failed"
CANCELLED: Final = "it was cancelled"
UNENDED: Final = "it had not ended"
_MENDABLE: Final = (ITEMS, FAILED, CANCELLED, UNENDED)
"""A map that runs for one of these reasons alone keeps the items that need not run."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DERIVED: Final = (GROUP, AGGREGATE_RESULTS)
"""Decided anew from what they gather."""
_WITHOUT_EFFECT: Final = {
    *Policy.model_fields,
    "name",
    "parent_id",
    "priority",
    "allow_failure",
    "task_queue",
    "local",
    "max_in_flight",
    "compensate",
}
"""Fields that change nothing about the result of a task that has completed."""


class RerunRefused(ValueError):  # noqa: N818 - it is an answer, not an accident
    """The rerun cannot be planned as asked; the message says why."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What to run again besides what did not complete."""

    everything: bool = False
    tasks: Sequence[TaskId] = ()
    """Tasks, or groups with all that is in them."""
    items: Mapping[TaskId, Sequence[int]] | None = None
    """Items of maps; the others keep their results."""


@dataclass(frozen=True, slots=True)
class RerunPlan:
    """What is kept and what runs, in document order, and where the new run begins."""

    tree: TaskTree
    kept: tuple[TaskId, ...]
    runs: Mapping[TaskId, str]
    """Why each of the others runs."""
    snapshot: dict[str, Any]
    subtrees: tuple[str, ...] = ()
    """The units that ran trees which did not complete; what those keep is planned one by one."""
    inside: dict[str, "RerunPlan"] = field(default_factory=dict[str, "RerunPlan"])
    """What sub-trees keep, by unit."""

    def engine_part(self, of: str) -> dict[str, Any]:
        """Give what the new run begins with, beside its document; `of` is the tree it repairs."""
        part: dict[str, Any] = {RERUN_KEY: {"of": of}, "snapshot": self.snapshot}
        seeds = {
            unit: {"document": document_hash(plan.tree), **plan.engine_part(f"{of}/{unit}")}
            for unit, plan in self.inside.items()
        }
        return {**part, "seeds": seeds} if seeds else part


def plan_rerun(old: TreeRun, plan: Plan, selection: Selection) -> RerunPlan:
    """Compare the tree that is to run with one that ran; raises `RerunRefused`."""
    _check(old, plan, selection)
    followers = _followers(plan)
    changed = dict(_changed(old, plan))
    runs = _with_downstream(plan, followers, dict(_reasons(old, plan, selection, changed)))
    fresh = TreeRun(plan, tree_id=old.tree_id)
    kept = dict.fromkeys(_kept(old, plan, runs))
    for task_id in kept:
        fresh.restore(task_id, replace(old.records[task_id], reused=True, by_hand=[]))
    fresh.begin_anew(_EPOCH)
    fresh.undo.completed = [task_id for task_id in old.undo.completed if task_id in kept]
    if not selection.everything:
        fresh.events |= old.events
    behind = {follower: True for task_id in runs for follower in followers.get(task_id, ())}
    whole = {**changed, **behind}
    mended = {
        task_id: _mended(old, task_id, (selection.items or {}).get(task_id, ()))
        for task_id, reason in runs.items()
        if reason in _MENDABLE and task_id in old.maps and task_id not in whole
    }
    fresh.restored_maps = {task_id: mapping.as_json() for task_id, mapping in mended.items()}
    snapshot = take_snapshot(fresh, spare=True)
    selected = [item_unit(*each) for each in _each_item(selection)]
    subtrees = [unit for unit in _subtrees(plan, runs, whole, mended) if unit not in selected]
    runs |= _item_reasons(mended, snapshot.get("ended_maps", {}))
    return RerunPlan(plan.tree, tuple(kept), runs, snapshot, tuple(subtrees))


def _subtrees(
    plan: Plan,
    runs: Mapping[TaskId, str],
    whole: Mapping[TaskId, object],
    mended: Mapping[TaskId, MapRun],
) -> Iterator[str]:
    """Give the sub-trees that are given what they were given before, and so may keep something."""
    for task_id, reason in runs.items():
        if reason not in _MENDABLE or task_id in whole or plan.natives.get(task_id) != TREE:
            continue
        if task_id in mended:
            yield from (item_unit(task_id, index) for index in mended[task_id].again)
        else:
            yield task_id


def _check(old: TreeRun, plan: Plan, selection: Selection) -> None:
    known = {task.id: task for task in plan.tree.tasks}
    for task_id in (*selection.tasks, *(selection.items or ())):
        if task_id not in known:
            raise RerunRefused(f"the tree has no task '{task_id}'{suggestion(task_id, known)}")
    for task_id, index in _each_item(selection):
        mapping = old.maps.get(task_id)
        if mapping is None:
            raise RerunRefused(f"'{task_id}' is no map that has run")
        last = len(mapping.items) - 1
        if not 0 <= index <= last:
            raise RerunRefused(f"'{task_id}' has the items 0 to {last}, not {index}")


def _each_item(selection: Selection) -> Iterator[tuple[TaskId, int]]:
    for task_id, indices in (selection.items or {}).items():
        yield from ((task_id, index) for index in indices)


def _kept(old: TreeRun, plan: Plan, runs: Mapping[TaskId, str]) -> Iterator[TaskId]:
    for task in plan.tree.tasks:
        derived = plan.natives.get(task.id) in _DERIVED
        if task.id not in runs and not derived and old.completed(task.id):
            yield task.id


def _reasons(
    old: TreeRun, plan: Plan, selection: Selection, changed: Mapping[TaskId, str]
) -> Iterator[tuple[TaskId, str]]:
    """Give the tasks that run again for a reason of their own: the first that holds."""
    selected = dict(_selected(plan, selection))
    items = dict.fromkeys(selection.items or (), ITEMS)
    for task in plan.tree.tasks:
        unfinished = _unfinished(old, plan, task.id) if task.id in old.records else None
        reasons = (selected, {task.id: unfinished}, changed, items)
        reason = next((found for each in reasons if (found := each.get(task.id))), None)
        if reason:
            yield task.id, reason


def _changed(old: TreeRun, plan: Plan) -> Iterator[tuple[TaskId, str]]:
    """Give the tasks whose result may be another now, as they are written and what they name."""
    before = {task.id: task for task in old.plan.tree.tasks}
    inputs = _changed_inputs(old.plan.tree, plan.tree)
    for task in plan.tree.tasks:
        difference = _difference(before.get(task.id), task, inputs)
        if difference:
            yield task.id, difference


def _selected(plan: Plan, selection: Selection) -> Iterator[tuple[TaskId, str]]:
    if selection.everything:
        yield from ((task.id, "everything runs again") for task in plan.tree.tasks)
    group_of = enclosing_groups(plan.tree.tasks, plan.groups)
    for task in plan.tree.tasks:
        around: TaskId | None = task.id
        while around is not None and around not in selection.tasks:
            around = group_of.get(around)
        if around is not None:
            yield task.id, SELECTED


def _difference(before: Task | None, task: Task, changed: Sequence[str]) -> str | None:
    """Say what is new about a task, if anything is that could change its result."""
    if before is None:
        return "it is new"
    was, now = _definition(before), _definition(task)
    different = [key for key in (*now, *was) if was.get(key) != now.get(key)]
    if different:
        return f"'{different[0]}' has changed"
    named = [name for each in _expressions(task) for name in _named_inputs(each, changed)]
    return f"the input '{named[0]}' has changed" if named else None


def _definition(task: Task) -> dict[str, Any]:
    whole = task.model_dump(mode="json", exclude_defaults=True, exclude=_WITHOUT_EFFECT)
    return {**whole, "executor": task.executor_id}


def _changed_inputs(before: TaskTree, tree: TaskTree) -> list[str]:
    names = dict.fromkeys((*before.inputs, *tree.inputs))
    absent = object()
    return [
        name for name in names if before.inputs.get(name, absent) != tree.inputs.get(name, absent)
    ]


def _named_inputs(expression: Expression, changed: Sequence[str]) -> Iterator[str]:
    for root, *rest in expression.names:
        if root == "inputs" and changed and (not rest or rest[0] in changed):
            yield rest[0] if rest else changed[0]


def _expressions(task: Task) -> Iterator[Expression]:
    yield from compile_template(task.inputs).expressions
    if task.for_each is not None:
        yield from compile_items(task.for_each).expressions
    if task.when is not None:
        yield condition(task.when)


def _unfinished(old: TreeRun, plan: Plan, task_id: TaskId) -> str | None:
    """Say why there is no result to keep; what is decided anew by itself is left to that."""
    record = old.records[task_id]
    if record.status is Status.SKIPPED and not _skipped_by_hand(record.by_hand):
        return None
    if record.status is Status.COMPLETED:
        if task_id in old.undo.records:
            return "it was undone"
        if record.result_omitted:
            return "its result is unknown"
        return ITEMS if task_id in old.maps and old.maps[task_id].undone else None
    if plan.natives.get(task_id) in _DERIVED:
        return None
    words = {Status.FAILED: FAILED, Status.CANCELLED: CANCELLED, Status.SKIPPED: "it was skipped"}
    return words.get(record.status, UNENDED)


def _skipped_by_hand(notes: Sequence[Mapping[str, Json]]) -> bool:
    return bool(notes) and notes[-1]["action"] == "skip"


def _with_downstream(
    plan: Plan, followers: Mapping[TaskId, Sequence[TaskId]], runs: dict[TaskId, str]
) -> dict[TaskId, str]:
    """Add whatever waits for something that runs again, in document order."""
    rest = deque(runs)
    while rest:
        task_id = rest.popleft()
        for follower in followers.get(task_id, ()):
            if follower not in runs:
                runs[follower] = f"after '{task_id}'"
                rest.append(follower)
    return {task.id: runs[task.id] for task in plan.tree.tasks if task.id in runs}


def _followers(plan: Plan) -> dict[TaskId, list[TaskId]]:
    """Give, for each task, whatever looks at how it ends."""
    tasks = plan.tree.tasks
    followers: dict[TaskId, list[TaskId]] = {}
    for task in tasks:
        named = (*(edge.id for edge in task.dependencies), *named_tasks(task))
        for other in dict.fromkeys(named):
            followers.setdefault(other, []).append(task.id)
    for member, group in enclosing_groups(tasks, plan.groups).items():
        followers.setdefault(member, []).append(group)
    return followers


# --- maps


def _mended(old: TreeRun, task_id: TaskId, items: Sequence[int]) -> MapRun:
    """Give a copy in which what did not complete and what is selected waits to run again."""
    mapping = old.maps[task_id]
    mended = replace(mapping, undone=[], again=deque(), failures=[], running=0)
    mended.restore(mapping.as_json())
    cut_short = [index for _, index in map(split_unit, old.units_of(task_id)) if index is not None]
    mended.retry([*mended.undone, *cut_short, *items])
    return mended


def _item_reasons(
    mended: Mapping[TaskId, MapRun], carried: Mapping[TaskId, object]
) -> dict[TaskId, str]:
    """Say how many items run; all of them if what the others gave is too large to carry."""
    reasons: dict[TaskId, str] = {}
    for task_id, mapping in mended.items():
        count = len(mapping.again) + len(mapping.items) - mapping.next_item
        few = f"{count} of its {len(mapping.items)} items"
        all_of_them = "all its items, since what they gave is too large to carry"
        reasons[task_id] = few if task_id in carried else all_of_them
    return reasons
