"""What only the server knows of running tasks: attempts, heartbeats, retries to come, pollers."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import PendingActivityState, TaskQueueType
from temporalio.api.failure.v1 import Failure
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client, WorkflowHandle

from regrow.core.wire import is_partition

_LATELY: Final = 120
"""Seconds; a poller that was not heard from for so long has gone."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """How it stands with an activity that has not ended."""

    unit: str
    """The task, or the item of a map, as in history."""
    attempt: int
    maximum_attempts: int
    """0 for no end."""
    is_running: bool
    """Whether a worker has it; else it waits for one, or for its next attempt."""
    started_at: datetime | None = None
    heartbeat_at: datetime | None = None
    progress: Any = None
    """What the executor said at its last heartbeat."""
    error: str | None = None
    """Why the attempt before failed."""
    next_attempt_at: datetime | None = None
    worker: str | None = None


_TOO_LARGE: Final = "Failure exceeds size limit."
"""What a server puts before a failure with a long trace, which it keeps as the cause."""


async def attempts(client: Client, handle: WorkflowHandle[Any, Any]) -> dict[str, Attempt]:
    """Give every activity of the latest run that has not ended, by its unit.

    Those of its partitions are its own.
    """
    about = (await handle.describe()).raw_description
    found = {info.activity_id: await _attempt(client, info) for info in about.pending_activities}
    for child in about.pending_children:
        if is_partition(child.workflow_id.removeprefix(f"{handle.id}/")):
            found |= await attempts(client, client.get_workflow_handle(child.workflow_id))
    return found


async def has_pollers(client: Client, task_queue: str) -> bool:
    """Tell whether a worker asks for the activities of a task queue."""
    answer = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=task_queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
        )
    )
    now = datetime.now(UTC)
    heard = (poller.last_access_time.ToDatetime(tzinfo=UTC) for poller in answer.pollers)
    return any((now - at).total_seconds() < _LATELY for at in heard)


async def _attempt(client: Client, info: PendingActivityInfo) -> Attempt:
    details = await client.data_converter.decode(info.heartbeat_details.payloads)
    running = info.state != PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
    waits = info.HasField("next_attempt_schedule_time") and not running
    return Attempt(
        info.activity_id,
        info.attempt,
        info.maximum_attempts,
        running,
        _time(info.last_started_time),
        _time(info.last_heartbeat_time),
        details[0] if details else None,
        _error(info.last_failure),
        _time(info.next_attempt_schedule_time) if waits else None,
        info.last_worker_identity or None,
    )


def _error(failure: Failure) -> str | None:
    if failure.message == _TOO_LARGE and failure.HasField("cause"):
        return _error(failure.cause)
    if not failure.message and not failure.WhichOneof("failure_info"):
        return None
    kind = failure.application_failure_info.type
    return f"{failure.message} ({kind})" if kind else failure.message


def _time(at: Timestamp) -> datetime | None:
    moment = at.ToDatetime(tzinfo=UTC)
    return moment if moment.timestamp() > 0 else None
