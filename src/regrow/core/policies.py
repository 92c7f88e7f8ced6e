"""Which timeouts and retries a task gets: library < tree < executor < task, field by field."""

from builtins import isinstance
from datetime import timedelta
from typing import Any, Final

from regrow.core import limits
from regrow.core.models import Policy, RetryPolicy
from regrow.core.outcome import Answer
from regrow.core.wire import ErrorType

NEVER_RETRIED: Final = (
    ErrorType.VALIDATION.value,
    ErrorType.TYPE.value,
    ErrorType.CONTRACT.value,
    "PayloadsTooLarge",
    "PayloadSizeError",
)

LIBRARY: Final = Policy(
    start_to_close_timeout=timedelta(minutes=5),
    heartbeat_timeout=timedelta(seconds=30),
    retry=RetryPolicy(
        maximum_attempts=3,
        initial_interval=timedelta(seconds=1),
        backoff_coefficient=2,
        maximum_interval=timedelta(minutes=1),
        non_retryable_error_types=NEVER_RETRIED,
    ),
)

_NAMES: Final = frozenset(Policy.model_fields)

FOREIGN_SCHEDULE_TO_START: Final = timedelta(minutes=10)
"""So that a task queue nobody polls ends by name."""


def merged(*layers: Policy) -> Policy:
    """Lay policies over each other, later ones win; error types that are never retried add up."""
    fields: dict[str, Any] = {
        name: getattr(layer, name) for layer in layers for name in _set_fields(layer)
    }
    retries = [layer.retry for layer in layers]
    retry: dict[str, Any] = {
        name: getattr(layer, name) for layer in retries for name in _set_fields(layer)
    }
    types = dict.fromkeys(name for layer in retries for name in layer.non_retryable_error_types)
    retry["non_retryable_error_types"] = tuple(types)
    return Policy.model_validate({**fields, "retry": RetryPolicy.model_validate(retry)})


def described_policy(tree: Policy, executor: Policy, task: Policy) -> Policy:
    """Give the policy of a task whose executor a worker has described.

    An old worker may not know the executor yet during a deploy, so that is retried.
    """
    return merged(LIBRARY, tree, executor, task)


def local_policy(tree: Policy, executor: Policy, task: Policy) -> Policy:
    """Give the policy of a local task: what is long is cut short."""
    made = merged(_LOCAL, tree, executor, task)
    given = made.start_to_close_timeout or limits.LOCAL_TIMEOUT
    most = min(given, limits.MAX_LOCAL_TIMEOUT)
    return made.model_copy(update={"start_to_close_timeout": most})


def foreign_policy(tree: Policy, task: Policy) -> Policy:
    """Give the policy of a task on another worker's queue, which nobody described."""
    return merged(_FOREIGN, tree, task)


def next_attempt_after(policy: Policy, answer: Answer, attempt: int, spent: float) -> float | None:
    """Give the seconds until a failed attempt is followed by another, as Temporal counts them.

    None if none follows. `spent` is the seconds since the task was scheduled.
    """
    retry = policy.retry
    if not answer.retryable or answer.error_type in retry.non_retryable_error_types:
        return None
    if retry.maximum_attempts and attempt >= retry.maximum_attempts:
        return None
    first = (retry.initial_interval or timedelta(seconds=1)).total_seconds()
    pause = first * (retry.backoff_coefficient or 2) ** (attempt - 1)
    if retry.maximum_interval is not None:
        pause = min(pause, max(first, retry.maximum_interval.total_seconds()))
    pause = pause if answer.retry_after is None else answer.retry_after
    limit = policy.schedule_to_close_timeout
    return None if limit is not None and spent + pause >= limit.total_seconds() else pause


def says_something(layer: Policy) -> bool:
    """Whether this layer changes anything of the layers below."""
    if _NAMES.isdisjoint(layer.model_fields_set):
        return False
    return bool(_set_fields(layer)) or layer.retry != RetryPolicy()


def _set_fields(model: Policy | RetryPolicy) -> list[str]:
    """The fields a layer gives; a task's other fields are not policy."""
    names = Policy.model_fields if isinstance(model, Policy) else RetryPolicy.model_fields
    return [name for name in names if name != "retry" and getattr(model, name) is not None]


_LOCAL: Final = LIBRARY.model_copy(update={"start_to_close_timeout": None})

_FOREIGN: Final = LIBRARY.model_copy(
    update={
        "heartbeat_timeout": None,
        "schedule_to_start_timeout": FOREIGN_SCHEDULE_TO_START,
        "retry": LIBRARY.retry.model_copy(
            update={"non_retryable_error_types": (*NEVER_RETRIED, ErrorType.UNKNOWN_EXECUTOR.value)}
        ),
    }
)
