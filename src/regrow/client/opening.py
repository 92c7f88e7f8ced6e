"""Opening what a payload codec has sealed in the events of a history."""

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.history.v1 import HistoryEvent
from temporalio.converter import DataConverter, PayloadCodec


async def open_payloads(converter: DataConverter, events: Iterable[HistoryEvent]) -> None:
    """Decode every payload of the events in its place, if the client has a codec."""
    if (codec := converter.payload_codec) is not None:
        for event in events:
            await _open(codec, list(_payloads(event)))


async def _open(codec: PayloadCodec, sealed: list[Payload]) -> None:
    for payload in sealed:
        [plain] = await codec.decode([payload])
        payload.CopyFrom(plain)


def _payloads(message: Message) -> Iterator[Payload]:
    """Find the payloads in a message, however deep."""
    if isinstance(message, Payload):
        yield message
        return
    for field, value in message.ListFields():
        for inner in _held(value) if field.message_type is not None else ():
            if isinstance(inner, Message):
                yield from _payloads(inner)


def _held(value: Any) -> Iterable[Any]:
    """Give what a field holds: one message, a list of them, or a mapping to values."""
    if isinstance(value, Message):
        return [value]
    return value.values() if hasattr(value, "values") else value
