"""`grpc_call` against a real gRPC server on loopback, whose types only reflection tells."""

import asyncio
import base64
import socket
from typing import Any

import grpc
import pytest
import trustme
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tests.executors.names import know
from tests.executors.peers.grpc_shop import DESCRIPTOR_SET, FILES, Shop, serving
from tests.executors.running import as_text, cancel_one, run_one

from regrow import Status, TreeClient
from regrow.activities.catalogue.grpc import MAX_ANSWER, GrpcResponse, grpc_call
from regrow.executors import Registry, TaskContext, TaskError

GRPC_CALL = Registry(grpc_call)["grpc_call"]
TYPES = base64.b64encode(DESCRIPTOR_SET).decode()

pytestmark = pytest.mark.usefixtures("loopback")


def inputs_for(shop: Shop, method: str = "Get", **inputs: Any) -> dict[str, Any]:
    path = method if "/" in method else f"shop.v1.Orders/{method}"
    return {"target": shop.target, "method": path, "plaintext": True, **inputs}


async def send(shop: Shop, method: str = "Get", **inputs: Any) -> GrpcResponse:
    """Call as the host does: with JSON."""
    context = TaskContext(tree_id="orders-7", task_id="charge")
    return await GRPC_CALL.call(inputs_for(shop, method, **inputs), context)


async def failure(shop: Shop, method: str = "Get", **inputs: Any) -> TaskError:
    with pytest.raises(TaskError) as raised:
        await send(shop, method, **inputs)
    return raised.value


# Messages, in and out


async def test_a_message_goes_and_comes_as_json_by_the_types_that_the_server_tells() -> None:
    order: dict[str, Any] = {
        "orderId": "7",
        "cents": "9007199254740993",
        "state": "SHIPPED",
        "at": "2026-01-02T03:04:05Z",
        "tags": ["a", "ü"],
    }

    async with serving() as shop:
        answer = await send(shop, request=order)

    assert answer == GrpcResponse(response=order, truncated=False)


async def test_names_may_be_written_as_in_the_proto_and_empty_fields_are_shown() -> None:
    async with serving() as shop:
        answer = await send(shop, request={"order_id": "7"})

    assert answer.response == {"orderId": "7", "cents": "0", "state": "UNKNOWN", "tags": []}


async def test_a_server_may_speak_the_newer_reflection_alone() -> None:
    async with serving(reflects="v1") as shop:
        answer = await send(shop, request={"orderId": "7"})

    assert isinstance(answer.response, dict)


async def test_types_may_be_given_instead_of_asked_for() -> None:
    async with serving(reflects=None) as shop:
        answer = await send(shop, request={"orderId": "7"}, descriptor_set=TYPES)

        assert isinstance(answer.response, dict)
        assert answer.response["orderId"] == "7"


async def test_answers_of_a_stream_are_a_list() -> None:
    async with serving() as shop:
        answer = await send(shop, "Watch", request={"orderId": "w", "cents": 3})

    assert isinstance(answer.response, list)
    assert [each["cents"] for each in answer.response if isinstance(each, dict)] == ["1", "2", "3"]
    assert not answer.truncated


async def test_a_stream_that_gives_nothing_is_an_empty_list() -> None:
    async with serving() as shop:
        assert await send(shop, "Watch") == GrpcResponse(response=[])


async def test_a_stream_is_left_after_as_many_answers_as_were_asked_for() -> None:
    async with serving() as shop:
        answer = await send(shop, "Watch", request={"cents": -1}, max_responses=5)

    assert isinstance(answer.response, list)
    assert (len(answer.response), answer.truncated) == (5, True)


@pytest.mark.parametrize(("cents", "total"), [([1, 2, 3], "6"), ([4], "4"), ([], "0")])
async def test_a_method_that_takes_a_stream_is_given_a_list(cents: list[int], total: str) -> None:
    async with serving() as shop:
        answer = await send(shop, "Add", requests=[{"cents": each} for each in cents])

    assert isinstance(answer.response, dict)
    assert answer.response["cents"] == total


async def test_streams_may_go_both_ways() -> None:
    async with serving() as shop:
        answer = await send(shop, "Chat", requests=[{"orderId": "a"}, {"orderId": "b"}])

    assert isinstance(answer.response, list)
    names = [each["orderId"] for each in answer.response if isinstance(each, dict)]
    assert names == ["about a", "about b"]


