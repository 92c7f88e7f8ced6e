"""What partitions take of a tree's window, and that nobody waits for what they cannot use."""

import pytest
from tests.unit.core.builders import NOW, Document, chain, event, plan_of, task, tree_of

from regrow.core import limits
from regrow.core.record import Kind, Start
from regrow.core.run import TreeRun

ITEMS = 80


@pytest.fixture(autouse=True)
def lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PARTITION_ABOVE", 20)
    monkeypatch.setattr(limits, "PARTITION_TASKS", 200)


def run_of(*tasks: Document, max_in_flight: int = 100) -> TreeRun:
    plan = plan_of(tree_of(*tasks, max_in_flight=max_in_flight))
    return TreeRun(plan, tree_id="run", may_partition=True)


def starts(run: TreeRun) -> list[Start]:
    """Start all that can."""
    found: list[Start] = []
    while (start := run.next_start(NOW)) is not None:
        if start.kind is Kind.WAIT:
            run.waiting(start, NOW)
        else:
            run.began(start.unit, NOW)
            found.append(start)
    return found


def fan(prefix: str, *after: str, count: int = 40) -> list[Document]:
    return [task(f"{prefix}{at}", *after) for at in range(count)]


def test_chain_takes_one_place_of_the_window() -> None:
    run = run_of(*chain(150), event("go"), *fan("later", "go"))

    [long] = starts(run)
    run.event("go", None, NOW)
    [wide] = starts(run)

    assert (len(long.tasks), long.share) == (150, 1)
    assert (len(wide.tasks), wide.share) == (40, 40)


def test_branches_count_each() -> None:
    combs = [task(f"leaf{at}", f"t{at}") for at in range(30)]

    [comb] = starts(run_of(*chain(30), *combs))

    assert comb.share == 30


def test_tasks_run_by_themselves_where_others_than_partitions_have_the_window() -> None:
    each = task("map", for_each=list(range(ITEMS)), priority=0)
    run = run_of(each, event("go"), *fan("later", "go"))

    assert len(starts(run)) == ITEMS
    run.event("go", None, NOW)

    assert [start.kind for start in starts(run)] == [Kind.ACTIVITY] * (100 - ITEMS)


def test_partition_waits_for_room_that_others_will_leave() -> None:
    run = run_of(*fan("first", count=90), event("go"), *fan("later", "go"))

    [first] = starts(run)
    run.event("go", None, NOW)

    assert first.share == 90
    assert starts(run) == []
