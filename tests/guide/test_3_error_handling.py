"""The guide's chapter 3, Error Handling, with its examples as it writes them."""
# ruff: noqa: BLE001, TRY300  - as the guide writes it

import asyncio
from typing import Any

import pytest
from tests.guide.conftest import Worker
from tests.guide.helping import Guide, Napping, below, ended, grouped, started

from regrow.compat import (
    BaseTask,
    TaskManager,
    create_session,
    create_task,
    executor_register,
)


@executor_register(retry={"initial_interval": "50ms", "maximum_attempts": 2})
class ReturnsErrors(BaseTask):
    async def execute(self, inputs: Guide) -> Guide:
        try:
            result = await self._process(inputs)
            return {"status": "completed", "result": result}
        except ValueError as e:
            return {
                "status": "failed",
                "error": str(e),
                "error_type": "validation_error",
                "field": "input_data",
            }
        except TimeoutError as e:
            return {
                "status": "failed",
                "error": str(e),
                "error_type": "timeout_error",
                "retryable": True,
            }
        except Exception as e:
            return {
                "status": "failed",
                "error": str(e),
                "error_type": "execution_error",
            }

    async def _process(self, inputs: Guide) -> str:
        troubles = {
            "value": ValueError("not a date"),
            "slow": TimeoutError("no answer"),
            "other": RuntimeError("broken"),
        }
        if inputs["case"] in troubles:
            raise troubles[inputs["case"]]
        return "done"


async def test_3_1_good_an_error_is_an_answer_with_its_context(worker: Worker) -> None:
    cases = ("fine", "value", "slow", "other")
    tasks = [create_task(name="returns_errors", inputs={"case": case}) for case in cases]
    async with worker(ReturnsErrors):
        await TaskManager(create_session()).distribute_task_tree(grouped(*tasks))

    assert [(task.error_type, task.error, task.attempts) for task in tasks] == [
        (None, None, 1),
        ("validation_error", "not a date", 1),
        ("timeout_error", "no answer", 2),
        ("execution_error", "broken", 1),
    ]
    assert tasks[1].metadata["field"] == "input_data"


@executor_register("fetch_data")
class FetchData(Napping): ...


@executor_register("process_data")
class ProcessData(Napping): ...


async def test_3_2_good_a_failed_dependency_is_found(
    worker: Worker, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch = create_task(name="fetch_data", inputs={"fails": True})
    process = create_task(name="process_data", dependencies=[{"id": fetch.id}])
    task_id = process.id
    async with worker(FetchData, ProcessData):
        task_manager = TaskManager(create_session())
        await task_manager.distribute_task_tree(below(fetch, [process]))

        # After execution, check dependencies
        task = await task_manager.task_repository.get_task_by_id(task_id)

        if task and task.status == "failed":
            # Check if dependencies failed
            for dep in task.dependencies:
                dep_task = await task_manager.task_repository.get_task_by_id(dep["id"])
                if dep_task and dep_task.status == "failed":
                    print(f"Dependency {dep['id']} failed: {dep_task.error}")  # noqa: T201
                    # Handle dependency failure

    assert f"Dependency {fetch.id} failed: {fetch.id} broke\n" in capsys.readouterr().out
    assert task is process
    assert process.started_at is None


@executor_register("critical_task")
class CriticalTask(Napping): ...


@executor_register("optional_enhancement")
class OptionalEnhancement(Napping): ...


@executor_register("final_task")
class FinalTask(Napping): ...


@pytest.mark.parametrize(
    ("fails", "ends"),
    [
        ("", ["completed", "completed", "completed"]),
        ("optional", ["completed", "failed", "completed"]),
        ("critical", ["failed", "completed", "failed"]),
    ],
    ids=["none-fails", "optional-fails", "critical-fails"],
)
async def test_3_3_good_what_is_optional_may_fail(
    worker: Worker, fails: str, ends: list[str]
) -> None:
    # Critical path
    critical = create_task(name="critical_task", inputs={"fails": fails == "critical"})

    # Optional enhancement (nice to have, but not required)
    optional = create_task(
        name="optional_enhancement",
        dependencies=[{"id": critical.id, "required": False}],  # Optional
        inputs={"fails": fails == "optional", "seconds": 0.3},
    )

    # Final task (works with or without optional)
    final = create_task(
        name="final_task",
        dependencies=[
            {"id": critical.id, "required": True},  # Required
            {"id": optional.id, "required": False},  # Optional
        ],
    )
    async with worker(CriticalTask, OptionalEnhancement, FinalTask):
        root = grouped(critical, optional, final)
        await TaskManager(create_session()).distribute_task_tree(root)

    assert [task.status for task in (critical, optional, final)] == ends
    if final.status == "completed":
        assert started(final) >= ended(optional)
    else:
        assert final.error == f"it did not run, because {critical.id} failed: {critical.error}"


class TransientError(Exception):
    """Passes by itself."""


@executor_register()
class RetriesItself(BaseTask):
    async def execute(self, inputs: Guide) -> Guide:
        max_retries = inputs.get("max_retries", 3)
        retry_delay = inputs.get("retry_delay", 1.0)

        for attempt in range(max_retries):
            try:
                result = await self._process(inputs, attempt)
                return {"status": "completed", "result": result, "attempts": attempt + 1}
            except TransientError as e:
                if attempt < max_retries - 1:
                    await asyncio.sleep(retry_delay * (attempt + 1))  # Exponential backoff
                    continue
                else:  # noqa: RET507
                    return {
                        "status": "failed",
                        "error": str(e),
                        "error_type": "transient_error",
                        "attempts": max_retries,
                    }
        return {"status": "failed"}

    async def _process(self, inputs: Guide, attempt: int) -> Any:
        if attempt < inputs["passes_after"]:
            message = f"attempt {attempt + 1}"
            raise TransientError(message)
        return "done"


async def test_3_4_good_an_executor_may_try_again_itself(worker: Worker) -> None:
    recovers, never = (
        create_task(name="retries_itself", inputs={"passes_after": after, "retry_delay": 0.02})
        for after in (2, 9)
    )
    async with worker(RetriesItself):
        await TaskManager(create_session()).distribute_task_tree(grouped(recovers, never))

    assert (recovers.result, recovers.metadata["attempts"]) == ("done", 3)
    assert (never.error, never.error_type) == ("attempt 3", "transient_error")
    assert never.metadata["attempts"] == 3
    assert (recovers.attempts, never.attempts) == (1, 1)  # to Temporal it is one
