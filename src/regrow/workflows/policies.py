"""From a task's policy to the options of a Temporal activity."""

from datetime import timedelta
from typing import Any, cast

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy

from regrow.core.draw.details import static_details
from regrow.core.models import Policy, TaskId, TaskTree
from regrow.core.record import Kind, Start
from regrow.core.resolve import Plan
from regrow.core.wire import COMPENSATE, MEMO_NAME

_SUMMARY_LENGTH = 200
_RETRY_IN_PLACE = timedelta(milliseconds=1)
"""A local task that waits for longer than this for its next attempt lets the others go on."""
_HEARTBEAT = "heartbeat_timeout"


class WorkOptions:
    """Gives the keyword arguments with which activities, sub-trees and timers are started.

    What tasks share is made once: replays make it all again.
    """

    def __init__(self, plan: Plan, tree_id: str) -> None:
        self._plan = plan
        self._tree_id = tree_id
        self._tasks = {task.id: task for task in plan.tree.tasks}
        self._shared: dict[int, dict[str, Any]] = {}
        self._priorities: dict[int, Priority] = {}
        user_id = plan.tree.user_id
        self.about_user = {} if user_id is None else {"user_id": user_id}
        """What a local task is told in words; of others the priority says it."""

    def activity(self, start: Start) -> dict[str, Any]:
        """Give the options of an activity: a task, an item, or a compensation."""
        shared = self._shared_by(self._plan.policy(start.unit))
        undoes = start.unit.endswith(COMPENSATE)
        return {
            **shared,
            "activity_id": start.unit,
            "task_queue": None if undoes else self._queue(start.task_id),
            "summary": self.label(start.unit, start.task_id),
            "priority": self._priority(start.task_id),
        }

    def local_activity(self, start: Start) -> dict[str, Any]:
        """Give the options of a local task or item, whose cancel arrives without a heartbeat."""
        shared = self._shared_by(self._plan.policy(start.unit))
        return {
            **{key: value for key, value in shared.items() if key != _HEARTBEAT},
            "activity_id": start.unit,
            "local_retry_threshold": _RETRY_IN_PLACE,
            "cancellation_type": workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            "summary": self.label(start.unit, start.task_id),
        }

    def _shared_by(self, policy: Policy) -> dict[str, Any]:
        shared = self._shared.get(id(policy))
        if shared is None:
            shared = self._shared[id(policy)] = _shared_options(policy)
        return shared

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
        urgency = self._tasks[task_id].priority
        made = self._priorities.get(urgency)
        if made is None:
            user_id = self._plan.tree.user_id
            made = Priority(priority_key=urgency + 1, fairness_key=user_id)
            self._priorities[urgency] = made
        return made


def summary(task_id: TaskId, title: str) -> str:
    """Give the label that the Web UI shows: `id · title`."""
    text = task_id if title == task_id else f"{task_id} · {title}"
    return text[:_SUMMARY_LENGTH]


def _shared_options(policy: Policy) -> dict[str, Any]:
    retry = policy.retry
    return {
        "retry_policy": RetryPolicy(
            initial_interval=retry.initial_interval or timedelta(seconds=1),
            backoff_coefficient=retry.backoff_coefficient or 2.0,
            maximum_interval=_maximum_interval(policy),
            maximum_attempts=retry.maximum_attempts or 0,
            non_retryable_error_types=list(retry.non_retryable_error_types),
        ),
        "start_to_close_timeout": policy.start_to_close_timeout,
        "schedule_to_close_timeout": policy.schedule_to_close_timeout,
        "schedule_to_start_timeout": policy.schedule_to_start_timeout,
        _HEARTBEAT: policy.heartbeat_timeout,
        # Without a heartbeat a cancel never arrives, so there is nothing to wait for.
        "cancellation_type": workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
        if policy.heartbeat_timeout
        else workflow.ActivityCancellationType.TRY_CANCEL,
    }


def _maximum_interval(policy: Policy) -> timedelta | None:
    """Temporal refuses a maximum below the first interval; the first one wins."""
    first, most = policy.retry.initial_interval, policy.retry.maximum_interval
    return max(first, most) if first and most else most
