"""The names of aipartnerupflow and apflow, for code that was written for them.

Executors run once their import names this module; trees that are built from task objects are
started as documents, on Temporal like all others. It imitates calls, not a database: what is kept
is what Temporal keeps. New code is better written with `TreeClient` (docs/migrate.md).
"""

from regrow.compat.executors import BaseTask, RunningTask
from regrow.compat.logger import get_logger
from regrow.compat.manager import Session, TaskManager, TaskRepository, create_session
from regrow.compat.tasks import TaskModel, TaskTreeNode, create_task
from regrow.executors import executor_register

__all__ = [
    "BaseTask",
    "RunningTask",
    "Session",
    "TaskManager",
    "TaskModel",
    "TaskRepository",
    "TaskTreeNode",
    "create_session",
    "create_task",
    "executor_register",
    "get_logger",
]
