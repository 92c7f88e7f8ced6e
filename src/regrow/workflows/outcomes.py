"""How starts and ends are judged: by the workflow, and by whoever reads its history."""

import asyncio
from typing import Any, Final, cast

from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import EncodingPayloadConverter, PayloadConverter
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    RetryState,
    TerminatedError,
    TimeoutType,
    WorkflowAlreadyStartedError,
)
from temporalio.exceptions import TimeoutError as TemporalTimeoutError

from regrow.core import limits
from regrow.core.handover import partition_document
from regrow.core.models import Json, Policy, TaskTree
from regrow.core.outcome import Outcome, attempts_of, failed, outcome_of, short_error
from regrow.core.packing import packed
from regrow.core.record import Kind, Start
from regrow.core.resolve import Description
from regrow.core.run import TreeRun
from regrow.core.subtree import child_document, subtree_outcome
from regrow.core.wire import ErrorType, Status

_JSON: Final = b"json/plain"
_NULL: Final = b"binary/null"
_LIMITS: Final = {
    TimeoutType.START_TO_CLOSE: "start_to_close_timeout",
    TimeoutType.SCHEDULE_TO_CLOSE: "schedule_to_close_timeout",
    TimeoutType.SCHEDULE_TO_START: "schedule_to_start_timeout",
    TimeoutType.HEARTBEAT: "heartbeat_timeout",
}
_MEANINGS: Final = {
    TimeoutType.SCHEDULE_TO_START: "no worker took the task; is one polling its task queue?",
    TimeoutType.HEARTBEAT: "the worker was not heard from; it died or its executor hung",
}


def json_converter(converter: PayloadConverter) -> PayloadConverter | EncodingPayloadConverter:
    """Give what turns JSON into payloads and back, without asking first what else it might be."""
    if type(converter) is PydanticPayloadConverter:
        return converter.converters[_JSON]
    return converter


def too_large(start: Start, size: int) -> str | None:
    """Say why a start whose argument takes so many bytes is refused, if it is."""
    if size <= limits.MAX_PAYLOAD:
        return None
    what, advice = f"the inputs of '{start.unit}' take", "Pass a reference instead"
    if start.kind is Kind.SUBTREE:
        what = f"the sub-tree '{start.unit}' takes, with its inputs,"
        advice = "Split it, or pass references into it"
    return f"{what} {size:,} bytes; at most {limits.MAX_PAYLOAD:,} fit into history. {advice}"


def argument_of(start: Start, run: TreeRun, description: Description) -> Any:
    """Give the one argument with which an activity or a sub-tree is started."""
    if start.kind is Kind.ACTIVITY:
        return start.inputs
    if start.kind is Kind.PARTITION:
        document = partition_document(run, start, description)
        return packed(document, limits.PARTITION_PACK_ABOVE)
    tree = cast("TaskTree", run.tasks[start.task_id].tree)
    seed = run.seeds.get(start.unit)
    if run.plan.tree.demo:
        tree = tree.model_copy(update={"demo": True})
    return child_document(tree, start.inputs, run.plan.tree.user_id, description, seed)


def answer_outcome(
    payload: Payload | None, converter: PayloadConverter | EncodingPayloadConverter
) -> Outcome:
    """Give the outcome of an activity that returned; a foreign worker may return anything."""
    # A function in Go may give nothing but an error.
    encoding = _NULL if payload is None else payload.metadata.get("encoding", b"")
    if payload is None or encoding == _NULL:
        return outcome_of(None)
    if encoding != _JSON:
        kind = encoding.decode(errors="replace") or "nothing known"
        error = f"the activity returned {kind}, which is not JSON"
        return Outcome(Status.FAILED, error=error, error_type=ErrorType.CONTRACT, attempts=None)
    return outcome_of(cast("Json", converter.from_payload(payload)))


