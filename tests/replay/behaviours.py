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
from regrow.hooks import TreeEvent, on_tree

Document = dict[str, Any] | list[Any]
Steer = Callable[[TreeHandle], Awaitable[TreeHandle | None]]
"""What people do to a tree; gives another one if that is to be recorded."""

MENDED: dict[str, bool] = {}
"""The trees, by id, in which nothing fails any more."""


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


@executor_register()
async def fail_odd(inputs: dict[str, Any]) -> dict[str, Any]:
    if inputs["n"] % 2:
        return {"status": "failed", "error": f"{inputs['n']} is odd", "error_type": "odd"}
    return {"half": inputs["n"] // 2}


@executor_register()
async def fail_until_mended(inputs: dict[str, Any], context: TaskContext) -> Any:
    root = context.idempotency_key.partition("/")[0]
    if inputs.get("breaks", True) and root not in MENDED:
        return {"status": "failed", "error": "it broke", "error_type": "broken"}
    return inputs.get("value")


EXECUTORS: Final = (give, fail, fail_odd, fail_twice, fail_until_mended, linger)


def task(id: str, executor: str = "give", *after: Any, **fields: Any) -> dict[str, Any]:
    return {"id": id, "executor": executor, "dependencies": list(after), **fields}


def optional(id: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "required": False, **fields}


def undo(task_id: str) -> dict[str, Any]:
    return {"executor": "give", "inputs": {"value": f"undo ${{{{ tasks.{task_id}.status }}}}"}}


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
    "a_map_runs_its_items": tree(
        task("list", inputs={"value": ["a", "b", "c"]}),
        task(
            "each",
            "give",
            "list",
            for_each="tasks.list.result",
            inputs={"value": "${{ item }}${{ index }}"},
            max_in_flight=2,
        ),
        task("end", "give", {"id": "each", "into": "value"}),
        task("none", for_each=[], inputs={"value": 1}),
    ),
    "a_map_stops_beyond_what_it_tolerates": tree(
        task("most", "fail_odd", for_each=[0, 1, 2], inputs={"n": "${{ item }}"}, tolerate="34%"),
        task(
            "few", "fail_odd", for_each=[1, 3, 5, 7], inputs={"n": "${{ item }}"}, max_in_flight=1
        ),
        task("after", "give", "few"),
    ),
    "an_item_is_tried_again": tree(task("each", "fail_twice", for_each=[1, 2])),
    "a_sub_tree_is_a_workflow": tree(
        task("a", inputs={"value": 2}),
        {
            "id": "sub",
            "dependencies": [{"id": "a", "into": "n"}],
            "tree": tree(
                task("x", inputs={"value": "${{ inputs.n }}"}),
                task("y", "give", "x"),
                inputs={"n": 0},
                outputs={"twice": ["${{ tasks.x.result }}", "${{ tasks.x.result }}"]},
            ),
        },
        task("end", "give", {"id": "sub", "into": "value"}),
    ),
    "a_sub_tree_fails_by_path": tree(
        {"id": "outer", "tree": tree({"id": "inner", "tree": tree(task("leaf", "fail"))})},
        task("after", "give", "outer"),
        task("may", "give", optional("outer")),
    ),
    "a_map_of_sub_trees": tree(
        {
            "id": "each",
            "for_each": [1, 2, 3],
            "inputs": {"n": "${{ item }}"},
            "max_in_flight": 2,
            "tree": tree(task("x", inputs={"value": "${{ inputs.n }}"}), inputs={"n": 0}),
        }
    ),
    "an_approval_times_out": tree(
        *(
            {
                "id": how,
                "executor": "approval",
                "inputs": {"prompt": "go?", "timeout": "1s", "on_timeout": how},
            }
            for how in ("fail", "approve", "reject")
        ),
        task("after", "give", "approve", optional("fail"), optional("reject")),
    ),
    "an_event_never_comes": tree(
        {"id": "paid", "executor": "wait_for_event", "inputs": {"event": "paid", "timeout": "1s"}},
        task("after", "give", optional("paid")),
    ),
    "what_was_done_is_undone": tree(
        task("a", inputs={"value": 1}, compensate=undo("a")),
        task("b", "give", "a", inputs={"value": 2}, compensate=undo("b")),
        task("c", "give", "b", compensate={"executor": "fail"}),
        task("d", "fail", "c", compensate=undo("d")),
    ),
    "local_tasks_run_inside_a_workflow_task": tree(
        task("a", inputs={"value": {"n": 1}}, local=True),
        task("b", "give", "a", inputs={"value": "${{ tasks.a.result.n }}"}),
        task("c", "give", {"id": "b", "into": "value"}, local=True),
        task("items", for_each=[1, 2, 3], inputs={"value": "${{ item }}"}, local=True),
        user_id="acme",
    ),
    "many_local_tasks_take_several_workflow_tasks": tree(
        *(task(f"t{at}", local=True) for at in range(230)), max_in_flight=200
    ),
    "a_local_task_is_tried_again": tree(
        task("a", "fail_twice", local=True),
        task("b", "give", "a", local=True),
        task("free", local=True),
    ),
    "a_local_timeout_is_an_error": tree(
        task(
            "a",
            "linger",
            local=True,
            start_to_close_timeout="0.3s",
            retry={"maximum_attempts": 1},
        ),
        task("b", "give", optional("a"), local=True),
    ),
    "the_first_failure_cancels_local_tasks": tree(
        task("slow", "linger", local=True, inputs={"seconds": 5}),
        task("a", "fail", local=True),
        task("never", "give", "slow", local=True),
        on_failure="cancel",
    ),
    "a_bad_document_fails_at_once": tree(task("a", "give", "nowhere")),
    "an_unknown_executor_fails_at_once": tree(task("a", "giv")),
}


