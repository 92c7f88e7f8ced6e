"""The shapes of work that every benchmark runs: what depends on what, by position."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

EXECUTOR: Final = "noop"
_NEIGHBOURS: Final = (-1, 0, 1)


@dataclass(frozen=True, slots=True)
class Shape:
    """Tasks by position, each with the positions it depends on; all of those come before it."""

    name: str
    dependencies: Sequence[Sequence[int]]

    def document(self, **task: Any) -> dict[str, Any]:
        """Give the task tree; every task has the same small input, and what else is said here."""
        tasks = [
            {
                "id": f"t{at}",
                "executor": EXECUTOR,
                "inputs": {"value": at},
                "dependencies": [{"id": f"t{other}", "into": None} for other in others],
                **task,
            }
            for at, others in enumerate(self.dependencies)
        ]
        return {"name": self.name, "max_in_flight": 500, "outputs": {}, "tasks": tasks}


def fan(tasks: int) -> Shape:
    """Tasks that depend on nothing."""
    return Shape(f"fan-{tasks}", [()] * tasks)


def chain(tasks: int) -> Shape:
    """Tasks of which each depends on the one before."""
    return Shape(f"chain-{tasks}", [() if at == 0 else (at - 1,) for at in range(tasks)])


def layered(layers: int, width: int) -> Shape:
    """Layers of which each task depends on three of the layer before."""

    def above(layer: int, column: int) -> tuple[int, ...]:
        columns = sorted({(column + step) % width for step in _NEIGHBOURS})
        return tuple((layer - 1) * width + each for each in columns) if layer else ()

    edges = [above(layer, column) for layer in range(layers) for column in range(width)]
    return Shape(f"layered-{layers}x{width}", edges)


def diamond(tasks: int) -> Shape:
    """Diamonds in a row: one task, two that depend on it, and one that depends on both."""

    def above(at: int) -> tuple[int, ...]:
        place = at % 3
        if place == 0:
            return (at - 2, at - 1) if at else ()
        return (at - place,)

    return Shape(f"diamond-{tasks}", [above(at) for at in range(tasks)])