def failure_outcome(
    error: BaseException, policy: Policy, retry_state: RetryState | None = None
) -> Outcome:
    """Give the outcome of an activity that did not complete.

    `retry_state` is needed where the error is the bare cause, as history holds it.
    """
    cause = error
    if isinstance(error, ActivityError):
        cause, retry_state = error.cause or error, error.retry_state
    if isinstance(cause, CancelledError | asyncio.CancelledError):
        return Outcome(Status.CANCELLED, error="cancelled", attempts=None)
    if isinstance(cause, TemporalTimeoutError):
        return _timeout_outcome(cause, retry_state, policy)
    if isinstance(cause, ApplicationError):
        metadata = _metadata(cause)
        return Outcome(
            Status.FAILED,
            error=short_error(cause.message),
            error_type=cause.type or ErrorType.EXECUTION,
            metadata=metadata,
            attempts=attempts_of(metadata),
        )
    return Outcome(
        Status.FAILED, error=short_error(str(cause)), error_type=type(cause).__name__, attempts=None
    )


def child_outcome(unit: str, result: Any, error: BaseException | None) -> Outcome:
    """Give the outcome of a sub-tree, from its result or from how its workflow ended."""
    if error is None:
        return subtree_outcome(unit, result)
    cause = error.cause or error if isinstance(error, ChildWorkflowError) else error
    kind = cause.type if isinstance(cause, ApplicationError) else None
    if isinstance(cause, ApplicationError) and kind == ErrorType.TREE_FAILED:
        return subtree_outcome(unit, cause.details[0])
    cancelled = isinstance(cause, CancelledError | asyncio.CancelledError)
    if cancelled or kind == ErrorType.TREE_CANCELLED:
        return Outcome(Status.CANCELLED, error="cancelled", attempts=1)
    if isinstance(cause, TerminatedError):
        return failed(f"the sub-tree '{unit}' was terminated", ErrorType.TERMINATED, attempts=1)
    if isinstance(cause, WorkflowAlreadyStartedError):
        text = f"another workflow has the id '{cause.workflow_id}'"
        return failed(text, ErrorType.EXECUTION, attempts=0)
    if not isinstance(cause, ApplicationError):
        kind = type(cause).__name__
    return failed(short_error(f"{unit}: {cause}"), kind or ErrorType.EXECUTION, attempts=1)


def partition_loss(unit: str, error: BaseException | None) -> Outcome:
    """Give the end of tasks that a partition has not reported."""
    cause = error.cause or error if isinstance(error, ChildWorkflowError) else error
    if isinstance(cause, CancelledError | asyncio.CancelledError):
        return Outcome(Status.CANCELLED, error="cancelled", attempts=None)
    text = f"the child workflow '{unit}' ended without having run it: {cause or 'no reason given'}"
    return failed(short_error(text), ErrorType.TERMINATED, attempts=None)


def _timeout_outcome(
    cause: TemporalTimeoutError, retry_state: RetryState | None, policy: Policy
) -> Outcome:
    kind = cause.type or TimeoutType.START_TO_CLOSE
    limit = _LIMITS[kind]
    length = getattr(policy, limit)
    seconds = f" of {length.total_seconds():g}s" if length else ""
    meaning = f": {_MEANINGS[kind]}" if kind in _MEANINGS else ""
    spent = retry_state is RetryState.MAXIMUM_ATTEMPTS_REACHED
    return Outcome(
        Status.FAILED,
        error=f"{limit}{seconds} exceeded{meaning}",
        error_type=ErrorType.TIMEOUT,
        attempts=policy.retry.maximum_attempts if spent else None,
    )


def _metadata(cause: ApplicationError) -> dict[str, Json]:
    """Read the failure's details: a mapping is metadata, anything else is kept as it is."""
    details = cast("tuple[Any, ...]", cause.details)
    if not details:
        return {}
    if len(details) == 1 and isinstance(details[0], dict):
        return cast("dict[str, Json]", details[0])
    return {"details": list(details)}
