"""Small things that chapters share: executors that take their time, and how to build and look."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from regrow.compat import BaseTask, TaskModel, TaskTreeNode, create_task

Guide = dict[str, Any]


class Napping(BaseTask):
    """Takes a moment; the base of executors whose order or overlap is looked at."""

    async def execute(self, inputs: Guide) -> Guide:
        await asyncio.sleep(inputs.get("seconds", 0.1))
        if inputs.get("fails"):
            error = f"{self.task_id} broke"
            return {"status": "failed", "error": error, "error_type": "broken"}
        given = {key: value for key, value in inputs.items() if key != "seconds"}
        return {"status": "completed", "result": {"given": given}}


def below(root: TaskModel, tasks: Sequence[TaskModel]) -> TaskTreeNode:
    """Build a tree of one level."""
    node = TaskTreeNode(root)
    for task in tasks:
        node.add_child(TaskTreeNode(task))
    return node


def grouped(*tasks: TaskModel) -> TaskTreeNode:
    """Put tasks below a root that does nothing itself."""
    return below(create_task(name="root"), tasks)


def started(task: TaskModel) -> datetime:
    assert task.started_at
    return task.started_at


def ended(task: TaskModel) -> datetime:
    assert task.completed_at
    return task.completed_at


def overlap(*tasks: TaskModel) -> bool:
    """Tell whether there was a moment at which all of them ran."""
    return max(map(started, tasks)) < min(map(ended, tasks))
