"""Which of a tree's search attributes the server has."""

from datetime import timedelta
from typing import Final

import structlog
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client

from regrow.core.attributes import SEARCH_ATTRIBUTES

INDEXED_TYPES: Final = {
    "Keyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "KeywordList": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
}
_PATIENCE: Final = timedelta(seconds=2)

log = structlog.get_logger("regrow.worker")


async def registered_attributes(client: Client) -> tuple[str, ...]:
    """Give those that the client's namespace has, with the right type.

    None where the server doesn't say: trees do without them.
    """
    try:
        found = await attribute_types(client)
    except Exception as error:  # noqa: BLE001 - whatever it is, no tree may fail for it
        log.debug("search_attributes.unknown", error=str(error))
        return ()
    return tuple(
        name for name, kind in SEARCH_ATTRIBUTES.items() if found.get(name) == INDEXED_TYPES[kind]
    )


async def attribute_types(client: Client) -> dict[str, int]:
    """Ask for all that the namespace has of its own; raises `RPCError`."""
    request = ListSearchAttributesRequest(namespace=client.namespace)
    answer = await client.operator_service.list_search_attributes(request, timeout=_PATIENCE)
    return dict(answer.custom_attributes)