async def until(handle: TreeHandle, task_id: str, status: str) -> None:
    async for change in handle.watch():
        if (change.task_id, change.status) == (task_id, status):
            return


async def answer_both(handle: TreeHandle) -> None:
    await until(handle, "ask_too", "in_progress")
    await handle.approve("ask", by="ann", note="fine", result={"n": 1})
    await handle.approve("ask_too", approved=False, by="bob", note="too dear")


async def send_paid(handle: TreeHandle) -> None:
    await handle.send_event("paid", {"amount": 12})
    await handle.send_event("other")


async def cancel_inside(handle: TreeHandle) -> None:
    await until(handle, "sub", "in_progress")
    inside = TreeHandle(handle.client, f"{handle.id}/sub")
    await until(inside, "slow", "in_progress")
    await handle.cancel("enough")


async def cancel_a(handle: TreeHandle) -> None:
    await until(handle, "free", "completed")
    await handle.cancel_task("a")


async def cancel_when_settled(handle: TreeHandle) -> None:
    await until(handle, "after", "skipped")
    await until(handle, "free", "completed")
    await handle.cancel("nobody mends it")


async def mend_nothing(handle: TreeHandle) -> None:
    """Be asked, pause and go on, and leave what failed as it is."""
    await until(handle, "ask", "in_progress")
    workflow: Any = handle.client.get_workflow_handle(handle.id)
    await workflow.execute_update("pause", {"reason": "lunch"})
    await workflow.execute_update("resume")
    await handle.approve("ask")
    await until(handle, "bad", "failed")
    await handle.cancel("nobody mends it")


async def cancel_soon(handle: TreeHandle) -> None:
    async for change in handle.watch():
        if change.task_id == "slow" and change.status == "in_progress":
            await handle.cancel("enough")
            return


async def pause_and_resume(handle: TreeHandle) -> None:
    await until(handle, "slow", "in_progress")
    await handle.pause("lunch", by="ann")
    await handle.approve("ask", by="ann")
    await until(handle, "slow", "completed")
    await handle.resume(by="ann")


