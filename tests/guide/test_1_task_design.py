"""The guide's chapter 1, Task Design, with its examples as it writes them."""
# ruff: noqa: BLE001, SIM117, UP015  - as the guide writes it

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiofiles
import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs
from tests.guide.conftest import Worker
from tests.guide.helping import Guide, grouped, overlap

from regrow.compat import (
    BaseTask,
    TaskManager,
    TaskTreeNode,
    create_session,
    create_task,
    executor_register,
)

DONE: list[str] = []
"""What the executors of this chapter did, in their order."""


@executor_register()
class FetchUserData(BaseTask):
    """Fetches user data from API"""

    async def execute(self, inputs: Guide) -> Guide:
        DONE.append("fetch")
        return {"status": "completed", "result": {"id": inputs["user_id"], "name": "ann"}}


@executor_register()
class ProcessUserData(BaseTask):
    """Processes user data"""

    async def execute(self, inputs: Guide) -> Guide:
        DONE.append("process")
        [user] = inputs.values()
        return {"status": "completed", "result": {**user, "name": user["name"].title()}}


def save(user: Guide) -> Guide:
    """Save, but for the first time that it is tried."""
    DONE.append("save")
    if DONE.count("save") == 1:
        raise ConnectionError("the database is away")
    return {"saved": user}


@executor_register()
class SaveUserData(BaseTask):
    """Saves user data to database"""

    async def execute(self, inputs: Guide) -> Guide:
        [user] = inputs.values()
        return {"status": "completed", "result": save(user)}


@executor_register()
class DoEverythingWithUserData(BaseTask):
    """Fetches, processes, saves, and sends notifications"""

    async def execute(self, inputs: Guide) -> Guide:
        DONE.extend(["fetch", "process"])
        saved = save({"id": inputs["user_id"], "name": "Ann"})
        return {"status": "completed", "result": saved}


async def test_1_1_good_one_thing_each_so_that_only_what_failed_is_repeated(worker: Worker) -> None:
    DONE.clear()
    async with worker(FetchUserData, ProcessUserData, SaveUserData):
        task_manager = TaskManager(create_session())
        fetch = create_task(name="fetch_user_data", inputs={"user_id": "123"})
        process = create_task(name="process_user_data", dependencies=[{"id": fetch.id}])
        keep = create_task(name="save_user_data", dependencies=[{"id": process.id}])
        root = TaskTreeNode(fetch)
        root.add_child(TaskTreeNode(process))
        root.add_child(TaskTreeNode(keep))
        await task_manager.distribute_task_tree(root)

    assert (keep.status, keep.result) == ("completed", {"saved": {"id": "123", "name": "Ann"}})
    assert DONE == ["fetch", "process", "save", "save"]


async def test_1_1_bad_all_in_one_is_repeated_as_a_whole(worker: Worker) -> None:
    DONE.clear()
    async with worker(DoEverythingWithUserData):
        all_in_one = create_task(name="do_everything_with_user_data", inputs={"user_id": "123"})
        await TaskManager(create_session()).distribute_task_tree(TaskTreeNode(all_in_one))

    assert (all_in_one.status, all_in_one.attempts) == ("completed", 2)
    assert DONE == ["fetch", "process", "save", "fetch", "process", "save"]


PROCESSED: dict[str, Any] = {}


@executor_register()
class OnceForEachUser(BaseTask):
    async def execute(self, inputs: Guide) -> Guide:
        user_id = inputs.get("user_id")

        # Check if already processed
        existing = await self._check_if_processed(user_id)
        if existing:
            return {"status": "completed", "result": existing, "cached": True}

        # Process
        result = await self._process(user_id)
        await self._save_result(user_id, result)

        return {"status": "completed", "result": result}

    async def _check_if_processed(self, user_id: Any) -> Any:
        return PROCESSED.get(user_id)

    async def _process(self, user_id: Any) -> Any:
        DONE.append(user_id)
        return {"greeted": user_id}

    async def _save_result(self, user_id: Any, result: Any) -> None:
        PROCESSED[user_id] = result


async def test_1_2_good_an_idempotent_task_has_its_effect_once(worker: Worker) -> None:
    DONE.clear()
    PROCESSED.clear()
    async with worker(OnceForEachUser):
        task_manager = TaskManager(create_session())
        first, second = (
            create_task(name="once_for_each_user", inputs={"user_id": "123"}) for _ in range(2)
        )
        await task_manager.distribute_task_tree(TaskTreeNode(first))
        await task_manager.distribute_task_tree(TaskTreeNode(second))

    assert DONE == ["123"]
    assert first.result == second.result == {"greeted": "123"}
    assert second.metadata["cached"] is True


@executor_register()
class ValidatesEarly(BaseTask):
    async def execute(self, inputs: Guide) -> Guide:
        # Validate immediately
        url = inputs.get("url")
        if not url:
            return {
                "status": "failed",
                "error": "URL is required",
                "error_type": "validation_error",
            }

        if not isinstance(url, str):
            return {
                "status": "failed",
                "error": "URL must be a string",
                "error_type": "type_error",
            }

        if not url.startswith(("http://", "https://")):
            return {
                "status": "failed",
                "error": "URL must start with http:// or https://",
                "error_type": "validation_error",
            }

        # Continue with execution
        return {"status": "completed", "result": url}


