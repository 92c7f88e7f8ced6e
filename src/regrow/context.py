"""What an executor, or a hook, may know about the task that it is called for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import structlog

from regrow.core.models import Json
from regrow.core.wire import item_unit


def _ignore(*_: Json) -> None:
    """Heartbeats of a context that no worker made go nowhere."""


@dataclass(frozen=True, kw_only=True)
class TaskContext:
    """What an executor may know about the task it runs; make one freely in tests."""

    tree_id: str = "tree"
    task_id: str = "task"
    index: int | None = None
    """Which item of a map, counted from 0; None for a plain task."""
    attempt: int = 1
    user_id: str | None = None
    heartbeat_details: tuple[Json, ...] = ()
    """What the previous attempt said last; empty at the first."""
    beat: Callable[..., None] = field(default=_ignore, repr=False)

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this task, also after a crash; another in every tree."""
        unit = self.task_id if self.index is None else item_unit(self.task_id, self.index)
        return f"{self.tree_id}/{unit}"

    def heartbeat(self, *details: Json) -> None:
        """Keep details for the next attempt; safe from any thread. Liveness needs no call."""
        self.beat(*details)

    def progress(self, done: int, total: int | None = None, note: str = "") -> None:
        """Show people how far the task is."""
        self.beat({"done": done, "total": total, "note": note})

    @cached_property
    def log(self) -> Any:
        """A structlog logger that knows tree, task and attempt."""
        return structlog.get_logger("regrow.executor").bind(
            tree=self.tree_id, task=self.task_id, attempt=self.attempt
        )
