"""What a run hands out, and what it keeps of each task."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto

from regrow.core.models import Json, TaskId
from regrow.core.outcome import Outcome
from regrow.core.secrets import SecretPlace
from regrow.core.waits import Wait
from regrow.core.wire import Status


class Kind(Enum):
    """How a unit of work is done."""

    ACTIVITY = auto()
    SUBTREE = auto()
    PARTITION = auto()
    WAIT = auto()


@dataclass(frozen=True, slots=True)
class Start:
    """A unit of work that starts now: a task, an item of a map, or a compensation."""

    unit: str
    task_id: TaskId
    kind: Kind = Kind.ACTIVITY
    executor: str = ""
    inputs: Mapping[str, Json] = field(default_factory=dict[str, Json])
    wait: Wait | None = None
    secrets: tuple[SecretPlace, ...] = ()
    """Where the inputs hold names of secrets, for the worker to put their values in."""
    tasks: tuple[TaskId, ...] = ()
    """Those of a partition, in document order."""
    share: int = 0
    """How many of them may be in flight."""


@dataclass(slots=True)
class Record:
    """What is known of one task, or of what undid it."""

    status: Status = Status.PENDING
    outcome: Outcome | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    result_omitted: bool = False
    """The result was left behind in an earlier run's history, since nothing here needs it."""
    reused: bool = False
    """A rerun kept it from the tree it repairs; nothing was executed for it."""
    attempts_before: int = 0
    """Those from before somebody let it run again."""
    by_hand: list[dict[str, Json]] = field(default_factory=list[dict[str, Json]])
    """What people did to it: action, by, reason, at; the last few."""
