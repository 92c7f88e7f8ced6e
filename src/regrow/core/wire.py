"""Names that recorded histories, other workers and stock tools rely on; they never change."""

from enum import StrEnum
from typing import Final

WORKFLOW_TYPE: Final = "TaskTree"
TASK_QUEUE: Final = "task-trees"
DESCRIBE_EXECUTORS: Final = "describe_executors"
TREE_HOOKS: Final = "tree_hooks"
HEADER: Final = "regrow"

APPROVE: Final = "approve"
SEND_EVENT: Final = "send_event"
PAUSE: Final = "pause"
RESUME: Final = "resume"
CANCEL_TASK: Final = "cancel_task"
RETRY_TASK: Final = "retry_task"
SKIP_TASK: Final = "skip_task"
"""Updates: what people ask of a running tree."""

ENGINE_KEY: Final = "engine"
"""The one reserved key of a document: what a run hands to its continuation."""

RERUN_KEY: Final = "rerun"
"""In the engine's part of a document: which tree this one is a rerun of."""

PARTITION_KEY: Final = "partition"
"""In the engine's part of a document: what a child workflow is told that runs a part of a tree."""

PARTITION_REPORT: Final = "partition_report"
PARTITION_ASK: Final = "partition_ask"
REPORT_ALARM: Final = "~report"
"""Signals between a tree and its partitions, what has ended and what is asked of it; and the timer
that reminds a partition of a report."""

ENGINE_VERSION: Final = 3
"""Recorded by every run at its start; a change of the engine's behaviour raises it."""
PARTITIONED_ENGINE: Final = 3
"""Since then a large tree hands its work to child workflows."""
PACED_ENGINE: Final = 2
"""Since then long decisions are spread over workflow tasks, and a tree that only waits for people
or undoes what it did hands over to a fresh run as well."""

MEMO_DOCUMENT_HASH: Final = "document_hash"
MEMO_NAME: Final = "tree_name"
MEMO_RERUN_OF: Final = "rerun_of"
MEMO_USER_ID: Final = "user_id"

GROUP: Final = "group"
SLEEP: Final = "sleep"
AGGREGATE_RESULTS: Final = "aggregate_results"
APPROVAL: Final = "approval"
WAIT_FOR_EVENT: Final = "wait_for_event"
TREE: Final = "tree"
WAITS: Final = (SLEEP, APPROVAL, WAIT_FOR_EVENT)
"""Executors that wait for a time or a person and hold no worker."""

NATIVE_EXECUTORS: Final = (GROUP, AGGREGATE_RESULTS, TREE, *WAITS)
"""Run by the workflow itself, so no worker is asked about them."""

COMPENSATE: Final = "~compensate"
_PARTITION: Final = "~"


def item_unit(task_id: str, index: int) -> str:
    """Name one item of a map, as history does: `task[3]`."""
    return f"{task_id}[{index}]"


def compensation_unit(task_id: str) -> str:
    """Name what undoes a task, as history does: `task~compensate`."""
    return f"{task_id}{COMPENSATE}"


def partition_unit(number: int) -> str:
    """Name a partition of a tree, as history does: `~3`."""
    return f"{_PARTITION}{number}"


def is_partition(unit: str) -> bool:
    """Tell whether a unit of work is a partition."""
    return unit.startswith(_PARTITION)


def split_unit(unit: str) -> tuple[str, int | None]:
    """Give the task that a unit of work belongs to and, for an item of a map, its index."""
    name, bracket, index = unit.removesuffix(COMPENSATE).partition("[")
    return name, int(index[:-1]) if bracket else None


class Status(StrEnum):
    """Where a task, or the whole tree, stands."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"

    @property
    def is_settled(self) -> bool:
        """Whether this is an end: nothing follows without a person's hand."""
        return self not in (Status.PENDING, Status.IN_PROGRESS)


class TreeMoment(StrEnum):
    """When a hook of trees is called."""

    CREATED = "created"
    """The workflow has begun; its executors are known."""
    STARTED = "started"
    """Its first tasks are about to start."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ErrorType(StrEnum):
    """The error types that Regrow itself gives; executors add their own."""

    INVALID_TREE = "InvalidTree"
    TREE_FAILED = "TreeFailed"
    TREE_CANCELLED = "TreeCancelled"
    EXECUTION = "execution_error"
    VALIDATION = "validation_error"
    TYPE = "type_error"
    CONTRACT = "contract_error"
    TIMEOUT = "timeout_error"
    EXPRESSION = "expression_error"
    UNKNOWN_EXECUTOR = "unknown_executor"
    GROUP_FAILED = "group_failed"
    MAP_FAILED = "map_failed"
    SUBTREE_FAILED = "tree_failed"
    REJECTED = "rejected"
    TERMINATED = "terminated"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    NOT_ALLOWED = "not_allowed"
    HISTORY_FULL = "history_full"
