"""Regrow: durable task trees on Temporal."""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from regrow.client import ServerUnreachable, TreeCancelled, TreeClient, TreeFailed, TreeHandle
    from regrow.core.loading import load
    from regrow.core.models import Compensation, Dependency, Policy, RetryPolicy, Task, TaskTree
    from regrow.core.problems import InvalidTree
    from regrow.core.requests import RequestRefused
    from regrow.core.result import TaskResult, TreeResult
    from regrow.core.script import Trace, approves, fails, hangs, rejects, returns, sends
    from regrow.core.simulate import simulate
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
    "Trace": "regrow.core.script",
    "simulate": "regrow.core.simulate",
    "approves": "regrow.core.script",
    "fails": "regrow.core.script",
    "hangs": "regrow.core.script",
    "rejects": "regrow.core.script",
    "returns": "regrow.core.script",
    "sends": "regrow.core.script",
    "Compensation": "regrow.core.models",
    "RequestRefused": "regrow.core.requests",
}

__all__ = [
    "BaseTask",
    "Compensation",
    "Dependency",
    "InvalidTree",
    "Policy",
    "RequestRefused",
    "RetryPolicy",
    "ServerUnreachable",
    "Status",
    "Task",
    "TaskContext",
    "TaskError",
    "TaskResult",
    "TaskTree",
    "Trace",
    "TreeCancelled",
    "TreeClient",
    "TreeFailed",
    "TreeHandle",
    "TreeResult",
    "approves",
    "executor_register",
    "fails",
    "hangs",
    "load",
    "rejects",
    "returns",
    "sends",
    "simulate",
]


def __getattr__(name: str) -> Any:
    """Import on first use (PEP 562), so that the workflow sandbox never imports the client."""
    if name not in _EXPORTS:
        message = f"module 'regrow' has no attribute '{name}'"
        raise AttributeError(message)
    return getattr(importlib.import_module(_EXPORTS[name]), name)
