"""Regrow: durable task trees on Temporal."""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from regrow.client import ServerUnreachable, TreeCancelled, TreeClient, TreeFailed, TreeHandle
    from regrow.core.loading import load
    from regrow.core.models import Dependency, Policy, RetryPolicy, Task, TaskTree
    from regrow.core.problems import InvalidTree
    from regrow.core.result import TaskResult, TreeResult
    from regrow.core.wire import Status
    from regrow.executors import BaseTask, TaskContext, TaskError, executor_register

_EXPORTS: Final = {
    "BaseTask": "regrow.executors",
    "Dependency": "regrow.core.models",
    "InvalidTree": "regrow.core.problems",
    "RetryPolicy": "regrow.core.models",
    "Status": "regrow.core.wire",
    "Task": "regrow.core.models",
    "TaskContext": "regrow.executors",
    "TaskError": "regrow.executors",
    "TaskResult": "regrow.core.result",
    "TaskTree": "regrow.core.models",
    "TreeCancelled": "regrow.client",
    "TreeClient": "regrow.client",
    "TreeFailed": "regrow.client",
    "TreeHandle": "regrow.client",
    "TreeResult": "regrow.core.result",
    "executor_register": "regrow.executors",
    "Policy": "regrow.core.models",
    "ServerUnreachable": "regrow.client",
    "load": "regrow.core.loading",
}

__all__ = [
    "BaseTask",
    "Dependency",
    "InvalidTree",
    "Policy",
    "RetryPolicy",
    "ServerUnreachable",
    "Status",
    "Task",
    "TaskContext",
    "TaskError",
    "TaskResult",
    "TaskTree",
    "TreeCancelled",
    "TreeClient",
    "TreeFailed",
    "TreeHandle",
    "TreeResult",
    "executor_register",
    "load",
]


def __getattr__(name: str) -> Any:
    """Import on first use (PEP 562), so that the workflow sandbox never imports the client."""
    if name not in _EXPORTS:
        message = f"module 'regrow' has no attribute '{name}'"
        raise AttributeError(message)
    return getattr(importlib.import_module(_EXPORTS[name]), name)
