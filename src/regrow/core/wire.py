"""Names that recorded histories, other workers and stock tools rely on; they never change."""

from enum import StrEnum
from typing import Final

WORKFLOW_TYPE: Final = "TaskTree"
TASK_QUEUE: Final = "task-trees"
DESCRIBE_EXECUTORS: Final = "describe_executors"
HEADER: Final = "regrow"

ENGINE_KEY: Final = "engine"
"""The one reserved key of a document: what a run hands to its continuation."""

ENGINE_VERSION: Final = 1
"""Recorded by every run at its start; a change of the engine's behaviour raises it."""

MEMO_DOCUMENT_HASH: Final = "document_hash"
MEMO_NAME: Final = "tree_name"

GROUP: Final = "group"
SLEEP: Final = "sleep"
AGGREGATE_RESULTS: Final = "aggregate_results"
NATIVE_EXECUTORS: Final = (GROUP, SLEEP, AGGREGATE_RESULTS)
"""Run by the workflow itself, so no worker is asked about them."""


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


class ErrorType(StrEnum):
    """The error types that Regrow itself gives; executors add their own."""

    INVALID_TREE = "InvalidTree"
    TREE_FAILED = "TreeFailed"
    EXECUTION = "execution_error"
    VALIDATION = "validation_error"
    TYPE = "type_error"
    CONTRACT = "contract_error"
    TIMEOUT = "timeout_error"
    EXPRESSION = "expression_error"
    UNKNOWN_EXECUTOR = "unknown_executor"
    GROUP_FAILED = "group_failed"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    NOT_ALLOWED = "not_allowed"
    HISTORY_FULL = "history_full"
