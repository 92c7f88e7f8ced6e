from tests.unit.core.builders import Document, group, task, tree_of

from regrow.core.frontier import Frontier
from regrow.core.wire import Status

COMPLETED, FAILED, CANCELLED, SKIPPED = (
    Status.COMPLETED,
    Status.FAILED,
    Status.CANCELLED,
    Status.SKIPPED,
)


def frontier_of(*tasks: Document) -> Frontier:
    tree = tree_of(*tasks)
    groups = {each.id: True for each in tree.tasks if each.executor == "group"}
    return Frontier(tree.tasks, groups)


def unblocked(frontier: Frontier) -> list[str]:
    """Everything that may go on now."""
    return list(iter(frontier.unblocked, None))


def test_tasks_without_edges_go_first_in_document_order() -> None:
    frontier = frontier_of(task("b"), task("a"), task("c", "a"))

    assert unblocked(frontier) == ["b", "a"]
    assert frontier.unblocked() is None


def test_task_goes_on_the_moment_its_own_edges_allow() -> None:
    frontier = frontier_of(
        task("a1"), task("b1"), task("a2", "a1"), task("b2", "b1"), task("end", "a2", "b2")
    )
    unblocked(frontier)

    assert frontier.settle("a1", COMPLETED) == []
    assert unblocked(frontier) == ["a2"]
    frontier.settle("a2", COMPLETED)
    assert unblocked(frontier) == []
    frontier.settle("b1", COMPLETED)
    frontier.settle("b2", COMPLETED)
    assert unblocked(frontier) == ["end"]


def test_required_dependency_that_did_not_complete_skips_at_once_and_the_skip_travels_on() -> None:
    for end in (FAILED, CANCELLED, SKIPPED):
        frontier = frontier_of(
            task("slow"), task("a"), task("b", "a", "slow"), task("c", "b"), task("d", "c?", "a?")
        )
        unblocked(frontier)

        assert frontier.settle("a", end) == ["b", "c"]
        assert unblocked(frontier) == ["d"]
        assert frontier.unsettled == 2


def test_optional_dependency_is_awaited_whatever_its_end() -> None:
    for end in (COMPLETED, FAILED, CANCELLED, SKIPPED):
        frontier = frontier_of(task("a"), task("b", "a?"))
        assert unblocked(frontier) == ["a"]

        assert frontier.settle("a", end) == []

        assert unblocked(frontier) == ["b"]


def test_nearest_are_skipped_first() -> None:
    frontier = frontier_of(task("a"), task("deep", "near"), task("near", "a"), task("other", "a"))

    assert frontier.settle("a", FAILED) == ["near", "other", "deep"]


def test_end_is_recorded_once() -> None:
    frontier = frontier_of(task("a"), task("b", "a"))

    frontier.settle("a", COMPLETED)

    assert frontier.settle("a", FAILED) == []
    assert unblocked(frontier) == ["b"]


def test_line_is_ordered_by_priority_then_position() -> None:
    frontier = frontier_of(
        task("low", priority=3),
        task("normal"),
        task("urgent2", priority=0),
        task("high", priority=1),
        task("urgent1", priority=0),
    )
    for task_id in ("urgent1", "normal", "low", "high", "urgent2"):
        frontier.enqueue(task_id)

    assert frontier.ready(2) == ["urgent2", "urgent1"]
    assert frontier.ready(0) == []
    assert frontier.ready(9) == ["high", "normal", "low"]
    assert frontier.ready(9) == []


def test_what_has_settled_meanwhile_is_taken_from_neither_queue() -> None:
    frontier = frontier_of(task("a"), task("b"), task("c"))
    frontier.settle("a", CANCELLED)
    assert unblocked(frontier) == ["b", "c"]
    frontier.enqueue("b")
    frontier.enqueue("c")

    frontier.settle("b", CANCELLED)

    assert frontier.ready(9) == ["c"]


def test_group_waits_for_its_members_and_its_own_edges() -> None:
    frontier = frontier_of(
        task("a"), group("g", "a"), task("m1", parent_id="g"), task("m2", "m1", parent_id="g")
    )

    assert unblocked(frontier) == ["a", "m1"]
    frontier.settle("m1", FAILED)
    assert unblocked(frontier) == []
    frontier.settle("a", COMPLETED)
    assert unblocked(frontier) == ["g"]


def test_group_that_is_blocked_is_skipped_once_its_members_have_settled() -> None:
    frontier = frontier_of(task("a"), group("g", "a"), task("m", parent_id="g"), task("z", "g"))

    assert frontier.settle("a", FAILED) == []
    assert frontier.settle("m", COMPLETED) == ["g", "z"]
    assert frontier.unsettled == 0


def test_group_is_skipped_by_a_member_that_is_skipped_with_it() -> None:
    frontier = frontier_of(task("a"), group("g", "a"), task("m", "a", parent_id="g"))

    assert frontier.settle("a", FAILED) == ["m", "g"]


