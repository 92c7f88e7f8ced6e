"""From a task's policy to the options of a Temporal activity."""

from datetime import timedelta
from typing import Any, NamedTuple, cast

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy

from regrow.core.draw.details import static_details
from regrow.core.models import Policy, TaskId, TaskTree
from regrow.core.record import Kind, Start
from regrow.core.resolve import Plan
from regrow.core.wire import COMPENSATE, MEMO_NAME

_SUMMARY_LENGTH = 200


class _Options(NamedTuple):
    """What all tasks under one policy share; made once, since replays make it again."""

    retry_policy: RetryPolicy
    timeouts: dict[str, timedelta | None]
    cancellation_type: workflow.ActivityCancellationType


class WorkOptions:
    """Gives the keyword arguments with which activities, sub-trees and timers are started."""

    def __init__(self, plan: Plan, tree_id: str) -> None:
        self._plan = plan
        self._tree_id = tree_id
        self._tasks = {task.id: task for task in plan.tree.tasks}
        self._made: dict[int, _Options] = {}

    def activity(self, start: Start) -> dict[str, Any]:
        """Give the options of an activity: a task, an item, or a compensation."""
        policy = self._plan.policy(start.unit)
        options = self._made.get(id(policy))
        if options is None:
            options = self._made[id(policy)] = _make(policy)
        undoes = start.unit.endswith(COMPENSATE)
        return {
            **options.timeouts,
            "activity_id": start.unit,
            "task_queue": None if undoes else self._queue(start.task_id),
            "retry_policy": options.retry_policy,
            "cancellation_type": options.cancellation_type,
            "summary": self.label(start.unit, start.task_id),
            "priority": self._priority(start.task_id),
        }

    def child(self, start: Start) -> dict[str, Any]:
        """Give the options of the workflow of a sub-tree or a partition.

        It is cancelled with its parent and then awaited, since it may have things to undo.
        """
        if start.kind is Kind.PARTITION:
            return self._partition(start)
        tree = cast("TaskTree", self._tasks[start.task_id].tree)
        return {
            "id": f"{self._tree_id}/{start.unit}",
            "cancellation_type": workflow.ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
            "static_summary": self.label(start.unit, start.task_id),
            "static_details": static_details(tree),
            "memo": {MEMO_NAME: tree.name},
            "priority": self._priority(start.task_id),
        }

    def _partition(self, start: Start) -> dict[str, Any]:
        first, last = start.tasks[0], start.tasks[-1]
        return {
            "id": f"{self._tree_id}/{start.unit}",
            "cancellation_type": workflow.ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
            "static_summary": summary(start.unit, f"{len(start.tasks)} tasks, {first} to {last}"),
            "memo": {MEMO_NAME: self._plan.tree.name},
            "priority": Priority(fairness_key=self._plan.tree.user_id),
        }

    def label(self, unit: str, task_id: TaskId) -> str:
        """Give what the Web UI shows."""
        task = self._tasks[task_id]
        return summary(unit, unit if task.title == task_id else task.title)

    def _queue(self, task_id: TaskId) -> str | None:
        """Give another worker's queue; a demo calls nobody's executors, so it needs none."""
        return None if self._plan.tree.demo else self._tasks[task_id].task_queue

    def _priority(self, task_id: TaskId) -> Priority:
        return Priority(
            priority_key=self._tasks[task_id].priority + 1, fairness_key=self._plan.tree.user_id
        )


def summary(task_id: TaskId, title: str) -> str:
    """Give the label that the Web UI shows: `id · title`."""
    text = task_id if title == task_id else f"{task_id} · {title}"
    return text[:_SUMMARY_LENGTH]


def _make(policy: Policy) -> _Options:
    retry = policy.retry
    return _Options(
        RetryPolicy(
            initial_interval=retry.initial_interval or timedelta(seconds=1),
            backoff_coefficient=retry.backoff_coefficient or 2.0,
            maximum_interval=_maximum_interval(policy),
            maximum_attempts=retry.maximum_attempts or 0,
            non_retryable_error_types=list(retry.non_retryable_error_types),
        ),
        {
            "start_to_close_timeout": policy.start_to_close_timeout,
            "schedule_to_close_timeout": policy.schedule_to_close_timeout,
            "schedule_to_start_timeout": policy.schedule_to_start_timeout,
            "heartbeat_timeout": policy.heartbeat_timeout,
        },
        # Without a heartbeat a cancel never arrives, so there is nothing to wait for.
        workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
        if policy.heartbeat_timeout
        else workflow.ActivityCancellationType.TRY_CANCEL,
    )


def _maximum_interval(policy: Policy) -> timedelta | None:
    """Temporal refuses a maximum below the first interval; the first one wins."""
    first, most = policy.retry.initial_interval, policy.retry.maximum_interval
    return max(first, most) if first and most else most
