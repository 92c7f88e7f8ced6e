"""What the tasks of benchmarks do: nothing, or nothing for a while."""

import asyncio
from typing import Any

from regrow import executor_register


@executor_register("noop")
async def noop(inputs: dict[str, Any]) -> Any:
    """Give back what came in."""
    return inputs["value"]


@executor_register("nap")
async def nap(inputs: dict[str, Any]) -> None:
    """Take a while."""
    await asyncio.sleep(inputs["seconds"])
