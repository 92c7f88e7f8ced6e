"""Large trees: nothing recurses, and four times the tasks take about four times as long."""

import gc
import inspect
import json
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from time import process_time

import pytest
from tests.unit.core.builders import (
    Document,
    begin,
    chain,
    document,
    drive,
    fails,
    group,
    problems_of,
    run_to_end,
    running,
    settle,
    sleep,
    task,
)

from regrow.core import limits
from regrow.core.hashing import document_hash
from regrow.core.loading import load
from regrow.core.models import TaskTree
from regrow.core.normal import read_normal
from regrow.core.result import tree_result
from regrow.core.snapshot import restore_snapshot, take_snapshot
from regrow.core.wire import Status

Shape = Callable[[int], list[Document]]


@contextmanager
def shallow_stack() -> Generator[None]:
    """Room for ordinary calls, and for no recursion over tasks."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def wide(count: int) -> list[Document]:
    return [task(f"t{at}") for at in range(count)]


def ladder(count: int) -> list[Document]:
    """Layers of ten, each task depending on three of the layer before."""
    return [
        task(f"t{at}", *[f"t{at - back}" for back in (10, 11, 12) if at >= 12 and at - back >= 0])
        for at in range(count)
    ]


def star(count: int) -> list[Document]:
    points = [f"t{at}" for at in range(count - 2)]
    return [task("hub"), *[task(each, "hub") for each in points], task("end", *points)]


def parents(count: int) -> list[Document]:
    """One below the other, and none of them a group."""
    return [task(f"t{at}", **({"parent_id": f"t{at - 1}"} if at else {})) for at in range(count)]


def small_groups(count: int) -> list[Document]:
    return [
        each
        for at in range(count // 2)
        for each in (group(f"g{at}"), task(f"t{at}", parent_id=f"g{at}"))
    ]


def one_group(count: int) -> list[Document]:
    """Of sleeps, which the workflow runs itself."""
    return [group("g"), *[sleep(f"s{at}") | {"parent_id": "g"} for at in range(count - 1)]]


def readers(count: int) -> list[Document]:
    """A chain in which everyone also reads the first."""
    return [
        each | ({"inputs": {"x": "${{ tasks.t0.result }}"}} if at else {})
        for at, each in enumerate(chain(count))
    ]


def implied(count: int) -> list[Document]:
    """A group that nobody calls one, and a reader for each of its members."""
    half = range(count // 2)
    return [
        {"id": "g"},
        *[task(f"m{at}", parent_id="g") for at in half],
        *[task(f"r{at}", "g", inputs={"x": f"${{{{ tasks.m{at}.result }}}}"}) for at in half],
    ]


def ring(count: int) -> list[Document]:
    return [task(f"t{at}", f"t{(at + 1) % count}") for at in range(count)]


def typos(count: int) -> list[Document]:
    return [task(f"task-{at}", f"tsak-{at}") for at in range(count)]


def braces(count: int) -> list[Document]:
    """Something that is no reference of ours, in a text with many ends."""
    return [task("a", inputs={"x": "${{ a." + "}}" * count})]


SHAPES = [chain, wide, ladder, star, parents, readers]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [300, 5_000])
def test_tree_of_any_shape_runs_without_recursion(shape: Shape, size: int) -> None:
    with shallow_stack():
        tree = load(document(*shape(size)))
        run = run_to_end(tree)
        result = tree_result(run)

    assert len(tree.tasks) == size
    assert result["counts"]["completed"] == size


def test_failure_travels_down_a_long_chain_without_recursion() -> None:
    with shallow_stack():
        run = run_to_end(load(document(*chain(5_000))), {"t0": fails()})
        result = tree_result(run)

    assert (result["status"], result["counts"]["skipped"]) == ("failed", 4_999)
    assert result["tasks"]["t499"]["because"]["root"] == "t0"
    assert len(result["tasks"]) == limits.MAX_LISTED_PROBLEM_TASKS


def test_cycle_through_very_many_tasks_is_found_without_recursion() -> None:
    with shallow_stack():
        assert problems_of(document(*ring(3_000))) == ["cycle tasks[0].dependencies"]


def test_groups_300_deep_run_without_recursion() -> None:
    tasks = [group(f"g{at}", **({"parent_id": f"g{at - 1}"} if at else {})) for at in range(300)]

    with shallow_stack():
        run = run_to_end(load(document(*tasks, task("leaf", parent_id="g299"))))

    assert run.records["g0"].outcome is not None
    assert run.records["g0"].outcome.result == {"leaf": "leaf"}


def test_tree_of_10000_tasks_survives_a_handover() -> None:
    tree = load(document(*ladder(10_000), max_in_flight=500))
    run = begin(tree)
    with shallow_stack():
        drive(run, {}, settles=5_000)
        for task_id in running(run):
            settle(run, task_id)
        fresh = begin(tree)
        restore_snapshot(fresh, json.loads(json.dumps(take_snapshot(run))))
        drive(fresh, {})

    assert fresh.status is Status.COMPLETED
    assert fresh.counts[Status.COMPLETED] == 10_000


def whole_life(tasks: list[Document]) -> None:
    tree = load(document(*tasks))
    run = run_to_end(tree)
    tree_result(run)
    take_snapshot(run)
    document_hash(tree)
    read_normal(tree.as_document())


def checked(tasks: list[Document]) -> TaskTree | list[str]:
    return problems_of(document(*tasks))


QUADRATIC = 12
"""Four times the tasks take 4 times as long if all is well and 16 times if it is not."""


def growth(work: Callable[[list[Document]], object], shape: Shape, size: int) -> float:
    """How many times longer four times the tasks take."""
    small, large = shape(size), shape(4 * size)
    base = min(seconds_of(work, small) for _ in range(3))
    return min(seconds_of(work, large) for _ in range(3)) / base


def is_in_proportion(work: Callable[[list[Document]], object], shape: Shape, size: int) -> bool:
    """Look up to three times: what is quadratic stays so, what the machine does besides not."""
    return any(growth(work, shape, size) < QUADRATIC for _ in range(3))


def seconds_of(work: Callable[[list[Document]], object], tasks: list[Document]) -> float:
    gc.collect()
    gc.disable()  # what other tests left alive would be looked through over and over
    try:
        began = process_time()
        work(tasks)
        return process_time() - began
    finally:
        gc.enable()


@pytest.mark.parametrize("shape", [chain, wide, ladder, readers])
def test_life_of_a_tree_takes_time_in_proportion_to_its_size(shape: Shape) -> None:
    assert is_in_proportion(whole_life, shape, 2_000)


@pytest.mark.parametrize("shape", [small_groups, one_group])
def test_groups_take_time_in_proportion_too(shape: Shape) -> None:
    assert is_in_proportion(whole_life, shape, 3_000)


@pytest.mark.parametrize(
    ("shape", "size"), [(typos, 60), (implied, 2_000), (ring, 8_000), (braces, 400)]
)
def test_checking_takes_time_in_proportion_too(shape: Shape, size: int) -> None:
    assert is_in_proportion(checked, shape, size)
