"""Executors that many rows need: one that takes time, one that shows its inputs, one that fails."""

import asyncio
from typing import Any

from pydantic import BaseModel

from regrow import BaseTask, TaskContext, executor_register


class Nap(BaseModel):
    seconds: float = 0.3


@executor_register()
async def nap(inputs: Nap, context: TaskContext) -> str:
    """Takes time, and gives the task's id."""
    await asyncio.sleep(inputs.seconds)
    return context.task_id


@executor_register()
class Echo(BaseTask):
    """Gives back what it was given."""

    async def execute(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"status": "completed", "result": inputs}


@executor_register()
class Broken(BaseTask):
    """Fails for good."""

    async def execute(self, inputs: dict[str, Any]) -> dict[str, Any]:
        error = inputs.get("error", "broken")
        return {"status": "failed", "error": error, "error_type": "broken_error"}
