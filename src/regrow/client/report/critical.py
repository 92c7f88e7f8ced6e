"""The critical path: the chain of tasks that decided when the tree was done.

Going back from the task that settled last, each time to the one among those it waited for that
settled last before it began. What lies between the two is waiting.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Step:
    """A task that has settled."""

    start: datetime
    end: datetime
    after: Sequence[str] = ()
    """What it waited for: its dependencies, and for a group its members."""


@dataclass(frozen=True, slots=True)
class Link:
    """A task on the critical path."""

    task_id: str
    waited_since: datetime
    """When the one before it had settled; for the first one, when the tree began."""
    start: datetime
    end: datetime

    @property
    def waited(self) -> timedelta:
        """How long nothing on the path went on before it."""
        return self.start - self.waited_since

    @property
    def took(self) -> timedelta:
        """How long it went on itself."""
        return self.end - self.start


def critical_path(steps: Mapping[str, Step], began: datetime) -> list[Link]:
    """Give the path from the beginning on; of tasks that settled at once, the one named first."""
    chain: list[str] = []
    current = _last(steps, steps)
    while current is not None:
        chain.append(current)
        start = steps[current].start
        before = [
            task_id
            for task_id in steps[current].after
            if task_id in steps and steps[task_id].end <= start
        ]
        current = _last(steps, before)
    return _links(steps, chain[::-1], began)


def _last(steps: Mapping[str, Step], among: Sequence[str] | Mapping[str, Step]) -> str | None:
    return max(among, key=lambda task_id: steps[task_id].end, default=None)


def _links(steps: Mapping[str, Step], chain: Sequence[str], began: datetime) -> list[Link]:
    links: list[Link] = []
    for task_id in chain:
        since = links[-1].end if links else min(began, steps[task_id].start)
        links.append(Link(task_id, since, steps[task_id].start, steps[task_id].end))
    return links