async def test_metadata_and_the_tasks_idempotency_key_come_along() -> None:
    async with serving() as shop:
        await send(shop, metadata={"Authorization": "Bearer t", "x-n": "1"})
        await send(shop, metadata={"idempotency-key": "mine"})

    (_, first), (_, second) = shop.calls
    assert (first["authorization"], first["x-n"]) == ("Bearer t", "1")
    assert first["idempotency-key"] == "orders-7/charge"
    assert second["idempotency-key"] == "mine"


async def test_a_host_with_addresses_of_both_families_is_reached_by_the_one_that_answers() -> None:
    async with serving() as shop:
        shop_by_name = {"target": f"localhost:{shop.port}"}
        answer = await send(shop, request={"orderId": "7"}, **shop_by_name)

    assert isinstance(answer.response, dict)


# What is refused before anything is sent


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({"target": "example.com"}, "target: write host:port"),
        ({"target": "https://example.com:443"}, "target: "),
        ({"target": "example.com:0"}, "target: a port lies between"),
        ({"target": "unix:/var/run/x:1"}, "target: "),
        ({"method": "/Get"}, "method: write package.Service/Method"),
        ({"request": 1, "requests": [1]}, "give either request or requests"),
        ({"root_certificates": "x"}, "root_certificates: write certificates as PEM text"),
        ({"metadata": {"a b": "c"}}, "metadata.a b.[key]: "),
        ({"metadata": {"x-bin": "c"}}, "names with grpc- or -bin"),
        ({"metadata": {"x": "s3cr3t\n"}}, "a value has printable ASCII characters only"),
        ({"descriptor_set": "a"}, "descriptor_set: "),
        ({"timeout": 0}, "timeout: "),
        ({"max_responses": 0}, "max_responses: "),
    ],
)
async def test_unusable_inputs_are_refused(inputs: dict[str, Any], problem: str) -> None:
    refused = await failure(Shop(port=1), **inputs)

    assert refused.error_type == "validation_error"
    assert problem in refused.error
    assert "s3cr3t" not in refused.error


async def test_a_place_that_is_not_public_needs_the_operators_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("REGROW_HTTP_ALLOW")

    async with serving() as shop:
        refused = await failure(shop)

    assert (refused.error_type, refused.retryable) == ("not_allowed", False)
    assert shop.calls == []


@pytest.mark.parametrize(
    ("method", "inputs", "problem"),
    [
        ("Get", {"request": {"oder": 1}}, "request is no shop.v1.Order: Message type"),
        ("Get", {"request": [1]}, "request is no shop.v1.Order: "),
        ("Get", {"request": {"cents": "many"}}, "request is no shop.v1.Order: "),
        ("Get", {"requests": [{"cents": 1}]}, "the method takes one message; give it as request"),
        (
            "Add",
            {"request": {"cents": 1}},
            "the method takes a stream of messages; give a list: requests",
        ),
        ("Add", {"requests": [{"cents": 1}, {"x": 1}]}, "requests[1] is no shop.v1.Order: "),
    ],
)
async def test_messages_that_do_not_fit_the_method_are_refused(
    method: str, inputs: dict[str, Any], problem: str
) -> None:
    async with serving() as shop:
        refused = await failure(shop, method, **inputs)

    assert (refused.error_type, refused.retryable) == ("validation_error", False)
    assert problem in refused.error
    assert shop.calls == []


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (b"\xff", "it is no FileDescriptorSet"),
        (b"", "it is empty"),
        (FileDescriptorSet(file=FILES[1:]).SerializeToString(), "it lacks 'google/protobuf/time"),
    ],
)
async def test_types_that_cannot_be_used_are_the_authors_mistake(
    given: bytes, problem: str
) -> None:
    refused = await failure(Shop(port=1), descriptor_set=base64.b64encode(given).decode())

    assert (refused.error_type, refused.retryable) == ("validation_error", False)
    assert f"descriptor_set cannot be used: {problem}" in refused.error


# What a server says


