"""Tells the server's lists how a tree stands, by its search attributes."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributeUpdate

from regrow.core.attributes import (
    TREE_FAILED_TASKS,
    TREE_NAME,
    TREE_STATUS,
    TREE_WAITING_ON,
    TreeAttributes,
)
from regrow.core.run import TreeRun

NAME_KEY: Final = SearchAttributeKey.for_keyword(TREE_NAME)
STATUS_KEY: Final = SearchAttributeKey.for_keyword(TREE_STATUS)
FAILED_TASKS_KEY: Final = SearchAttributeKey.for_keyword_list(TREE_FAILED_TASKS)
WAITING_ON_KEY: Final = SearchAttributeKey.for_keyword_list(TREE_WAITING_ON)

_KEYS: Final[Mapping[str, SearchAttributeKey[Any]]] = {
    key.name: key for key in (NAME_KEY, STATUS_KEY, FAILED_TASKS_KEY, WAITING_ON_KEY)
}


class Listing:
    """Keeps the attributes that the server has up to date; without any it does nothing."""

    def __init__(self, run: TreeRun, known: Sequence[str]) -> None:
        self._attributes = TreeAttributes(run)
        self._keys = {name: _KEYS[name] for name in known if name in _KEYS}
        told = workflow.info().typed_search_attributes  # by the run that this one continues
        self._told: dict[str, Any] = {name: told.get(key) or [] for name, key in self._keys.items()}

    def tell(self) -> None:
        """Upsert what has changed, which costs an event; most of the time nothing has."""
        if not self._keys:
            return
        values = self._attributes.values()
        changed = [name for name, told in self._told.items() if told != values[name]]
        if not changed:
            return
        updates: list[SearchAttributeUpdate[Any]] = [
            # An empty list could not be told from one that was never set.
            self._keys[name].value_set(values[name])
            if values[name]
            else self._keys[name].value_unset()
            for name in changed
        ]
        workflow.upsert_search_attributes(updates)  # pyright: ignore[reportUnknownMemberType]  # untyped in the SDK
        self._told |= {name: values[name] for name in changed}
