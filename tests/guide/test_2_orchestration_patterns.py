"""The guide's chapter 2, Orchestration Patterns, with its examples as it writes them."""

from itertools import pairwise

import pytest
from tests.conformance.running import scheduled
from tests.guide.conftest import Worker
from tests.guide.helping import Napping, ended, grouped, overlap, started

from regrow.compat import (
    TaskManager,
    TaskTreeNode,
    create_session,
    create_task,
    executor_register,
)


@executor_register("fetch_data")
class FetchData(Napping): ...


@executor_register("process_data")
class ProcessData(Napping): ...


NAP = {"seconds": 0.4}


async def test_2_1_good_a_dependency_orders(worker: Worker) -> None:
    # Task 1
    fetch = create_task(name="fetch_data", inputs=NAP)

    # Task 2 depends on Task 1 (execution order)
    process = create_task(
        name="process_data",
        parent_id=fetch.id,  # Organizational
        dependencies=[{"id": fetch.id, "required": True}],  # Execution order
        inputs=NAP,
    )
    root = TaskTreeNode(fetch)
    root.add_child(TaskTreeNode(process))
    async with worker(FetchData, ProcessData):
        await TaskManager(create_session()).distribute_task_tree(root)

    assert started(process) >= ended(fetch)


async def test_2_1_bad_a_parent_orders_nothing(worker: Worker) -> None:
    fetch = create_task(name="fetch_data", inputs=NAP)

    # Relying on parent-child for execution order
    process = create_task(
        name="process_data",
        parent_id=fetch.id,  # This doesn't guarantee execution order!
        inputs=NAP,
    )
    root = TaskTreeNode(fetch)
    root.add_child(TaskTreeNode(process))
    async with worker(FetchData, ProcessData):
        await TaskManager(create_session()).distribute_task_tree(root)

    assert overlap(fetch, process)


def build_tree(name: str) -> TaskTreeNode:
    """Build a pipeline of two steps."""
    first = create_task(name=name, inputs={"seconds": 0})
    root = TaskTreeNode(first)
    root.add_child(TaskTreeNode(create_task(name=name, dependencies=[{"id": first.id}])))
    return root


def build_collection_tree() -> TaskTreeNode:
    return build_tree("fetch_data")


def build_processing_tree() -> TaskTreeNode:
    return build_tree("process_data")


def build_storage_tree() -> TaskTreeNode:
    return build_tree("fetch_data")


async def test_2_2_good_trees_run_one_after_another(worker: Worker) -> None:
    async with worker(FetchData, ProcessData):
        task_manager = TaskManager(create_session())

        # Pipeline 1: Data collection
        collect_tree = build_collection_tree()

        # Pipeline 2: Data processing
        process_tree = build_processing_tree()

        # Pipeline 3: Data storage
        store_tree = build_storage_tree()

        # Execute sequentially
        await task_manager.distribute_task_tree(collect_tree)
        await task_manager.distribute_task_tree(process_tree)
        await task_manager.distribute_task_tree(store_tree)

    for earlier, later in pairwise([collect_tree, process_tree, store_tree]):
        assert started(later.task) >= ended(earlier.children[0].task)


def build_mega_tree_with_500_tasks() -> TaskTreeNode:
    """Build one massive tree: fifty chains of ten."""
    tasks = [create_task(name="fetch_data", inputs={"seconds": 0}) for _ in range(499)]
    for at, task in enumerate(tasks):
        if at % 10:
            task.dependencies = [{"id": tasks[at - 1].id, "required": True}]
    return grouped(*tasks)


async def test_2_2_bad_a_massive_tree_runs_all_the_same(worker: Worker) -> None:
    mega_tree = build_mega_tree_with_500_tasks()
    async with worker(FetchData):
        await TaskManager(create_session()).distribute_task_tree(mega_tree)

    assert {task.status for task, _ in mega_tree.walk()} == {"completed"}
    assert len(list(mega_tree.walk())) == 500


