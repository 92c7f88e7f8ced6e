"""Random trees of which child workflows run parts end as the oracle says, as if there were none.

The limits are lowered, so that small trees are partitioned as large ones are. Executors see each
task once, under the key of the tree itself; every history replays, those of the partitions too.
REGROW_LONG=1 runs ten times as many.
"""

import asyncio
import copy
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, cast
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from tests.fuzz.language import expected, shape
from tests.fuzz.oracle import oracle, without_times
from tests.fuzz.strategies import Case, LanguageCase, cases, language_cases
from tests.fuzz.test_random_trees_on_temporal import SCRIPTS, TRACES, Probe, answering
from tests.fuzz.test_rerun import Executions

from regrow import BaseTask, Status, TaskContext, Trace, TreeFailed, executor_register
from regrow.client import TreeClient, TreeHandle
from regrow.core import limits
from regrow.core.result import TreeResult
from regrow.core.wire import is_partition
from regrow.embedded import EmbeddedServer
from regrow.testing import assert_replays, worker_env

TIMES: Final = 10 if os.environ.get("REGROW_LONG") else 1
AT_ONCE: Final = 8
SLOW: Final = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@executor_register("scripted")
class Scripted(BaseTask):
    """The same as the probe, under the name that trees of plain tasks give it."""

    async def execute(self, inputs: dict[str, Any], context: TaskContext) -> Any:
        return await Probe.execute(self, inputs, context)  # type: ignore[arg-type]  # alike


@dataclass(frozen=True)
class Sizes:
    """How small a tree is large, and how large a partition is."""

    above: int
    most: int
    least: int


@pytest.fixture(params=[Sizes(3, 6, 2), Sizes(5, 20, 3), Sizes(1, 4, 1)], ids=str)
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Sizes:
    chosen: Sizes = request.param
    monkeypatch.setattr(limits, "PARTITION_ABOVE", chosen.above)
    monkeypatch.setattr(limits, "PARTITION_TASKS", chosen.most)
    monkeypatch.setattr(limits, "PARTITION_LEAST", chosen.least)
    monkeypatch.setattr(limits, "REPORT_EXPORTS", timedelta(seconds=0.1))
    monkeypatch.setattr(limits, "REPORT_ALL", timedelta(seconds=0.5))
    return chosen


def collected(count: int, on_failure: str) -> list[LanguageCase]:
    """Draw cases: of plain tasks, and of the whole language; the window is any of three."""
    found: list[LanguageCase] = []

    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        suppress_health_check=SLOW,
    )
    @given(
        cases(max_tasks=40, on_failure=on_failure, far_references=on_failure != "cancel"),
        language_cases(max_tasks=25, depth=1, on_failure=on_failure),
    )
    def draw(plain: Case, whole: LanguageCase) -> None:
        same = LanguageCase(plain.document, dict(plain.script), plain.tree_inputs, plain.seed)
        for each in (same, whole):
            document = copy.deepcopy(each.document)
            document["max_in_flight"] = (1, 3, 100)[each.seed % 3]
            found.append(replace(each, document=document))

    draw()
    return found


# --- runs


async def ended(client: TreeClient, handle: TreeHandle) -> TreeResult:
    async with answering(client, handle.id):
        try:
            return await handle.result()
        except TreeFailed as failed:
            return failed.result


async def started(client: TreeClient, case: LanguageCase) -> TreeHandle:
    tree_id = f"parts-{uuid4().hex}"
    SCRIPTS[tree_id], TRACES[tree_id] = dict(case.script), Trace(inputs=Executions())
    return await client.start(dict(case.document), id=tree_id, inputs=case.tree_inputs)


def differences(seen: Any, wanted: Any, path: str = "") -> Iterator[str]:
    """Say where two shapes differ, in a line each: both are long."""
    if isinstance(seen, dict) and isinstance(wanted, dict):
        left, right = cast("dict[str, Any]", seen), cast("dict[str, Any]", wanted)
        for key in {**left, **right}:
            yield from differences(left.get(key), right.get(key), f"{path}/{key}")
    elif seen != wanted:
        yield f"{path}: {seen!r}, not {wanted!r}"