async def cancel_some(handle: TreeHandle) -> None:
    """Cancel what has not begun, what waits, what runs, and what is in a group or a map."""
    await until(handle, "slow", "in_progress")
    for task_id in ("later", "ask", "slow", "group", "items"):
        await handle.cancel_task(task_id, "not needed", by="ann")


async def retry_all(handle: TreeHandle) -> None:
    for task_id in ("bad", "inside", "each"):
        await until(handle, task_id, "failed")
    MENDED[handle.id] = True
    await handle.retry_task("bad", by="ann")
    await handle.retry_task(by="ann")


async def skip_some(handle: TreeHandle) -> None:
    await until(handle, "bad", "failed")
    await until(handle, "worse", "failed")
    await handle.skip_task("later", "not needed", by="ann", result=None)
    await handle.skip_task("ask", by="ann")
    await handle.skip_task("worse", by="ann")
    await handle.skip_task("bad", by="ann", result={"n": 7})


async def mend_and_rerun(handle: TreeHandle) -> TreeHandle:
    with contextlib.suppress(TreeFailed):
        await handle.result()
    MENDED[f"{handle.id}.r1"] = True
    return await handle.rerun(failed=True)


async def rerun_and_look_inside(handle: TreeHandle) -> TreeHandle:
    again = await mend_and_rerun(handle)
    await again.result()
    return TreeHandle(handle.client, f"{again.id}/sub")


async def act_over_and_over(handle: TreeHandle) -> None:
    """Do by hand what a continuation has to carry on."""
    await until(handle, "each", "failed")
    await handle.skip_task("worse", by="ann", result="by hand")
    await handle.pause("lunch", by="ann")
    MENDED[handle.id] = True
    await handle.retry_task("each", by="ann")
    for at in range(20):
        await handle.send_event(f"e{at}")
    await handle.resume(by="ann")


