"""The executor that both sides run; as the guide of migration says, only its import differs."""

import asyncio
import os
import signal
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or find_spec("regrow"):
    from regrow import BaseTask, executor_register
else:  # in the environment of the other side
    from apflow import BaseTask, executor_register

EVENTS: dict[str, list[list[Any]]] = {}
"""What happened in each tree: `["starts", TASK, what it saw of others]` and `["ends", TASK]`."""

_OWN = ("tree", "task", "do")


@executor_register()
class Probe(BaseTask):
    """Does what its inputs say, and remembers what it saw."""

    id = "probe"
    name = "Probe"
    description = "Does what its inputs say"

    async def execute(self, inputs: dict[str, Any]) -> Any:
        events = EVENTS.setdefault(inputs["tree"], [])
        saw = {key: value for key, value in inputs.items() if key not in _OWN}
        events.append(["starts", inputs["task"], saw])
        await asyncio.sleep(inputs["do"].get("seconds", 0))
        events.append(["ends", inputs["task"]])
        return _answer(inputs["do"], saw)


def _answer(do: dict[str, Any], saw: dict[str, Any]) -> Any:
    match do:
        case {"answers": value}:
            return {"status": "completed", "result": value}
        case {"fails": error}:
            return {"status": "failed", "error": error, "error_type": "broken", "field": "x"}
        case {"raises": error}:
            raise ValueError(error)
        case {"echoes": True}:
            return saw
        case {"kills": True}:
            os.kill(os.getpid(), signal.SIGKILL)
        case _:
            pass
    return do.get("returns")
