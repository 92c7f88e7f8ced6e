"""The guide's chapter 7, Production Readiness, with its examples as it writes them."""
# ruff: noqa: BLE001, F541, G004, G201, TRY300, TRY400, UP041  - as the guide writes it

import asyncio
import sys
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.guide.conftest import Worker
from tests.guide.helping import Guide, grouped

from regrow.compat import (
    BaseTask,
    TaskManager,
    create_session,
    create_task,
    executor_register,
    get_logger,
)
from regrow.executors import ExecutorErrors, Registry

logger = get_logger(__name__)


async def process(inputs: Guide) -> str:
    """Take as long as is asked, and fail if that is asked."""
    await asyncio.sleep(inputs.get("seconds", 0))
    if inputs.get("fails"):
        raise RuntimeError("out of paper")
    return "printed"


@executor_register()
class LoggedExecutor(BaseTask):
    async def execute(self, inputs: Guide) -> Guide:
        logger.info(f"Starting execution with inputs: {inputs}")

        try:
            result = await self._process(inputs)
            logger.info(f"Execution completed successfully")
            return {"status": "completed", "result": result}
        except Exception as e:
            logger.error(f"Execution failed: {e}", exc_info=True)
            return {"status": "failed", "error": str(e)}

    async def _process(self, inputs: Guide) -> str:
        return await process(inputs)


@executor_register()
class MonitoredExecutor(BaseTask):
    async def execute(self, inputs: Guide) -> Guide:
        start_time = time.time()

        try:
            result = await self._process(inputs)
            duration = time.time() - start_time

            # Log metrics
            logger.info(f"Execution completed in {duration:.2f}s")

            return {"status": "completed", "result": result, "duration": duration}
        except Exception as e:
            duration = time.time() - start_time
            logger.error(f"Execution failed after {duration:.2f}s: {e}")
            return {"status": "failed", "error": str(e)}

    async def _process(self, inputs: Guide) -> str:
        return await process(inputs)


@executor_register()
class TimedExecutor(BaseTask):
    async def execute(self, inputs: Guide) -> Guide:
        timeout = inputs.get("timeout", 30)

        try:
            result = await asyncio.wait_for(self._process(inputs), timeout=timeout)
            return {"status": "completed", "result": result}
        except asyncio.TimeoutError:
            return {
                "status": "failed",
                "error": f"Operation timed out after {timeout}s",
                "error_type": "timeout",
            }

    async def _process(self, inputs: Guide) -> str:
        return await process(inputs)


async def test_7_1_good_what_an_executor_logs_is_written(worker: Worker) -> None:
    fine = create_task(name="logged_executor", inputs={"seconds": 0})
    fails = create_task(name="logged_executor", inputs={"fails": True})
    async with worker(LoggedExecutor):
        with capture_logs() as lines:
            await TaskManager(create_session()).distribute_task_tree(grouped(fine, fails))

    events = [line["event"] for line in lines]
    failures = [line for line in lines if line["event"] == "Execution failed: out of paper"]
    assert events.count("Starting execution with inputs: {'seconds': 0}") == 1
    assert events.count("Execution completed successfully") == 1
    assert [(line["log_level"], line["exc_info"]) for line in failures] == [("error", True)]
    assert (fine.status, fails.status, fails.error) == ("completed", "failed", "out of paper")


async def test_7_2_good_a_duration_is_kept_and_logged(worker: Worker) -> None:
    fine = create_task(name="monitored_executor", inputs={"seconds": 0.1})
    fails = create_task(name="monitored_executor", inputs={"fails": True})
    async with worker(MonitoredExecutor):
        with capture_logs() as lines:
            await TaskManager(create_session()).distribute_task_tree(grouped(fine, fails))

    events = [line["event"] for line in lines]
    assert f"Execution completed in {fine.metadata['duration']:.2f}s" in events
    assert any(event.startswith("Execution failed after 0.") for event in events)
    assert fine.metadata["duration"] >= 0.1
    assert fails.metadata["duration"] >= 0  # the worker measures, too


async def test_7_3_good_an_executor_may_limit_itself(worker: Worker) -> None:
    fine = create_task(name="timed_executor", inputs={"seconds": 0})
    slow = create_task(name="timed_executor", inputs={"seconds": 60, "timeout": 0.1})
    async with worker(TimedExecutor):
        await TaskManager(create_session()).distribute_task_tree(grouped(fine, slow))

    assert (fine.status, fine.result) == ("completed", "printed")
    assert (slow.error, slow.error_type) == ("Operation timed out after 0.1s", "timeout")


CONFIGURED = '''
import os

def validate_config():
    """Validate production configuration"""
    required_vars = ["API_KEY", "DATABASE_URL"]
    missing = [var for var in required_vars if not os.getenv(var)]

    if missing:
        raise ValueError(f"Missing required environment variables: {missing}")

# Call at startup
validate_config()

from regrow.compat import BaseTask, executor_register

@executor_register()
class ConfiguredExecutor(BaseTask):
    async def execute(self, inputs):
        return "configured"
'''


async def test_7_4_good_a_worker_that_lacks_configuration_does_not_start(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file := tmp_path / "configured_of_the_guide.py").write_text(CONFIGURED)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("API_KEY", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)

    lacking, complete = Registry(), Registry()
    lacking.discover([str(file)])
    with pytest.raises(ExecutorErrors) as refusal:
        lacking.check()
    assert "Missing required environment variables: ['API_KEY', 'DATABASE_URL']" in str(
        refusal.value
    )

    monkeypatch.setenv("API_KEY", "x")
    monkeypatch.setenv("DATABASE_URL", "x")
    complete.discover([str(file)])
    complete.check()
    task = create_task(name="configured_executor")
    async with worker(*(executor.target for executor in complete)):
        await TaskManager(create_session()).distribute_task_tree(grouped(task))
    assert task.result == "configured"
