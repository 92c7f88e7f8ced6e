"""From a task's policy to the options of a Temporal activity."""

from datetime import timedelta
from typing import Any, NamedTuple

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy

from regrow.core.models import Policy, Task, TaskId
from regrow.core.resolve import Plan

_SUMMARY_LENGTH = 200


class _Options(NamedTuple):
    """What all tasks under one policy share; made once, since replays make it again."""

    retry_policy: RetryPolicy
    timeouts: dict[str, timedelta | None]
    cancellation_type: workflow.ActivityCancellationType


class ActivityOptions:
    """Gives the keyword arguments with which a task's activity is started."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._made: dict[int, _Options] = {}

    def of(self, task: Task) -> dict[str, Any]:
        """Give the options of one task."""
        policy = self._plan.activities[task.id]
        options = self._made.get(id(policy))
        if options is None:
            options = self._made[id(policy)] = _make(policy)
        return {
            **options.timeouts,
            "activity_id": task.id,
            "task_queue": task.task_queue,
            "retry_policy": options.retry_policy,
            "cancellation_type": options.cancellation_type,
            "summary": summary(task.id, task.title),
            "priority": Priority(
                priority_key=task.priority + 1, fairness_key=self._plan.tree.user_id
            ),
        }


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