STEERED: Final[dict[str, tuple[Document, Steer]]] = {
    "an_approval_is_given": (
        tree(
            {"id": "ask", "executor": "approval", "inputs": {"prompt": "go?", "timeout": "1h"}},
            {"id": "ask_too", "executor": "approval"},
            task("yes", "give", {"id": "ask", "into": "value"}),
            task("no", "give", "ask_too"),
        ),
        answer_both,
    ),
    "an_event_satisfies_every_wait": (
        tree(
            {"id": "now", "executor": "wait_for_event", "inputs": {"event": "paid"}},
            {
                "id": "later",
                "executor": "wait_for_event",
                "inputs": {"event": "paid", "timeout": "1h"},
                "dependencies": ["now"],
            },
            task("end", "give", {"id": "later", "into": "value"}),
        ),
        send_paid,
    ),
    "a_cancel_reaches_sub_trees_and_undoes": (
        tree(
            task("done", compensate=undo("done")),
            {
                "id": "sub",
                "dependencies": ["done"],
                "tree": tree(
                    task("x", compensate=undo("x")), task("slow", "linger", "x"), task("y")
                ),
            },
            task("items", "linger", for_each=[1, 2, 3], max_in_flight=2),
            {"id": "ask", "executor": "approval"},
            task("after", "give", "sub"),
        ),
        cancel_inside,
    ),
    "a_failed_tree_is_held_open": (
        tree(task("bad", "fail"), task("after", "give", "bad"), task("free"), on_failure="wait"),
        cancel_when_settled,
    ),
    "the_servers_lists_are_told_how_a_tree_stands": (
        tree(
            {"id": "ask", "executor": "approval"},
            task("bad", "fail", "ask"),
            {"id": "sub", "tree": tree(task("x"))},
            on_failure="wait",
        ),
        mend_nothing,
    ),
    "a_cancel_interrupts_what_runs": (
        tree(
            task("slow", "linger"),
            task("after", "give", "slow"),
            {"id": "nap", "executor": "sleep", "inputs": {"duration": "1h"}},
        ),
        cancel_soon,
    ),
    "a_tree_is_paused_and_resumed": (
        tree(
            task("slow", "linger", inputs={"seconds": 1}),
            {"id": "ask", "executor": "approval"},
            task("after", "give", "slow"),
            task("yes", "give", "ask"),
        ),
        pause_and_resume,
    ),
    "a_local_task_is_cancelled_before_its_next_attempt": (
        tree(
            task("a", "fail_twice", local=True, retry={"initial_interval": "60s"}),
            task("b", "give", optional("a"), local=True),
            task("free", local=True),
        ),
        cancel_a,
    ),
    "tasks_are_cancelled_by_hand": (
        tree(
            task("slow", "linger"),
            task("after", "give", "slow"),
            task("anyway", "give", optional("slow"), compensate=undo("anyway")),
            {"id": "ask", "executor": "approval", "inputs": {"timeout": "1h"}},
            task("later", "give", "ask"),
            {"id": "group"},
            task("member", "linger", parent_id="group"),
            task("waits", "give", "ask", parent_id="group"),
            task("items", "linger", for_each=[1, 2, 3], max_in_flight=2),
        ),
        cancel_some,
    ),
    "failed_tasks_are_retried_by_hand": (
        tree(
            task("bad", "fail_until_mended", inputs={"value": 1}),
            task("after", "give", {"id": "bad", "into": "value"}),
            {"id": "group"},
            task("inside", "fail_until_mended", parent_id="group"),
            task(
                "each",
                "fail_until_mended",
                for_each=[0, 1, 2],
                inputs={"breaks": "${{ item == `1` }}", "value": "${{ item }}"},
                max_in_flight=1,
            ),
            task("end", "give", "after", "group", "each"),
            on_failure="wait",
        ),
        retry_all,
    ),
    "tasks_are_skipped_by_hand": (
        tree(
            task("bad", "fail"),
            task("after", "give", {"id": "bad", "into": "value"}),
            task("worse", "fail"),
            task("never", "give", "worse"),
            {"id": "ask", "executor": "approval"},
            task("later", "give", "ask"),
            task("end", "give", "later"),
            on_failure="wait",
        ),
        skip_some,
    ),
    "a_rerun_keeps_what_completed": (
        tree(
            task("a", inputs={"value": 1}),
            task("b", "give", "a", inputs={"value": "${{ tasks.a.result }}"}),
            task("undone", compensate=undo("undone")),
            task("c", "fail_until_mended", "b", inputs={"value": 2}),
            task("d", "give", {"id": "c", "into": "value"}),
            {"id": "group"},
            task("x", parent_id="group"),
            task(
                "each",
                "fail_until_mended",
                for_each=[0, 1, 2],
                inputs={"breaks": "${{ item == `1` }}", "value": "${{ item }}"},
                tolerate=1,
            ),
            task("more", "fail_until_mended", for_each=[1, 2], max_in_flight=1),
            {"id": "sub", "tree": tree(task("y"))},
        ),
        mend_and_rerun,
    ),
    "a_sub_tree_of_a_rerun_keeps_what_completed": (
        tree(
            {
                "id": "sub",
                "tree": tree(
                    task("x", inputs={"value": 1}),
                    task("y", "fail_until_mended", "x", inputs={"value": "${{ tasks.x.result }}"}),
                    task("z", "give", {"id": "y", "into": "value"}),
                ),
            }
        ),
        rerun_and_look_inside,
    ),
}

