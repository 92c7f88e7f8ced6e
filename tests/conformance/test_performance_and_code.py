"""The guide's sections "Performance Optimization" (PO-1) and "Code Organization" (CO-1 to CO-4)."""

import json
import sys
from pathlib import Path
from subprocess import run
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel, Field
from pydantic_settings import BaseSettings
from temporalio.worker import Replayer, Worker
from tests.conformance.executors import nap
from tests.conformance.hand_written import CallUrls
from tests.conformance.running import ended, overlap, run_tree, scheduled, spent, task, tree
from tests.conformance.url_rules import validate_url

from regrow import BaseTask, TreeClient, executor_register
from regrow.activities.catalogue import make_registry
from regrow.activities.host import ExecutorHost
from regrow.embedded import EmbeddedServer
from regrow.executors import ExecutorErrors, Registry
from regrow.plugin import RegrowPlugin
from regrow.settings import load_settings
from regrow.testing import worker_env
from regrow.worker import running_worker

Guide = dict[str, Any]
ROOT = Path(__file__).parents[2]


async def test_po1_the_whole_takes_as_long_as_its_longest_part(server: EmbeddedServer) -> None:
    lengths = [0.1 * n for n in range(1, 11)]
    tasks = [task(f"t{n}", executor="nap", inputs={"seconds": s}) for n, s in enumerate(lengths)]
    async with worker_env(server.client, nap) as client:
        result = await run_tree(client, tree(*tasks))

    assert overlap(*list(result.tasks.values())[4:])
    assert max(lengths) <= spent(result) < sum(lengths) / 2  # 1 s, not 5.5 s


EXECUTOR = '''
from typing import Any

from regrow import BaseTask, executor_register

@executor_register(tags=["{domain}"])
class {name}(BaseTask):
    """{name} of the domain {domain}."""

    async def execute(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {{"status": "completed", "result": [*inputs.get("before", []), "{domain}"]}}
'''


def write_project(root: Path, **modules: str) -> str:
    """Write the guide's folders, with a class in each module; gives the name of the package."""
    package = f"shop_{uuid4().hex[:8]}"
    (root / package).mkdir()
    (root / package / "__init__.py").touch()
    for name, class_name in modules.items():
        domain, module = name.split("_", 1)
        folder = root / package / domain
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").touch()
        (folder / f"{module}.py").write_text(EXECUTOR.format(domain=domain, name=class_name))
    return package


def regrow(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "regrow", *arguments]
    done = run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