@executor_register("fetch_data_1")
class FetchData1(Napping): ...


@executor_register("fetch_data_2")
class FetchData2(Napping): ...


@executor_register("fetch_data_3")
class FetchData3(Napping): ...


async def test_2_3_good_independent_tasks_run_in_parallel(worker: Worker) -> None:
    root_task = create_task(name="root")

    # All three tasks can run in parallel
    task1 = create_task(name="fetch_data_1", inputs=NAP)  # No dependencies
    task2 = create_task(name="fetch_data_2", inputs=NAP)  # No dependencies
    task3 = create_task(name="fetch_data_3", inputs=NAP)  # No dependencies

    # Build tree
    root = TaskTreeNode(root_task)
    root.add_child(TaskTreeNode(task1))
    root.add_child(TaskTreeNode(task2))
    root.add_child(TaskTreeNode(task3))

    async with worker(FetchData1, FetchData2, FetchData3):
        task_manager = TaskManager(create_session())
        # All run in parallel!
        await task_manager.distribute_task_tree(root)

    assert overlap(task1, task2, task3)
    assert sorted(root_task.result) == sorted([task1.id, task2.id, task3.id])  # it is a group


@executor_register("primary_fetch")
class PrimaryFetch(Napping): ...


@executor_register("fallback_fetch")
class FallbackFetch(Napping): ...


@executor_register("process_result")
class ProcessResult(Napping): ...


@pytest.mark.parametrize("fails", [True, False], ids=["primary-fails", "primary-completes"])
async def test_2_4_good_a_fallback_stands_in(worker: Worker, *, fails: bool) -> None:
    # Primary task
    primary = create_task(name="primary_fetch", inputs={"fails": fails})

    # Fallback task (runs even if primary fails)
    fallback = create_task(
        name="fallback_fetch",
        dependencies=[{"id": primary.id, "required": False}],  # Optional
    )

    # Final task (runs after either primary or fallback)
    final = create_task(
        name="process_result",
        dependencies=[
            {"id": primary.id, "required": False},
            {"id": fallback.id, "required": False},
        ],
    )
    async with worker(PrimaryFetch, FallbackFetch, ProcessResult):
        root = grouped(primary, fallback, final)
        await TaskManager(create_session()).distribute_task_tree(root)

    assert primary.status == ("failed" if fails else "completed")
    assert (fallback.status, final.status) == ("completed", "completed")
    assert started(fallback) >= ended(primary)
    assert started(final) >= ended(fallback)
    assert list(final.result["given"]) == ([] if fails else [primary.id]) + [fallback.id]


@executor_register("process_payment")
class ProcessPayment(Napping): ...


@executor_register("cleanup")
class Cleanup(Napping): ...


async def test_2_5_good_priorities_order_what_is_ready(worker: Worker) -> None:
    # Priority convention
    URGENT = 0  # noqa: N806  # Critical/emergency only
    HIGH = 1  # noqa: N806  # High priority business tasks
    NORMAL = 2  # noqa: N806  # Default for most tasks
    LOW = 3  # noqa: N806  # Background/low priority
    assert [URGENT, HIGH, NORMAL, LOW] == [0, 1, 2, 3]

    # Payment processing (critical)
    payment = create_task(name="process_payment", priority=URGENT)

    # Data processing (normal)
    data = create_task(name="process_data", priority=NORMAL)

    # Cleanup (low priority)
    cleanup = create_task(name="cleanup", priority=LOW)

    root = grouped(cleanup, data, payment)
    async with worker(ProcessPayment, ProcessData, Cleanup) as client:
        await TaskManager(create_session()).distribute_task_tree(root)
        activities = await scheduled(client, root.task.id)

    order = [task_id for task_id in activities if task_id in (payment.id, data.id, cleanup.id)]
    assert order == [payment.id, data.id, cleanup.id]
    assert create_task(name="process_data").priority == NORMAL