def test_parent_that_is_no_group_waits_for_nobody_and_nobody_for_it() -> None:
    frontier = frontier_of(task("p"), task("m", parent_id="p"))

    assert unblocked(frontier) == ["p", "m"]


def test_task_waits_for_what_its_expressions_name_further_up() -> None:
    """A skip reaches the reader before the slow task has ended."""
    frontier = frontier_of(
        task("slow"),
        task("quick"),
        task("middle", "slow", "quick"),
        task("reader", "middle?", when="tasks.slow.status == 'completed'"),
    )
    unblocked(frontier)

    assert frontier.settle("quick", FAILED) == ["middle"]
    assert unblocked(frontier) == []
    frontier.settle("slow", COMPLETED)
    assert unblocked(frontier) == ["reader"]


def test_reader_that_is_skipped_does_not_wait_for_what_it_names() -> None:
    frontier = frontier_of(
        task("slow"),
        task("quick"),
        task("middle", "slow", "quick"),
        task("reader", "middle", inputs={"x": "${{ tasks.slow.result }}"}),
    )

    assert frontier.settle("quick", FAILED) == ["middle", "reader"]
    frontier.settle("slow", COMPLETED)
    assert frontier.unsettled == 0


def test_blocked_group_that_reads_is_skipped_with_its_last_member() -> None:
    frontier = frontier_of(
        task("slow"),
        task("quick"),
        task("middle", "slow", "quick"),
        group("g", "middle", when="tasks.slow.result"),
        task("m", parent_id="g"),
    )

    assert frontier.settle("quick", FAILED) == ["middle"]
    assert frontier.settle("slow", COMPLETED) == []
    assert frontier.settle("m", COMPLETED) == ["g"]


# --- what may be handed over together


def reach(frontier: Frontier, *heads: str, limit: int = 99, but: str = "") -> list[str]:
    return frontier.reach(heads, limit, lambda task_id: task_id != but)


def test_reach_is_closed_and_leaves_the_frontier_as_it_was() -> None:
    frontier = frontier_of(
        task("d", "b", "c?"),
        task("a"),
        task("b", "a"),
        task("c", "a"),
        task("other"),
        task("mixed", "a", "other"),
        task("reader", "d", "other?", inputs={"x": "${{ tasks.a.result }}"}),
    )
    assert unblocked(frontier) == ["a", "other"]

    assert reach(frontier, "a") == ["d", "a", "b", "c"]
    assert reach(frontier, "a", "other") == ["d", "a", "b", "c", "other", "mixed", "reader"]
    assert reach(frontier, "a", "other", but="d") == ["a", "b", "c", "other", "mixed"]
    frontier.settle("other", COMPLETED)
    assert reach(frontier, "a") == ["d", "a", "b", "c", "mixed", "reader"]


def test_reach_waits_for_what_is_read_further_up() -> None:
    reads = task("reader", "middle?", inputs={"x": "${{ tasks.slow.status }}"})
    frontier = frontier_of(task("slow"), task("quick"), task("middle", "slow", "quick"), reads)
    frontier.settle("quick", FAILED)

    assert reach(frontier, "slow") == ["slow", "reader"]


def test_reach_holds_neither_what_has_ended_nor_what_is_blocked() -> None:
    frontier = frontier_of(
        task("a"),
        task("gone", "a?"),
        task("bad"),
        group("g", "bad", "a?", children=[task("m", "slow")]),
        task("slow"),
    )
    frontier.settle("gone", CANCELLED)
    frontier.settle("bad", FAILED)

    assert reach(frontier, "a", "slow") == ["a", "m", "slow"]


def test_reach_takes_levels_whole_unless_few_tasks_come_together() -> None:
    seconds = [task(f"b{at}", "a") for at in range(4)]
    frontier = frontier_of(task("a"), *seconds, *(task(f"c{at}", "b0") for at in range(4)))

    assert reach(frontier, "a", limit=4) == ["a", "b0", "b1", "b2"]
    assert reach(frontier, "a", limit=5) == ["a", "b0", "b1", "b2", "b3"]
    assert reach(frontier, "a", limit=8) == ["a", "b0", "b1", "b2", "b3"]
    assert reach(frontier, "a", limit=1) == ["a"]


def test_task_leads_out_if_others_or_a_group_wait_for_it() -> None:
    frontier = frontier_of(
        task("a"),
        task("b", "a"),
        task("c", "b?", inputs={"x": "${{ tasks.a.status }}"}),
        task("d"),
        group("g", children=[task("m")]),
    )

    def leading(*inside: str) -> list[str]:
        return [each for each in inside if frontier.leads_out(each, dict.fromkeys(inside))]

    assert leading("a", "b", "c", "d", "m") == ["m"]
    assert leading("a", "b") == ["a", "b"]
    assert leading("a") == ["a"]
    assert leading("a", "b", "c") == []


def test_line_knows_how_many_stand_in_it() -> None:
    frontier = frontier_of(task("a"), task("b"))
    frontier.enqueue("a")
    frontier.enqueue("b")
    assert frontier.in_line == 2

    frontier.ready(1)

    assert frontier.in_line == 1
