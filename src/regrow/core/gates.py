"""Deciding about a task whose edges are satisfied: whether it runs, waits, or ends here and now.

Groups, aggregates and conditions need no worker; waits are begun by whoever runs the tree; all
else is put in line for one.
"""

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, cast

from regrow.core import limits
from regrow.core.bounded import Budget, weigh
from regrow.core.mapping import MapRun
from regrow.core.models import Json, Task, TaskId
from regrow.core.outcome import Because, Outcome, completed, failed
from regrow.core.references import compile_template, condition, is_true
from regrow.core.waits import Verdict, Wait, read_wait
from regrow.core.wire import (
    AGGREGATE_RESULTS,
    APPROVAL,
    GROUP,
    WAIT_FOR_EVENT,
    WAITS,
    ErrorType,
    Status,
)

if TYPE_CHECKING:
    from regrow.core.run import TreeRun


def decide(run: "TreeRun", task: Task, now: datetime, budget: Budget) -> Outcome | Wait | None:
    """Give the end of a task that needs no worker, the wait it begins, or None: it is to run.

    Raises `ExpressionError`.
    """
    begun = run.records[task.id].status is Status.IN_PROGRESS
    if not begun and task.when is not None and not is_true(_condition(run, task.when, budget)):
        return Outcome(Status.SKIPPED, because=Because("condition"))
    native = run.plan.natives.get(task.id)
    if native in WAITS:
        return None if begun else _begin_wait(run, task, now, budget)
    if native == GROUP:
        return _group_outcome(run, task.id, budget)
    if native == AGGREGATE_RESULTS:
        return _aggregate(run, task, budget)
    if task.for_each is not None:
        return _begin_map(run, task, budget)
    return None


def event_outcome(name: str, payload: Json) -> Outcome:
    """Give the end of a wait for an event that has come."""
    return Outcome(Status.COMPLETED, payload, metadata={"event": name})


def _condition(run: "TreeRun", text: str, budget: Budget) -> Json:
    return condition(text).evaluate(run, budget)


def _begin_wait(run: "TreeRun", task: Task, now: datetime, budget: Budget) -> Outcome | Wait:
    inputs = compile_template(task.inputs).render(run, budget)
    wait = read_wait(run.plan.natives[task.id], inputs, now)
    if run.plan.tree.demo:
        return _demo_outcome(wait)
    if wait.kind == WAIT_FOR_EVENT and wait.event in run.events:
        return event_outcome(wait.event, run.events[wait.event])
    return wait


def _demo_outcome(wait: Wait) -> Outcome:
    """Give the end of a wait that nobody is to wait for: slept, approved, or an event without."""
    end = completed()
    if wait.kind == APPROVAL:
        end = Verdict(approved=True, by="demo").outcome(wait)
    return replace(end, metadata={**end.metadata, "demo": True})


def _begin_map(run: "TreeRun", task: Task, budget: Budget) -> Outcome | None:
    """Find the items; a map without any needs no worker."""
    if task.id not in run.maps:
        run.maps[task.id] = MapRun.of(task, run, budget)
        if shape := run.restored_maps.pop(task.id, None):
            run.maps[task.id].restore(shape)
    mapping = run.maps[task.id]
    if run.records[task.id].status is Status.PENDING and mapping.is_over:
        mapping.retry()  # which changes nothing for one that has no items
    return mapping.outcome() if mapping.is_over else None


def _group_outcome(run: "TreeRun", group: TaskId, budget: Budget) -> Outcome:
    members = list(run.members(group))
    budget.make(_MEMBER * len(members))
    wrong = [member for member in members if _went_wrong(run, member)]
    bad = [member for member in wrong if member not in run.plan.groups] or wrong
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        return failed(f"'{bad[0]}'{more} inside the group failed", ErrorType.GROUP_FAILED)
    return completed(
        {
            member: run.task_view(member)["result"]
            for member in members
            if run.completed(member) and member not in run.plan.groups
        }
    )


_MEMBER = 32
"""A member of a group takes as long to look at as so many items to make."""


def _went_wrong(run: "TreeRun", task_id: TaskId) -> bool:
    ended_badly = run.records[task_id].status in (Status.FAILED, Status.CANCELLED)
    return ended_badly and not run.is_tolerated(task_id)


def _aggregate(run: "TreeRun", task: Task, budget: Budget) -> Outcome:
    edges = [edge.id for edge in task.dependencies]
    results = {edge: run.task_view(edge)["result"] for edge in edges if run.completed(edge)}
    absent = [edge for edge in edges if edge not in results]
    summary = {"results": results, "count": len(results), "absent": absent}
    weight = weigh(summary, limits.MAX_PAYLOAD)
    budget.make(weight)
    if weight > limits.MAX_PAYLOAD:  # aggregates of aggregates grow
        error = "the results are too large to be gathered; let tasks return references"
        return failed(error, ErrorType.PAYLOAD_TOO_LARGE)
    return completed(cast("Json", summary), attempts=1)
