"""Random trees of what both sides have: required edges, parents, priorities from 1 to 3.

Optional edges and priority 0 are left out: they mean something else there, as the tests of the
differences show.
"""

import random
from typing import Any, Final

from tests.differential.sides import Array

_VALUES: Final[list[Any]] = [0, 7, "x", True, [], [1, None], {"a": 1}, {"a": {"b": [2]}}]
_MOST: Final = 8


def random_tree(seed: int) -> Array:
    """Give a tree of 2 to 8 tasks below one root; edges lead backwards in a hidden order."""
    chance = random.Random(seed)
    ids = [f"t{at}" for at in range(chance.randint(2, _MOST))]
    hidden = chance.sample(ids, len(ids))
    edges = {each: _some(chance, hidden[:at]) for at, each in enumerate(hidden)}
    return [
        task(
            f"tree-{seed}",
            each,
            *edges[each],
            do=_what(chance),
            parent_id=chance.choice(ids[:at]) if at else None,
            priority=chance.randint(1, 3),
        )
        for at, each in enumerate(ids)
    ]


def task(tree: str, task_id: str, *edges: str, do: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Write a task as it is there; `x!` is a required dependency, `x?` an optional one."""
    return {
        "id": task_id,
        "name": task_id,
        "user_id": "acme",
        "priority": 2,
        "schemas": {"method": "probe"},
        "dependencies": [{"id": edge[:-1], "required": edge.endswith("!")} for edge in edges],
        "inputs": {"tree": tree, "task": task_id, "do": do},
        **fields,
    }


def _some(chance: random.Random, before: list[str]) -> list[str]:
    return [f"{each}!" for each in chance.sample(before, min(len(before), chance.randint(0, 3)))]


def _what(chance: random.Random) -> dict[str, Any]:
    kind = chance.choice(["answers"] * 4 + ["returns"] * 3 + ["echoes"] * 4 + ["fails", "raises"])
    if kind in ("answers", "returns"):
        return {kind: chance.choice([None, *_VALUES])}
    return {kind: True if kind == "echoes" else chance.choice(["no route", "it broke"])}
