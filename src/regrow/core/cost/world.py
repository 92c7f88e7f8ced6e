"""Trees that run in memory at the pace of a server, so that the events they leave can be counted.

The tasks run by the workflow's own rules; what is modelled here is when things are heard of. An
end asks for a workflow task. What ends until that one begins is heard by it, and what ends while it
is at work waits for the next: so the ends of a wide tree share workflow tasks, and those of a chain
do not. A server takes one thing after the other, which spreads ends that come at the same moment.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heappop, heappush
from typing import Final

from regrow.core.cost.history import History, Share
from regrow.core.script import Act, Script
from regrow.core.simulate import BEGINNING

LATENCY: Final = 0.007
"""Seconds from the first news to the workflow task that hears them."""
BUSY: Final = 0.008
"""Seconds of a workflow task, beside those for what it hears and commands."""
BUSY_PER_NEWS: Final = 0.0012
BUSY_PER_COMMAND: Final = 0.0005
BETWEEN: Final = 0.001
"""Seconds between two ends that a server takes in."""
BETWEEN_BRIEF: Final = 0.002
"""The same for tasks that are over at once, since others are being started meanwhile."""

_GOLDEN: Final = 0.6180339887
"""Multiples of it, without their whole parts, fill a range evenly in any number."""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What a document doesn't say."""

    result_bytes: int = 200
    """The size of a result that nothing else is known of."""
    task_seconds: tuple[float, float] = (0.0, 0.0)
    """The shortest and the longest time that a task takes; the others lie evenly between."""
    items: int = 10
    """The items of a map whose list comes out of a result that isn't known."""
    script: Script = field(default_factory=dict[str, Act])
    """What things do, as for `simulate`; functions give an executor's result for its inputs."""

    @property
    def filler(self) -> str:
        """What stands for a result that isn't known."""
        return "x" * max(self.result_bytes - len('""'), 0)


class World:
    """The clock, what happens when, and every history that comes about."""

    def __init__(self, assumptions: Assumptions) -> None:
        self.assumptions = assumptions
        self.histories: list[History] = []
        self.shares: dict[str, Share] = {"": Share()}
        self.executors: dict[str, int] = {}
        """How many activities each executor has."""
        self.workflows = self.tasks = 0
        self._seconds = 0.0
        self._server_free = 0.0
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._count = self._timed = 0

    @property
    def now(self) -> datetime:
        """The moment it is."""
        return BEGINNING + timedelta(seconds=self._seconds)

    def at(self, seconds: float, happen: Callable[[], None]) -> None:
        """Let something happen later; at the same moment in the order of the calls."""
        self._count += 1
        heappush(self._agenda, (self._seconds + seconds, self._count, happen))

    def arrive(self, happen: Callable[[], None], between: float = BETWEEN) -> None:
        """Let an end reach the server, after those that came before."""
        self._server_free = max(self._server_free, self._seconds) + between
        self.at(self._server_free - self._seconds, happen)

    def new_history(self) -> History:
        """Begin the history of another run."""
        self.histories.append(History(self.shares))
        return self.histories[-1]

    def count(self, executor: str, owner: str) -> None:
        """Count an activity."""
        self.executors[executor] = self.executors.get(executor, 0) + 1
        self.shares[owner].activities += 1

    def task_seconds(self) -> float:
        """Give how long the next task takes."""
        shortest, longest = self.assumptions.task_seconds
        self._timed += 1
        return shortest + (longest - shortest) * (self._timed * _GOLDEN % 1)

    def run(self) -> None:
        """Go from moment to moment until nothing is left that could happen."""
        while self._agenda:
            self._seconds, _, happen = heappop(self._agenda)
            happen()