async def test_co1_executors_are_discovered_by_domain(
    server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = write_project(
        tmp_path, data_fetch="Fetch", data_process="Process", api_http="Send", storage_db="Save"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    registry = Registry()
    registry.discover([package])
    registry.check()
    steps = ("fetch", "process", "send", "save")
    edges = [{"id": step, "into": "before"} for step in steps]
    tasks = [{"id": step, "dependencies": edges[at - 1 : at]} for at, step in enumerate(steps)]
    client = TreeClient(server.client, task_queue=package)
    async with running_worker(server.client, registry, load_settings(task_queue=package)):
        result = await run_tree(client, tree(*tasks))

    assert {each.id: each.tags for each in registry} == {
        "send": ("api",),
        "fetch": ("data",),
        "process": ("data",),
        "save": ("storage",),
    }
    assert result.outputs == {"save": ["data", "data", "api", "storage"]}


def test_co1_an_id_that_is_used_twice_is_reported_at_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = write_project(
        tmp_path, data_fetch="Fetch", api_fetch="Fetch", api_http="HttpRequest", storage_db="Save"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    with pytest.raises(ExecutorErrors) as refusal:
        make_registry((package,))
    code, _, said = regrow("worker", "--executors", package, cwd=tmp_path)

    twice, reserved = sorted(refusal.value.problems)
    assert f"{package}.data.fetch.Fetch" in twice
    assert f"{package}.api.fetch.Fetch" in twice
    assert "'http_request' is the id of a built-in executor" in reserved
    assert code == 1
    assert twice in said
    assert reserved in said


def test_co1_the_list_of_executors_shows_their_domain(tmp_path: Path) -> None:
    package = write_project(tmp_path, data_fetch="Fetch", storage_db="Save")

    code, text, _ = regrow("executors", "--executors", package, cwd=tmp_path)
    _, shapes, _ = regrow("executors", "--executors", package, "-o", "json", cwd=tmp_path)

    shown = {each["id"]: each for each in json.loads(shapes)}
    assert code == 0
    assert all(word in text for word in ("fetch", "data", "save", "storage"))
    assert shown["fetch"]["source"] == f"{package}.data.fetch.Fetch"
    assert shown["save"]["tags"] == ["storage"]


@executor_register()
class APICallExecutor(BaseTask):
    """Calls an API, as the guide's example of shared utilities does."""

    id = "api_call_executor"

    async def execute(self, inputs: Guide) -> Guide:
        url = inputs["url"]
        if not validate_url(url):
            return {"status": "failed", "error": "Invalid URL"}
        return {"status": "completed", "result": f"called {url}"}


async def test_co2_a_shared_utility_serves_executors(server: EmbeddedServer) -> None:
    document = tree(
        task("good", executor="api_call_executor", inputs={"url": "https://a.test"}),
        task("bad", executor="api_call_executor", inputs={"url": "ftp://a.test"}),
    )
    async with worker_env(server.client, APICallExecutor) as client:
        result = await run_tree(client, document)

    assert result.tasks["good"].result == "called https://a.test"
    assert result.tasks["bad"].error == "Invalid URL"


async def test_co2_a_shared_utility_serves_sandboxed_workflow_code(server: EmbeddedServer) -> None:
    queue = f"by-hand-{uuid4().hex[:8]}"
    async with (
        ExecutorHost(Registry(APICallExecutor)) as host,
        Worker(server.client, task_queue=queue, workflows=[CallUrls], activities=host.activities()),
    ):
        handle = await server.client.start_workflow(
            CallUrls.run, ["https://a.test", "ftp://a.test"], id=queue, task_queue=queue
        )
        answers = await handle.result()

    replayer = Replayer(workflows=[CallUrls], plugins=[RegrowPlugin()])
    await replayer.replay_workflow(await handle.fetch_history())
    assert [answer["result"] for answer in answers] == ["called https://a.test"]


class ApiSettings(BaseSettings):
    """What the guide keeps in config.py."""

    api_timeout: int = 30
    max_retries: int = 3


async def test_co3_settings_come_from_the_worker_and_a_task_overrides_them(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TIMEOUT", "7")
    monkeypatch.setenv("MAX_RETRIES", "2")
    config = ApiSettings()

    @executor_register(
        "call", start_to_close_timeout=60, retry={"maximum_attempts": config.max_retries}
    )
    async def call(inputs: Guide) -> int:
        return inputs.get("timeout", config.api_timeout)

    document = tree(
        task("default", executor="call"),
        task(
            "own",
            executor="call",
            inputs={"timeout": 5},
            start_to_close_timeout="20s",
            retry={"maximum_attempts": 4},
        ),
    )
    async with worker_env(server.client, call) as client:
        handle = await client.start(document)
        await handle.result()
        monkeypatch.setenv("MAX_RETRIES", "9")  # read by the worker once, by the workflow never
        result = await ended(client, handle)
        policies = await scheduled(client, result.tree_id)

    assert result.outputs == {"default": 7, "own": 5}
    assert {
        name: (each.retry_policy.maximum_attempts, each.start_to_close_timeout.seconds)
        for name, each in policies.items()
    } == {"default": (2, 60), "own": (4, 20)}


class UserQuery(BaseModel):
    user_id: str = Field(description="The ID of the user to fetch")
    include_profile: bool = Field(default=False, description="Whether to include profile data")


class User(BaseModel):
    user_id: str
    name: str


@executor_register("user_data_fetcher", tags=["data"])
async def fetch_user(inputs: UserQuery) -> User:
    """Fetches user data from the API.

    Example: inputs={"user_id": "123"}
    """
    return User(user_id=inputs.user_id, name="ann")


def test_co4_an_executor_describes_itself() -> None:
    described = Registry(fetch_user, APICallExecutor)["user_data_fetcher"]

    assert described.description.splitlines()[0] == "Fetches user data from the API."
    assert described.tags == ("data",)
    assert described.input_schema()["required"] == ["user_id"]
    assert described.input_schema()["properties"]["include_profile"] == {
        "default": False,
        "description": "Whether to include profile data",
        "title": "Include Profile",
        "type": "boolean",
    }
    assert sorted(described.output_schema()["properties"]) == ["name", "user_id"]


def test_co4_the_command_line_prints_every_schema() -> None:
    code, text, _ = regrow("executors", "--schema", "--executors", __file__, cwd=ROOT)

    shown = {each["id"]: each for each in json.loads(text)}
    assert code == 0
    assert shown["user_data_fetcher"]["input_schema"] == UserQuery.model_json_schema()
    assert shown["user_data_fetcher"]["output_schema"] == User.model_json_schema(
        mode="serialization"
    )
    assert shown["api_call_executor"]["description"].startswith("Calls an API")
    assert all(
        {"id", "description", "input_schema", "output_schema"} <= each.keys()
        for each in shown.values()
    )
