"""A secret is named by the document, known to the worker, and in no history or log."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.executors.running import run_one

from regrow import InvalidTree, TaskContext, TaskError, TreeClient, executor_register, load
from regrow.embedded import EmbeddedServer
from regrow.hooks import ChangedInputs, TaskCall, before_task
from regrow.testing import worker_env

VALUE = "s3cr3t-of-the-test"
seen: list[Any] = []


@executor_register()
async def use(inputs: dict[str, Any], context: TaskContext) -> Any:
    seen.append(inputs)
    context.heartbeat({"said": inputs.get("token")})
    if inputs.get("logs"):
        token = inputs["token"]
        context.log.warning("sent", what=token, to=[token], error=RuntimeError(token))
        logging.getLogger("a.library").warning("plain %s", token)
    if inputs.get("raises") == "odd":
        raise TaskError("no", error_type="mine", tried=(inputs["token"],), by={1: "x"})  # type: ignore[arg-type]
    if inputs.get("raises") == "task":
        raise TaskError(f"refused {inputs['token']}", error_type="refused", shown=inputs["token"])
    if inputs.get("raises"):
        raise RuntimeError(f"refused {inputs['token']}")
    return {"echo": inputs.get("token"), "length": len(inputs.get("token", ""))}


@executor_register()
def use_in_thread(inputs: dict[str, Any]) -> Any:
    return {"echo": inputs["token"]}


@executor_register()
async def tell(inputs: dict[str, Any]) -> str:
    return "${{ secrets.TOKEN }}"


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    seen.clear()
    monkeypatch.setenv("REGROW_SECRET_TOKEN", VALUE)


@pytest.fixture(scope="module")
async def client(server: EmbeddedServer) -> Any:
    async with worker_env(server.client, use, use_in_thread, tell) as connected:
        yield connected


@pytest.mark.usefixtures("token")
async def test_the_executor_gets_the_value_and_history_the_name(client: TreeClient) -> None:
    inputs = {"token": "${{secrets.TOKEN}}", "deep": [{"text": "Bearer ${{ secrets.TOKEN }}!"}]}

    ended = await run_one(client, "use", inputs)

    assert seen == [{"token": VALUE, "deep": [{"text": f"Bearer {VALUE}!"}]}]
    assert ended.result == {"echo": "***", "length": len(VALUE)}
    assert VALUE not in ended.traces
    assert "Bearer ${{ secrets.TOKEN }}!" in ended.traces


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize("raises", ["task", "anything"])
async def test_no_failure_shows_it(client: TreeClient, raises: str) -> None:
    ended = await run_one(client, "use", {"token": "${{ secrets.TOKEN }}", "raises": raises})

    assert ended.task.error == "refused ***"
    assert ended.failure == {"task": ("refused", 1), "anything": ("RuntimeError", 3)}[raises]
    assert VALUE not in ended.traces


def everything_in(folder: Path) -> str:
    return "".join(file.read_text() for file in folder.rglob("*"))


@pytest.mark.usefixtures("token")
async def test_details_of_any_kind_are_scrubbed_and_keep_the_authors_error(
    client: TreeClient,
) -> None:
    ended = await run_one(client, "use", {"token": "${{ secrets.TOKEN }}", "raises": "odd"})

    assert ended.failure == ("mine", 1)
    assert ended.task.metadata["tried"] == ["***"]
    assert VALUE not in ended.traces


@pytest.mark.usefixtures("token")
async def test_hooks_and_the_cache_know_the_name_alone(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    known: list[Any] = []

    @executor_register(cache="1h")
    async def keep(inputs: dict[str, Any]) -> Any:
        return {"length": len(inputs["token"])}

    @before_task()
    async def look(call: TaskCall) -> None:
        known.append(call.inputs)

    named, text = {"token": "${{ secrets.TOKEN }}"}, "${{ secrets.TOKEN }}"
    async with worker_env(server.client, keep, look, cache=tmp_path.as_uri()) as client:
        first = await run_one(client, "keep", named)
        items = [{**named, "n": 1}]
        batch = await run_one(client, "batch", {"executor": "keep", "items": items})
        tree: dict[str, Any] = {
            "inputs": {"given": ""},
            "tasks": [{"id": "keep", "inputs": {"token": "${{ inputs.given }}"}}],
        }
        other = await (await client.start(tree, inputs={"given": text})).result()

    assert VALUE not in repr(known)
    assert VALUE not in everything_in(tmp_path)
    assert first.result == {"length": len(VALUE)}
    assert batch.result["results"] == [{"length": len(VALUE)}]
    assert other.outputs["keep"] == {"length": len(text)}  # not what was kept for the author's


@pytest.mark.usefixtures("token")
async def test_a_hook_cannot_move_text_into_a_secrets_place(server: EmbeddedServer) -> None:
    @before_task("use")
    async def drop_first(call: TaskCall) -> ChangedInputs:
        inputs: Any = call.inputs
        return ChangedInputs({**inputs, "list": inputs["list"][1:]})

    tree: dict[str, Any] = {
        "inputs": {"given": ""},
        "tasks": [
            {
                "id": "use",
                "inputs": {"list": ["${{ secrets.TOKEN }}", "${{ inputs.given }}"], "token": ""},
            }
        ],
    }
    async with worker_env(server.client, use, drop_first) as client:
        handle = await client.start(tree, inputs={"given": "${{ secrets.TOKEN }}"})
        await handle.result()

    assert seen == [{"list": ["${{ secrets.TOKEN }}"], "token": ""}]


@pytest.mark.usefixtures("token")
async def test_a_plain_function_gets_it_too(client: TreeClient) -> None:
    ended = await run_one(client, "use_in_thread", {"token": "${{ secrets.TOKEN }}"})

    assert ended.result == {"echo": "***"}


@pytest.mark.usefixtures("token")
async def test_text_that_comes_from_elsewhere_stays_text(client: TreeClient) -> None:
    text = "${{ secrets.TOKEN }}"
    tree: dict[str, Any] = {
        "inputs": {"given": ""},
        "tasks": [
            {"id": "tell"},
            {
                "id": "use",
                "dependencies": ["tell"],
                "inputs": {
                    "all": "${{ tasks.tell.result }}",
                    "mixed": "${{ inputs.given }} ${{ secrets.TOKEN }} ${{ tasks.tell.result }}",
                    "token": "",
                },
            },
        ],
    }
    handle = await client.start(tree, inputs={"given": text})
    await handle.result()

    assert seen == [{"all": text, "mixed": f"{text} {VALUE} {text}", "token": ""}]


@pytest.mark.usefixtures("token")
async def test_items_of_a_map_and_compensations_get_it(client: TreeClient) -> None:
    named = {"token": "${{ item }} ${{ secrets.TOKEN }}"}
    undo = {"executor": "use", "inputs": {"token": "undo ${{ secrets.TOKEN }}"}}
    tree: dict[str, Any] = {
        "tasks": [
            {"id": "use", "for_each": ["a", "b"], "inputs": named, "compensate": undo},
            {"id": "bad", "executor": "use", "dependencies": ["use"], "inputs": {"raises": "task"}},
        ]
    }
    tree["tasks"][1]["inputs"]["token"] = "none"
    handle = await client.start(tree)
    with pytest.raises(Exception, match="bad"):
        await handle.result()

    given = [inputs["token"] for inputs in seen]
    assert sorted(given[:2]) == [f"a {VALUE}", f"b {VALUE}"]
    assert given[2:] == ["none", f"undo {VALUE}"]


async def test_a_secret_may_be_a_file(
    client: TreeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "KEY").write_text(f"{VALUE}\n")
    monkeypatch.setenv("REGROW_SECRETS_DIR", str(tmp_path))

    ended = await run_one(client, "use", {"token": "${{ secrets.KEY }}"})

    assert ended.result == {"echo": "***", "length": len(VALUE)}


async def test_an_unknown_secret_fails_by_its_name(client: TreeClient) -> None:
    ended = await run_one(client, "use", {"token": "${{ secrets.NOWHERE }}"})

    assert ended.failure == ("unknown_secret", 1)
    assert "REGROW_SECRET_NOWHERE" in (ended.task.error or "")


@pytest.mark.usefixtures("token")
async def test_no_line_of_a_log_shows_it(
    client: TreeClient, json_lines: Callable[[], list[Any]]
) -> None:
    handle = await client.start(
        [{"id": "use", "inputs": {"token": "${{ secrets.TOKEN }}", "logs": True}}]
    )
    await handle.result()

    lines = repr(json_lines())
    assert "sent" in lines
    assert "plain ***" in lines
    assert VALUE not in lines


@pytest.mark.parametrize(
    ("task", "found"),
    [
        ({"inputs": {"a": "${{ secrets }}"}}, "a secret can only be named"),
        ({"inputs": {"a": "${{ length(secrets.A) }}"}}, "a secret can only be named"),
        ({"inputs": {"a": '${{ secrets."a-b" }}'}}, "a secret can only be named"),
        ({"when": "secrets.A"}, "a secret can only be named"),
        ({"for_each": "${{ secrets.A }}"}, "a secret can only be named"),
        ({"for_each": ["${{ secrets.A }}"]}, "a secret can only be given to an executor"),
        ({"executor": "approval", "inputs": {"prompt": "${{ secrets.A }}"}}, "only be given"),
        (
            {
                "inputs": {"a": "${{ secrets.A }}"},
                "tree": {"inputs": {"a": 1}, "tasks": [{"id": "b"}]},
            },
            "only be given",
        ),
    ],
)
def test_a_secret_can_only_be_named_in_an_executors_inputs(task: Any, found: str) -> None:
    with pytest.raises(InvalidTree, match=found):
        load({"tasks": [{"id": "use", **task}]})


def test_an_output_cannot_name_one() -> None:
    with pytest.raises(InvalidTree, match="only be given"):
        load({"outputs": {"a": "${{ secrets.A }}"}, "tasks": [{"id": "use"}]})