@pytest.mark.parametrize(
    ("code", "error_type", "retryable"),
    [
        ("UNAVAILABLE", "grpc_error", True),
        ("RESOURCE_EXHAUSTED", "grpc_error", True),
        ("ABORTED", "grpc_error", True),
        ("DEADLINE_EXCEEDED", "timeout_error", True),
        ("UNAUTHENTICATED", "authentication_error", False),
        ("UNIMPLEMENTED", "not_found", False),
        ("NOT_FOUND", "grpc_error", False),
        ("INVALID_ARGUMENT", "grpc_error", False),
        ("PERMISSION_DENIED", "grpc_error", False),
        ("FAILED_PRECONDITION", "grpc_error", False),
        ("CANCELLED", "grpc_error", False),
        ("INTERNAL", "grpc_error", False),
    ],
)
async def test_the_status_decides_whether_another_attempt_could_help(
    code: str, error_type: str, *, retryable: bool
) -> None:
    async with serving() as shop:
        failed = await failure(shop, request={"orderId": f"abort {code} so it is"})

        assert failed.error == f"shop.v1.Orders/Get at {shop.target}: {code}: so it is"
    assert (failed.error_type, failed.retryable) == (error_type, retryable)
    assert failed.details == {"code": code}


async def test_a_stream_that_fails_after_some_answers_fails() -> None:
    async with serving() as shop:
        failed = await failure(shop, "Watch", request={"orderId": "abort", "cents": 2})

    assert (failed.error_type, failed.retryable) == ("grpc_error", True)


async def test_a_method_that_is_not_there_is_told_with_those_that_are() -> None:
    async with serving() as shop:
        failed = await failure(shop, "Fetch")

    assert (failed.error_type, failed.retryable) == ("not_found", False)
    assert failed.error.endswith(
        ": the service has no method 'Fetch'; it has: Get, Watch, Add, Chat, Refuse"
    )


async def test_a_service_that_is_not_there_is_told() -> None:
    async with serving() as shop:
        asked = await failure(shop, method="shop.v2.Orders/Get")
        given = await failure(shop, method="shop.v2.Orders/Get", descriptor_set=TYPES)

    assert (asked.error_type, given.error_type) == ("not_found", "not_found")
    assert asked.error.endswith(": the server doesn't know 'shop.v2.Orders'")
    assert given.error.endswith(": the types have no service 'shop.v2.Orders'")


async def test_a_server_without_reflection_is_told_what_to_do_about() -> None:
    async with serving(reflects=None) as shop:
        failed = await failure(shop)

    assert (failed.error_type, failed.retryable) == ("grpc_error", False)
    assert failed.error.endswith("; give them as descriptor_set")


@pytest.mark.parametrize("size", [MAX_ANSWER + 1, 5 * MAX_ANSWER])
async def test_an_answer_that_is_too_large_fails_for_good(size: int) -> None:
    async with serving() as shop:
        failed = await failure(shop, request={"orderId": f"big {size}"})

    assert (failed.error_type, failed.retryable) == ("payload_too_large", False)


async def test_a_refusal_while_messages_are_still_sent_is_told_as_it_is() -> None:
    many = [{"orderId": "x" * 1_000}] * 500

    async with serving() as shop:
        for _ in range(20):
            failed = await failure(shop, "Refuse", requests=many)
            assert failed.details == {"code": "PERMISSION_DENIED"}


async def test_answers_that_are_too_large_together_end_the_stream() -> None:
    async with serving() as shop:
        order = {"orderId": "x" * 200_000, "cents": -1}
        failed = await failure(shop, "Watch", request=order)

    assert (failed.error_type, failed.retryable) == ("payload_too_large", False)


async def test_what_a_server_echoes_does_not_show_the_metadata() -> None:
    async with serving() as shop:
        secret = {"authorization": "Bearer hunter2-of-the-test"}
        failed = await failure(shop, request={"orderId": "echo"}, metadata=secret)

    assert "I was told" in failed.error
    assert "hunter2" not in failed.error


# The connection


async def test_a_port_that_nobody_listens_on_is_worth_another_attempt() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        failed = await failure(Shop(port=held.getsockname()[1]))

    assert (failed.error_type, failed.retryable) == ("connection_error", True)
    assert failed.error.endswith(
        "no connection: Failed to connect to remote host: Connection refused"
    )


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def certificate(authority: trustme.CA, host: str) -> grpc.ServerCredentials:
    issued = authority.issue_cert(host)
    chain = b"".join(each.bytes() for each in issued.cert_chain_pems)
    return grpc.ssl_server_credentials([(issued.private_key_pem.bytes(), chain)])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_tls_is_the_default_and_checks_the_name_that_the_author_wrote(
    host: str, authority: trustme.CA
) -> None:
    roots = authority.cert_pem.bytes().decode()

    async with serving(certificate(authority, host)) as shop:
        answer = await send(
            shop, target=f"{host}:{shop.port}", plaintext=False, root_certificates=roots
        )

    assert isinstance(answer.response, dict)