@pytest.mark.parametrize(
    ("inputs", "error_type"),
    [
        ({}, "validation_error"),
        ({"url": 7}, "type_error"),
        ({"url": "ftp://example.test"}, "validation_error"),
        ({"url": "https://example.test"}, None),
    ],
    ids=["missing", "number", "ftp", "fine"],
)
async def test_1_3_good_invalid_inputs_fail_fast(
    worker: Worker, inputs: Guide, error_type: str | None
) -> None:
    async with worker(ValidatesEarly):
        task = create_task(name="validates_early", inputs=inputs)
        await TaskManager(create_session()).distribute_task_tree(TaskTreeNode(task))

    assert (task.error_type, task.attempts) == (error_type, 1)
    assert task.error is None if error_type is None else (task.error or "").startswith("URL ")


@executor_register()
class Consistent(BaseTask):
    async def execute(self, inputs: Guide) -> Guide:
        try:
            result = await self._process(inputs)
            return {
                "status": "completed",
                "result": result,
                "metadata": {
                    "processed_at": datetime.now(UTC).isoformat(),
                    "input_count": len(inputs),
                },
            }
        except Exception as e:
            return {
                "status": "failed",
                "error": str(e),
                "error_type": type(e).__name__,
            }

    async def _process(self, inputs: Guide) -> int:
        return int(inputs["number"])


@executor_register()
class Inconsistent(BaseTask):
    async def execute(self, inputs: Guide) -> Any:
        result = inputs["number"]
        forms: Guide = {
            "bare": result,
            "wrapped": {"data": result},
            "other": {"output": result, "success": True},
        }
        return forms[inputs["form"]]


async def test_1_4_good_a_result_and_an_error_keep_their_form(worker: Worker) -> None:
    fine = create_task(name="consistent", inputs={"number": "7"})
    wrong = create_task(name="consistent", inputs={"number": "x"})
    async with worker(Consistent):
        await TaskManager(create_session()).distribute_task_tree(grouped(fine, wrong))

    assert (fine.status, fine.result, fine.metadata["input_count"]) == ("completed", 7, 1)
    assert datetime.fromisoformat(fine.metadata["processed_at"])
    assert (wrong.status, wrong.error_type) == ("failed", "ValueError")
    assert "invalid literal" in (wrong.error or "")


async def test_1_4_bad_every_form_is_a_result_which_the_next_must_know(worker: Worker) -> None:
    forms = ("bare", "wrapped", "other")
    tasks = [create_task(name="inconsistent", inputs={"number": 7, "form": f}) for f in forms]
    async with worker(Inconsistent):
        await TaskManager(create_session()).distribute_task_tree(grouped(*tasks))

    assert {task.status for task in tasks} == {"completed"}
    assert [task.result for task in tasks] == [7, {"data": 7}, {"output": 7, "success": True}]


@executor_register()
class Awaiting(BaseTask):
    async def execute(self, inputs: Guide) -> Guide:
        url, file_path = inputs["url"], inputs["file_path"]

        # Async HTTP request
        async with aiohttp.ClientSession() as session:
            async with session.get(url) as response:
                data = await response.json()

        # Async file operation
        async with aiofiles.open(file_path, "r") as f:
            content = await f.read()

        return {"status": "completed", "data": data, "content": content}


@executor_register()
class Blocking(BaseTask):
    async def execute(self, inputs: Guide) -> Guide:
        url, file_path = inputs["url"], inputs["file_path"]

        # Blocking HTTP request
        import requests  # noqa: PLC0415

        response = requests.get(url)  # noqa: ASYNC210  # Blocks the event loop!
        assert response.status_code == 200

        # Blocking file operation
        with open(file_path, "r") as f:  # noqa: ASYNC230, PTH123
            f.read()  # Blocks!

        return {"status": "completed"}


async def slow_site(delay: float) -> tuple[web.AppRunner, str]:
    """Serve an answer that takes its time."""

    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(delay)
        return web.json_response({"city": "Bonn"})

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    return runner, f"http://{host}:{port}/"


async def test_1_5_good_what_awaits_runs_side_by_side(worker: Worker, tmp_path: Path) -> None:
    (file := tmp_path / "notes.txt").write_text("hello")
    runner, url = await slow_site(0.5)
    inputs = {"url": url, "file_path": str(file)}
    tasks = [create_task(name="awaiting", inputs=inputs) for _ in range(3)]
    async with worker(Awaiting):
        await TaskManager(create_session()).distribute_task_tree(grouped(*tasks))
    await runner.cleanup()

    assert tasks[0].result == {"data": {"city": "Bonn"}, "content": "hello"}
    assert overlap(*tasks)


async def test_1_5_bad_what_blocks_works_but_is_named_in_a_warning(
    worker: Worker, tmp_path: Path
) -> None:
    (file := tmp_path / "notes.txt").write_text("hello")
    runner, url = await slow_site(1.8)
    task = create_task(name="blocking", inputs={"url": url, "file_path": str(file)})
    async with worker(Blocking):
        with capture_logs() as lines:
            await TaskManager(create_session()).distribute_task_tree(TaskTreeNode(task))
    await runner.cleanup()

    warnings = [line for line in lines if line["event"] == "executor.blocks_loop"]
    assert task.status == "completed"
    assert task.id in warnings[0]["task"]
