"""Every behaviour that running trees rely on, as a tree that shows it.

`python -m tests.replay.record` records those that have no history yet. A recorded history is never
recorded again: trees in the field were started by the code that wrote it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

from regrow import TaskContext, executor_register
from regrow.client import TreeCancelled, TreeClient, TreeFailed, TreeHandle
from regrow.core.problems import InvalidTree

Document = dict[str, Any] | list[Any]
Steer = Callable[[TreeHandle], Awaitable[None]]


@executor_register()
async def give(inputs: dict[str, Any]) -> Any:
    return inputs.get("value")


@executor_register()
async def fail(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"status": "failed", "error": "it broke", "error_type": "broken", "field": "x"}


@executor_register(retry={"initial_interval": "0.1s"})
async def fail_twice(inputs: dict[str, Any], context: TaskContext) -> str:
    if context.attempt < 3:
        raise ConnectionError("not yet")
    return "at last"


@executor_register(heartbeat_timeout="3s")
async def linger(inputs: dict[str, Any]) -> str:
    await asyncio.sleep(inputs.get("seconds", 30))
    return "done"


EXECUTORS: Final = (give, fail, fail_twice, linger)


def task(id: str, executor: str = "give", *after: Any, **fields: Any) -> dict[str, Any]:
    return {"id": id, "executor": executor, "dependencies": list(after), **fields}


def optional(id: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "required": False, **fields}


def tree(*tasks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"name": "recorded", "tasks": list(tasks), **fields}


BEHAVIOURS: Final[dict[str, Document]] = {
    "a_chain_passes_results_on": tree(
        task("a", inputs={"value": {"n": 1}}),
        task("b", "give", "a", inputs={"value": "${{ tasks.a.result.n }}"}),
        task("c", "give", {"id": "b", "into": "value"}),
    ),
    "a_fan_of_more_than_one_workflow_task_starts": tree(
        task("root"), *(task(f"t{at}", "give", "root") for at in range(130)), max_in_flight=200
    ),
    "a_window_admits_tasks_by_priority": tree(
        *(task(f"p{priority}", priority=priority) for priority in (3, 2, 1, 0)), max_in_flight=1
    ),
    "a_required_failure_skips_dependents": tree(
        task("p", "fail"), task("d", "give", "p"), task("e", "give", "d"), task("free")
    ),
    "an_optional_failure_is_tolerated": tree(
        task("primary", "fail"),
        task("fallback", "give", optional("primary"), inputs={"value": "spare"}),
        task("final", "give", optional("primary"), optional("fallback", into="value")),
    ),
    "an_allowed_failure_still_skips_what_requires_it": tree(
        task("a", "fail", allow_failure=True),
        task("b", "give", "a"),
        task("c", "give", optional("b")),
    ),
    "a_task_is_tried_again": tree(task("a", "fail_twice"), task("b", "give", "a")),
    "a_timeout_is_an_error": tree(
        task("a", "linger", start_to_close_timeout="1s", retry={"maximum_attempts": 1}),
        task("b", "give", optional("a")),
    ),
    "a_false_condition_skips": tree(
        task("a", inputs={"value": {"go": False}}),
        task("b", "give", "a", when="tasks.a.result.go"),
        task("c", "give", "b"),
        task("d", "give", optional("b")),
    ),
    "an_expression_error_fails_its_task": tree(
        task("a", inputs={"value": None}),
        task("b", "give", "a", inputs={"value": "n = ${{ tasks.a.result.n }}"}),
        task("c", "give", optional("b")),
    ),
    "a_group_settles_after_its_members": tree(
        {"id": "outer"},
        {"id": "inner", "parent_id": "outer"},
        task("a", parent_id="inner", inputs={"value": 1}),
        task("b", parent_id="outer", inputs={"value": 2}),
        task("after", "give", "outer", inputs={"value": "${{ tasks.a.result }}"}),
    ),
    "a_group_with_a_failed_member_fails": tree(
        {"id": "group"}, task("a", "fail", parent_id="group"), task("after", "give", "group")
    ),
    "a_sleep_waits": tree(
        {"id": "nap", "executor": "sleep", "inputs": {"duration": "1s"}}, task("a", "give", "nap")
    ),
    "results_are_aggregated": tree(
        task("a", inputs={"value": 1}),
        task("b", "fail"),
        {"id": "all", "executor": "aggregate_results", "dependencies": ["a", optional("b")]},
    ),
    "the_first_failure_cancels_the_rest": tree(
        task("slow", "linger"),
        task("bad", "fail"),
        task("later", "give", "slow"),
        on_failure="cancel",
    ),
    "a_null_result_satisfies": tree(task("a"), task("b", "give", "a")),
    "a_user_is_named_in_headers": tree(task("a"), user_id="acme"),
    "a_failing_output_fails_the_tree": tree(
        task("a"), outputs={"text": "n = ${{ tasks.a.result }}"}
    ),
    "the_seed_form_runs": [
        {"id": "t1", "name": "give", "user_id": "u", "inputs": {"value": 1}, "priority": 1},
        {
            "id": "t2",
            "name": "second",
            "user_id": "u",
            "parent_id": "t1",
            "schemas": {"method": "give"},
            "dependencies": [{"id": "t1", "required": True}],
        },
    ],
    "a_bad_document_fails_at_once": tree(task("a", "give", "nowhere")),
    "an_unknown_executor_fails_at_once": tree(task("a", "giv")),
}


async def cancel_soon(handle: TreeHandle) -> None:
    async for change in handle.watch():
        if change.task_id == "slow" and change.status == "in_progress":
            await handle.cancel("enough")
            return


STEERED: Final[dict[str, tuple[Document, Steer]]] = {
    "a_cancel_interrupts_what_runs": (
        tree(
            task("slow", "linger"),
            task("after", "give", "slow"),
            {"id": "nap", "executor": "sleep", "inputs": {"duration": "1h"}},
        ),
        cancel_soon,
    ),
}

CONTINUED: Final[dict[str, Document]] = {
    "a_long_tree_continues_as_new": tree(
        *(
            task(f"n{at}", "give", *([f"n{at - 1}"] if at else []), inputs={"value": at})
            for at in range(60)
        ),
        {"id": "nap", "executor": "sleep", "inputs": {"duration": "4s"}},
        task("bad", "fail", allow_failure=True),
        task("end", "give", "n59", "nap", "n0", optional("bad")),
    ),
}
"""Recorded on a server that suggests to continue as new after 100 events."""


async def run_once(
    client: TreeClient, document: Document, id: str, steer: Steer | None
) -> TreeHandle:
    """Run to whatever end; started as a stock tool would, so that bad documents get there."""
    await client.client.start_workflow("TaskTree", document, id=id, task_queue=client.task_queue)
    handle = client.get(id)
    if steer is not None:
        await steer(handle)
    with contextlib.suppress(InvalidTree, TreeFailed, TreeCancelled):
        await handle.result()
    return handle
