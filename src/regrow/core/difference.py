"""What differs between two trees, in words."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from regrow.core.models import TaskTree

_SHORT: Final = 60


def differences(before: TaskTree, tree: TaskTree) -> Iterator[str]:
    """Name every input, field and task in which the trees differ."""
    was, now = _head(before), _head(tree)
    yield from _inputs(was.pop("inputs", {}), now.pop("inputs", {}))
    yield from (_change(key, was.get(key), now.get(key)) for key in _unequal(was, now))
    old = {task["id"]: task for task in _tasks(before)}
    new = {task["id"]: task for task in _tasks(tree)}
    for task_id in dict.fromkeys((*old, *new)):
        if task_id not in new:
            yield f"task '{task_id}' is gone"
        elif task_id not in old:
            yield f"task '{task_id}' is new"
        else:
            changed = ", ".join(_unequal(old[task_id], new[task_id]))
            if changed:
                yield f"task '{task_id}' has another {changed}"
    if not set(old) ^ set(new) and list(old) != list(new):
        yield "the tasks are in another order"


def _inputs(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in _unequal(was, now):
        yield _change(f"input '{name}'", was.get(name), now.get(name))


def _unequal(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    keys = dict.fromkeys((*was, *now))
    absent = object()
    return [key for key in keys if was.get(key, absent) != now.get(key, absent)]


def _change(what: str, was: Any, now: Any) -> str:
    return f"{what}: {_shown(was)} → {_shown(now)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}…"


def _head(tree: TaskTree) -> dict[str, Any]:
    document = tree.as_document()
    del document["tasks"]
    return document


def _tasks(tree: TaskTree) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = tree.as_document()["tasks"]
    return tasks