def agree(seen: Any, wanted: Any) -> None:
    if found := list(differences(seen, wanted)):
        pytest.fail("\n".join(found))


def plain(result: TreeResult) -> Any:
    tasks: Any = {
        task_id: task.model_dump(
            mode="json", include={"status", "result", "error", "error_type", "because"}
        )
        for task_id, task in result.tasks.items()
    }
    return without_times({"status": result.status.value, "outputs": result.outputs, "tasks": tasks})


async def check_seen(handle: TreeHandle, result: TreeResult) -> None:
    """Whoever reads the history, or watches, comes to the same, and sees each task move once."""
    read = await handle.status()
    agree(plain(read), plain(result))
    assert read.counts == result.counts
    changes = [change async for change in handle.watch()]
    assert (changes[-1].task_id, changes[-1].status) == (None, result.status)
    last = {change.task_id: change.status for change in changes if change.task_id is not None}
    statuses = {task_id: task.status for task_id, task in result.tasks.items()}
    assert last == {e: s for e, s in statuses.items() if s is not Status.PENDING}
    moves = Counter((change.task_id, change.status) for change in changes)
    assert [move for move, times in moves.items() if times > 1] == []


async def check_histories(handle: TreeHandle) -> int:
    """Replay the tree's history and those of all its children; gives how many partitions it had."""
    client, partitions = handle.client, 0
    ids = [handle.id]
    while ids:
        history = await client.get_workflow_handle(ids.pop()).fetch_history()
        await assert_replays(history)
        for event in history.events:
            begun = event.child_workflow_execution_started_event_attributes.workflow_execution
            if begun.workflow_id:
                ids.append(begun.workflow_id)
                partitions += is_partition(begun.workflow_id.rpartition("/")[2])
    return partitions


def executions(handle: TreeHandle) -> Counter[str]:
    inputs = TRACES[handle.id].inputs
    assert isinstance(inputs, Executions)
    return inputs.times


async def run_all(server: EmbeddedServer, found: list[LanguageCase], check: Any) -> None:
    async with worker_env(server.client, Probe, Scripted) as client:
        limit, partitions = asyncio.Semaphore(AT_ONCE), 0

        async def one(case: LanguageCase) -> None:
            nonlocal partitions
            async with limit:
                handle = await started(client, case)
                result = await ended(client, handle)
                try:
                    check(case, handle, result)
                    await check_seen(handle, result)
                    partitions += await check_histories(handle)
                except (AssertionError, pytest.fail.Exception) as error:
                    raise AssertionError(f"{error}, in {handle.id}: {case}") from error

        async with asyncio.TaskGroup() as group:
            for case in found:
                group.create_task(one(case))
        assert partitions


def check_against_oracle(case: LanguageCase, handle: TreeHandle, result: TreeResult) -> None:
    state = oracle(case.document, case.script, tree_inputs=case.tree_inputs, tree_id=handle.id)
    seen = shape(result, TRACES[handle.id], state)
    agree(seen, expected(state))
    again = [path for path, times in executions(handle).items() if times > 1]
    assert [path for path in again if _is_scripted_once(case, path)] == []


def _is_scripted_once(case: LanguageCase, path: str) -> bool:
    """Tell whether a task is to be tried just once; what items of maps share is left out."""
    return "[" not in path and not isinstance(case.script.get(path), list)


@pytest.mark.timeout(1200 if TIMES > 1 else 120)
async def test_trees_in_partitions_end_as_the_oracle_says(
    server: EmbeddedServer, sizes: Sizes
) -> None:
    await run_all(server, collected(4 * TIMES, "continue"), check_against_oracle)


@pytest.mark.timeout(1200 if TIMES > 1 else 120)
async def test_trees_in_partitions_that_give_up_are_read_as_they_ended(
    server: EmbeddedServer, sizes: Sizes
) -> None:
    def check(_: LanguageCase, __: TreeHandle, result: TreeResult) -> None:
        assert all(task.status.is_settled for task in result.tasks.values())

    await run_all(server, collected(2 * TIMES, "cancel"), check)