SHOWN: Final[dict[str, Document]] = {
    "a_demo_calls_no_executor": tree(
        task("a", inputs={"value": 1}),
        {"id": "nap", "executor": "sleep", "inputs": {"duration": "1h"}},
        {"id": "ask", "executor": "approval", "dependencies": ["nap"]},
        task("far", "give", "ask", task_queue="another-workers"),
        {"id": "sub", "tree": tree(task("x", "fail"))},
        demo=True,
    ),
    "secrets_are_told_by_name": tree(
        task("a", inputs={"value": "${{ secrets.NOBODY_HAS_IT }}"}, compensate=undo("a")),
    ),
}
"""What is told to a worker beside a task's inputs."""

HEARD: Final[dict[str, Document]] = {
    "hooks_of_trees_are_told": tree(task("a"), task("b", "give", "a")),
    "hooks_are_told_of_a_failure_before_the_end": tree(task("a", "fail")),
}
"""Recorded with a worker that has a hook of trees."""


@on_tree()
async def hear(event: TreeEvent) -> None:
    await asyncio.sleep(0.05)


async def answer_large(handle: TreeHandle) -> None:
    await until(handle, "ask", "in_progress")
    await handle.approve("ask", by="ann")


PARTITIONED: Final[dict[str, tuple[Document, Steer | None]]] = {
    "a_large_tree_hands_over_its_work": (
        tree(
            task("broken", "fail", allow_failure=True),
            *(task(f"skipped{at}", "give", "broken") for at in range(2_001)),
            *(task(f"a{at}", inputs={"value": at}) for at in range(12)),
            task("slow", "linger", inputs={"seconds": 3}),
            {"id": "ask", "executor": "approval", "dependencies": ["a3"]},
            *(task(f"b{at}", "give", "ask", f"a{at}") for at in range(12)),
            *(task(f"c{at}", "give", "b11" if at == 0 else f"c{at - 1}") for at in range(12)),
            task("odd", "fail_odd", "slow", inputs={"n": 3}, allow_failure=True),
        ),
        answer_large,
    ),
}
"""Recorded with the histories of the partitions."""

CONTINUED: Final[dict[str, Document]] = {
    "waits_and_maps_are_carried_on": tree(
        {"id": "nap", "executor": "sleep", "inputs": {"duration": "5s"}},
        {
            "id": "ask",
            "executor": "approval",
            "inputs": {"timeout": "4s", "on_timeout": "approve"},
        },
        task("first", inputs={"value": 1}, compensate=undo("first")),
        task(
            "each",
            "fail_odd",
            "first",
            for_each=[*range(0, 160, 2), 161],
            inputs={"n": "${{ item }}"},
            max_in_flight=8,
            tolerate=1,
        ),
        task("end", "fail", "nap", "ask", "each"),
    ),
    "undoing_goes_on_in_fresh_runs": tree(
        *(task(f"t{at}", inputs={"value": at}, compensate=undo(f"t{at}")) for at in range(24)),
        task("bad", "fail", *(optional(f"t{at}", into=None) for at in range(24))),
        outputs={"third": "${{ tasks.t3.result }}"},
    ),
    "what_people_did_is_carried_on": tree(
        task(
            "each",
            "fail_until_mended",
            for_each=list(range(24)),
            inputs={"breaks": "${{ item == `3` }}", "value": "${{ item }}"},
            tolerate=0,
            max_in_flight=4,
        ),
        task("worse", "fail"),
        task("end", "give", "worse", {"id": "each", "into": "value"}),
        on_failure="wait",
    ),
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

STEERED_ON: Final[dict[str, Steer]] = {"what_people_did_is_carried_on": act_over_and_over}
"""What people do to those of them that are not left alone."""


async def run_once(
    client: TreeClient, document: Document, id: str, steer: Steer | None
) -> TreeHandle:
    """Run to whatever end; started as a stock tool would, so that bad documents get there."""
    await client.client.start_workflow("TaskTree", document, id=id, task_queue=client.task_queue)
    handle = client.get(id)
    if steer := steer or STEERED_ON.get(id):
        handle = await steer(handle) or handle
    with contextlib.suppress(InvalidTree, TreeFailed, TreeCancelled):
        await handle.result()
    return handle