async def test_a_certificate_for_another_name_fails_for_good(authority: trustme.CA) -> None:
    roots = authority.cert_pem.bytes().decode()

    async with serving(certificate(authority, "elsewhere.example")) as shop:
        failed = await failure(shop, plaintext=False, root_certificates=roots)

    assert (failed.error_type, failed.retryable) == ("tls_error", False)
    assert failed.error.endswith(": the certificate isn't for this host")


async def test_a_certificate_that_nobody_vouches_for_fails_for_good(
    authority: trustme.CA,
) -> None:
    async with serving(certificate(authority, "127.0.0.1")) as shop:
        failed = await failure(shop, plaintext=False)

    assert (failed.error_type, failed.retryable) == ("tls_error", False)
    assert failed.error.endswith(
        ": the certificate isn't valid: unable to get local issuer certificate;"
        " root_certificates names who is trusted"
    )


async def test_a_port_that_speaks_no_tls_is_a_tls_error_that_says_so() -> None:
    async with serving() as shop:
        failed = await failure(shop, plaintext=False)

    assert (failed.error_type, failed.retryable) == ("tls_error", False)
    assert failed.error.endswith("it speaks no TLS; where that is right, set plaintext: true")


async def test_a_host_is_looked_up_once_and_keeps_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = know(monkeypatch, {"shop.example": ["127.0.0.1", "192.0.2.1"]})

    async with serving() as shop:
        answer = await send(shop, target=f"shop.example:{shop.port}")

    assert isinstance(answer.response, dict)
    assert asked == {"shop.example": 1}


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async with serving() as shop:
        answer = await send(shop)

    assert isinstance(answer.response, dict)


# As tasks


async def test_a_task_gets_the_answer(client: TreeClient) -> None:
    async with serving() as shop:
        ended = await run_one(client, "grpc_call", inputs_for(shop, request={"orderId": "7"}))

    assert ended.result["response"]["orderId"] == "7"


async def test_a_passing_failure_is_tried_again_with_the_same_key(client: TreeClient) -> None:
    async with serving() as shop:
        request = {"orderId": "abort UNAVAILABLE busy"}
        ended = await run_one(client, "grpc_call", inputs_for(shop, request=request))

    assert ended.failure == ("grpc_error", 3)
    keys = [metadata["idempotency-key"] for _, metadata in shop.calls]
    assert len(keys) == 3
    assert len(set(keys)) == 1


async def test_a_lasting_failure_is_not(client: TreeClient) -> None:
    async with serving() as shop:
        request = {"orderId": "abort NOT_FOUND gone"}
        ended = await run_one(client, "grpc_call", inputs_for(shop, request=request))

    assert ended.failure == ("grpc_error", 1)
    assert ended.task.metadata["code"] == "NOT_FOUND"


@pytest.mark.parametrize("method", ["Get", "Watch"])
async def test_a_timeout_cancels_the_call_at_the_server(method: str, client: TreeClient) -> None:
    async with serving() as shop:
        inputs = inputs_for(shop, method, request={"orderId": "hang"}, timeout="1s")
        ended = await run_one(client, "grpc_call", inputs, retry={"maximum_attempts": 1})
        async with asyncio.timeout(10):
            await shop.cancelled.wait()

    assert ended.failure == ("timeout_error", 1)
    assert ended.task.error == (
        f"shop.v1.Orders/{method} at {shop.target}: no complete answer within the timeout of 1s"
    )


@pytest.mark.parametrize("method", ["Get", "Watch"])
async def test_a_cancel_reaches_the_server(method: str, client: TreeClient) -> None:
    async with serving() as shop:
        inputs = inputs_for(shop, method, request={"orderId": "hang"})
        ended = await cancel_one(client, "grpc_call", inputs, when=shop.begun.wait)
        async with asyncio.timeout(10):
            await shop.cancelled.wait()

    assert ended.task.status is Status.CANCELLED


async def test_a_secret_is_sent_and_appears_nowhere(
    client: TreeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_SECRET_TOKEN", "s3cr3t-value-of-the-test")

    async with serving() as shop:
        inputs = inputs_for(
            shop,
            request={"orderId": "echo"},
            metadata={"authorization": "Bearer ${{ secrets.TOKEN }}"},
        )
        ended = await run_one(client, "grpc_call", inputs)

    assert shop.calls[-1][1]["authorization"] == "Bearer s3cr3t-value-of-the-test"
    assert "I was told" in as_text(ended)
    assert "s3cr3t" not in ended.traces
