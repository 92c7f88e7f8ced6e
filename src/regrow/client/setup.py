"""Prepare a server for trees: register the search attributes by which they are listed."""

from dataclasses import dataclass

from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from regrow.activities.attributes import INDEXED_TYPES, attribute_types
from regrow.client.errors import TreeError
from regrow.core.attributes import SEARCH_ATTRIBUTES


class SetupRefused(TreeError):  # noqa: N818 - named as the other errors of the contract
    """The server doesn't let itself be set up; the message says what else can be done."""


class NotSetUp(TreeError):  # noqa: N818 - likewise
    """The server lacks search attributes without which the question has no answer."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(
            f"the server doesn't know which trees wait: it lacks {' and '.join(names)};"
            " `regrow setup` registers them, for trees that start from then on"
        )
        self.names = names


@dataclass(frozen=True, slots=True)
class Setup:
    """What a namespace has: the search attributes that were there, and those just added."""

    namespace: str
    there: tuple[str, ...]
    added: tuple[str, ...]


async def set_up(client: Client) -> Setup:
    """Register the search attributes that are missing; doing it again changes nothing.

    Raises `SetupRefused`, such as without permission, or where a name is taken by another type.
    """
    try:
        found = await attribute_types(client)
        _refuse_other_types(found)
        missing = tuple(name for name in SEARCH_ATTRIBUTES if name not in found)
        if missing:
            await _add(client, missing)
    except RPCError as error:
        raise SetupRefused(_advice(client.namespace, error)) from None
    there = tuple(name for name in SEARCH_ATTRIBUTES if name in found)
    return Setup(client.namespace, there, missing)


async def _add(client: Client, names: tuple[str, ...]) -> None:
    types = {name: INDEXED_TYPES[SEARCH_ATTRIBUTES[name]] for name in names}
    request = AddSearchAttributesRequest(namespace=client.namespace, search_attributes=types)
    try:
        await client.operator_service.add_search_attributes(request)
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS:  # somebody else was faster
            raise


def _refuse_other_types(found: dict[str, int]) -> None:
    for name, kind in SEARCH_ATTRIBUTES.items():
        if name in found and found[name] != INDEXED_TYPES[kind]:
            raise SetupRefused(
                f"the namespace has a search attribute {name} that is no {kind}; trees do without"
                " it until it is removed and `regrow setup` is run again"
            )


def _advice(namespace: str, error: RPCError) -> str:
    wanted = " ".join(f"--name {name} --type {kind}" for name, kind in SEARCH_ATTRIBUTES.items())
    return (
        f"the server refuses it ({error.message}); whoever may can run: temporal operator"
        f" search-attribute create --namespace {namespace} {wanted}"
    )
