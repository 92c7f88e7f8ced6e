"""A gRPC service on loopback, described at run time: nothing of it is generated."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import grpc
from google.protobuf import descriptor_pool, message_factory, timestamp_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    EnumValueDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)
from grpc import aio
from grpc_reflection.v1alpha import reflection, reflection_pb2

SERVICE: Final = "shop.v1.Orders"
_KINDS: Final = {
    "Get": (False, False),
    "Watch": (False, True),
    "Add": (True, False),
    "Chat": (True, True),
    "Refuse": (True, False),
}

_STATES: Final = ("UNKNOWN", "OPEN", "SHIPPED")

Context = aio.ServicerContext[Any, Any]


def _field(name: str, number: int, kind: Any, of: str | None = None) -> FieldDescriptorProto:
    label = FieldDescriptorProto.LABEL_OPTIONAL
    return FieldDescriptorProto(name=name, number=number, type=kind, type_name=of, label=label)


def _files() -> list[FileDescriptorProto]:
    """Give three files: the service imports the messages, and they import Google's."""
    stamp = FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(stamp)
    states = [EnumValueDescriptorProto(name=name, number=at) for at, name in enumerate(_STATES)]
    tags = _field("tags", 5, FieldDescriptorProto.TYPE_STRING)
    tags.label = FieldDescriptorProto.LABEL_REPEATED
    order = [
        _field("order_id", 1, FieldDescriptorProto.TYPE_STRING),
        _field("cents", 2, FieldDescriptorProto.TYPE_INT64),
        _field("state", 3, FieldDescriptorProto.TYPE_ENUM, ".shop.v1.State"),
        _field("at", 4, FieldDescriptorProto.TYPE_MESSAGE, ".google.protobuf.Timestamp"),
        tags,
    ]
    types = FileDescriptorProto(
        name="shop/v1/types.proto",
        package="shop.v1",
        syntax="proto3",
        dependency=[stamp.name],
        message_type=[DescriptorProto(name="Order", field=order)],
        enum_type=[EnumDescriptorProto(name="State", value=states)],
    )
    methods = [
        MethodDescriptorProto(
            name=name,
            input_type=".shop.v1.Order",
            output_type=".shop.v1.Order",
            client_streaming=takes,
            server_streaming=gives,
        )
        for name, (takes, gives) in _KINDS.items()
    ]
    service = FileDescriptorProto(
        name="shop/v1/orders.proto",
        package="shop.v1",
        syntax="proto3",
        dependency=[types.name],
        service=[ServiceDescriptorProto(name="Orders", method=methods)],
    )
    return [stamp, types, service]


FILES: Final = _files()
DESCRIPTOR_SET: Final = FileDescriptorSet(file=FILES).SerializeToString()
POOL: Final = descriptor_pool.DescriptorPool()
for _file in FILES:
    POOL.Add(_file)
Order: Final[Any] = message_factory.GetMessageClass(POOL.FindMessageTypeByName("shop.v1.Order"))


@dataclass
class Shop:
    """The service; it remembers what it was asked, and what became of it."""

    port: int = 0
    calls: list[tuple[str, dict[str, str]]] = field(default_factory=list[Any])
    """Names of methods and the metadata that came with them."""
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def get(self, order: Any, context: Context) -> Any:
        """Give the order back; its id says how that ends."""
        verb, _, rest = str(order.order_id).partition(" ")
        match verb:
            case "abort":
                code, _, details = rest.partition(" ")
                await context.abort(grpc.StatusCode[code], details)
            case "hang":
                await self._hang()
            case "big":
                return Order(tags=["x" * int(rest)])
            case "echo":
                said = dict(self.calls[-1][1])
                await context.abort(grpc.StatusCode.INTERNAL, f"I was told {said}")
            case _:
                pass
        return order

    async def watch(self, order: Any, context: Context) -> AsyncIterator[Any]:
        """Give as many orders as the first one costs; endless for -1."""
        number = 0
        while number != order.cents:
            number += 1
            yield Order(order_id=order.order_id, cents=number)
        if order.order_id == "hang":
            await self._hang()
        await self._fail_late(order, context)

    async def add(self, orders: AsyncIterator[Any], _: Context) -> Any:
        """Add up."""
        return Order(cents=sum([order.cents async for order in orders]))

    async def chat(self, orders: AsyncIterator[Any], _: Context) -> AsyncIterator[Any]:
        """Answer each."""
        async for order in orders:
            yield Order(order_id=f"about {order.order_id}")

    async def refuse(self, _: AsyncIterator[Any], context: Context) -> Any:
        """Answer before anything was read."""
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not you")

    async def _fail_late(self, order: Any, context: Context) -> None:
        if order.order_id == "abort":
            await context.abort(grpc.StatusCode.ABORTED, "after some answers")

    async def _hang(self) -> None:
        self.begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        path, _, name = handler_call_details.method.rpartition("/")
        if path != f"/{SERVICE}":
            return None
        pairs = handler_call_details.invocation_metadata
        self._shop.calls.append((name, {str(key): str(value) for key, value in pairs}))
        takes, gives = ("stream" if many else "unary" for many in _KINDS[name])
        made: Any = getattr(grpc, f"{takes}_{gives}_rpc_method_handler")
        return made(getattr(self._shop, name.lower()), Order.FromString, Order.SerializeToString)


def _reflection(version: str) -> grpc.GenericRpcHandler:
    """Tell the types, under the name of either version: their messages are the same."""
    servicer: Any = reflection.aio.ReflectionServicer((SERVICE,), POOL)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    name = f"grpc.reflection.{version}.ServerReflection"
    return grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler})


@asynccontextmanager
async def serving(
    credentials: grpc.ServerCredentials | None = None,
    *,
    reflects: Literal["v1", "v1alpha"] | None = "v1alpha",
) -> AsyncGenerator[Shop]:
    """Serve on a free port; with credentials by TLS."""
    shop, server = Shop(), aio.server()
    server.add_generic_rpc_handlers((_Handlers(shop),))
    if reflects:
        server.add_generic_rpc_handlers((_reflection(reflects),))
    if credentials:
        shop.port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        shop.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield shop
    finally:
        await server.stop(0)
