"""One activity: how it ends after all its attempts, how long that takes, what it leaves behind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from regrow.core.cost.history import RAISED
from regrow.core.cost.world import World
from regrow.core.models import Json, Policy
from regrow.core.outcome import Answer, Outcome, read_answer
from regrow.core.policies import next_attempt_after
from regrow.core.result import json_size
from regrow.core.script import Act
from regrow.core.wire import Status

_MOST_ATTEMPTS: Final = 1_000
_ABOUT: Final[dict[str, Json]] = {
    "duration": 0.0002,
    "attempt": 1,
    "started_at": "2030-01-01T00:00:00.000001+00:00",
}
"""What a worker says beside every result."""
_BEATS_PER_TIMEOUT: Final = 3
_LONGEST_BEAT: Final = 2.0
"""Seconds between the heartbeats of a hosted executor, at most; each reaches the server."""

Acts = Sequence[Act | Callable[..., Any]]


@dataclass(frozen=True, slots=True)
class Execution:
    """An activity from its first attempt to its end."""

    outcome: Outcome
    attempts: int
    seconds: float
    heartbeats: int
    bytes: int
    """Of its answer."""

    @property
    def started_bytes(self) -> int:
        """What the event of its start says of the attempt before."""
        return RAISED if self.attempts > 1 else 0


def execute(world: World, acts: Acts, inputs: dict[str, Json], policy: Policy) -> Execution:
    """Let an executor run as it is scripted, or else give a result of the assumed size."""
    spent, attempt, beats = 0.0, 0, 0
    filler = Act(value=world.assumptions.filler)
    while True:
        attempt += 1
        act = acts[min(attempt, len(acts)) - 1] if acts else filler
        answer, own_seconds = _answer(act, inputs)
        seconds = own_seconds or world.task_seconds()
        spent += seconds
        beats += int(seconds / _beat(policy.heartbeat_timeout)) if policy.heartbeat_timeout else 0
        pause = None if answer.ok else next_attempt_after(policy, answer, attempt, spent)
        if pause is None or attempt == _MOST_ATTEMPTS:
            return Execution(_outcome(answer, attempt), attempt, spent, beats, _bytes(answer))
        spent += pause


def _answer(act: Act | Callable[..., Any], inputs: dict[str, Json]) -> tuple[Answer, float]:
    if isinstance(act, Act):
        return act.answer(), act.seconds or 0.0
    said = act(inputs)
    return (said.answer(), 0.0) if isinstance(said, Act) else (read_answer(said), 0.0)


def _beat(timeout: timedelta) -> float:
    return min(timeout.total_seconds() / _BEATS_PER_TIMEOUT, _LONGEST_BEAT)


def _outcome(answer: Answer, attempts: int) -> Outcome:
    return Outcome(
        Status.COMPLETED if answer.ok else Status.FAILED,
        answer.result,
        answer.error,
        answer.error_type,
        {**answer.metadata, **_ABOUT},
        attempts=attempts,
    )


def _bytes(answer: Answer) -> int:
    if not answer.ok:
        return 0
    return json_size({"status": "completed", "result": answer.result, "metadata": _ABOUT})
