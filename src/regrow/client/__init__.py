"""The client SDK: start trees, follow them, stop them."""

from regrow.client.attempts import Attempt
from regrow.client.documents import Document, read_document
from regrow.client.errors import (
    ServerUnreachable,
    TreeBusy,
    TreeCancelled,
    TreeConflict,
    TreeError,
    TreeFailed,
    TreeNotFound,
    TreeTerminated,
)
from regrow.client.explain import Explanation, UnknownTask
from regrow.client.fold import Change, Fold, fold
from regrow.client.rerun import RerunError
from regrow.client.schedules import (
    ScheduleExists,
    ScheduleNotFound,
    ScheduleRefused,
    TreeSchedule,
    TreeSchedules,
)
from regrow.client.setup import NotSetUp, SetupRefused, set_up
from regrow.client.tree_client import TreeClient, TreeSummary
from regrow.client.tree_handle import TreeHandle
from regrow.core.requests import RequestRefused

__all__ = [
    "Attempt",
    "Change",
    "Document",
    "Explanation",
    "Fold",
    "NotSetUp",
    "RequestRefused",
    "RerunError",
    "ScheduleExists",
    "ScheduleNotFound",
    "ScheduleRefused",
    "ServerUnreachable",
    "SetupRefused",
    "TreeBusy",
    "TreeCancelled",
    "TreeClient",
    "TreeConflict",
    "TreeError",
    "TreeFailed",
    "TreeHandle",
    "TreeNotFound",
    "TreeSchedule",
    "TreeSchedules",
    "TreeSummary",
    "TreeTerminated",
    "UnknownTask",
    "fold",
    "read_document",
    "set_up",
]
