"""A rerun repeats nothing that it need not and drops nothing: random trees, mended and run again.

Of every tree there are two scripts: its own, in which things fail, and a mended one in which they
don't. What a rerun of the first gives under the second must be what an undisturbed run gives.
"""

import asyncio
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.fuzz.language import script_of
from tests.fuzz.oracle import Approved, Rejected, Scripted, TimedOut, without_times
from tests.fuzz.strategies import LanguageCase, language_cases

from regrow.core.loading import load, with_inputs
from regrow.core.models import TaskTree
from regrow.core.rerun import RerunPlan, Selection, plan_rerun
from regrow.core.resolve import Plan, resolve
from regrow.core.result import task_entry
from regrow.core.run import TreeRun
from regrow.core.script import Trace
from regrow.core.simulate import everything_known, simulate_run
from regrow.core.wire import Status

TIMES = 10 if os.environ.get("REGROW_LONG") else 1
FIRST = "first"
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
MANY = settings(max_examples=1_000 * TIMES, suppress_health_check=SLOW)
FEWER = settings(max_examples=150 * TIMES, suppress_health_check=SLOW)


class AtOnce(random.Random):
    """Lets everything take no time, so that no wait is over before its answer comes."""

    def uniform(self, a: float, b: float) -> float:
        del b
        return a


class Executions(dict[str, Any]):
    """The inputs of everything that was executed, and how often it was."""

    def __init__(self) -> None:
        super().__init__()
        self.times: Counter[str] = Counter()

    def __setitem__(self, path: str, inputs: Any) -> None:
        self.times[path] += 1
        super().__setitem__(path, inputs)


def tree_of(case: LanguageCase) -> TaskTree:
    tree = load(case.document)
    return with_inputs(tree, case.tree_inputs) if case.tree_inputs else tree


def plan_of(tree: TaskTree) -> Plan:
    return resolve(tree, everything_known(tree))


def mended(case: LanguageCase, old: TreeRun | None = None) -> LanguageCase:
    """The same case, in which nothing fails any more.

    After an old run what is kept of it stays as it was: approvals that time has given. What failed
    inside a sub-tree that completed nevertheless would have to stay as well; such cases are left
    out.
    """
    script: dict[str, Any] = {}
    for path, end in case.script.items():
        top, inner = _top(path)
        kept = old is not None and top in old.records and old.completed(top)
        changed = _mended(end)
        assume(not (inner and old is not None and changed != end and (kept or top in old.maps)))
        script[path] = end if kept and isinstance(end, TimedOut) else changed
    return replace(case, script=script)


def _top(path: str) -> tuple[str, bool]:
    """The task of the tree itself, and whether the path goes on inside it."""
    first, _, rest = path.partition("/")
    return first.split("[")[0].split("~")[0], bool(rest)


def _mended(end: Any) -> Any:
    if isinstance(end, list):
        return _mended(end[-1])
    if isinstance(end, Scripted):
        return end if end.ok else Scripted(ok=True, value="mended")
    if isinstance(end, Rejected | TimedOut):
        return Approved(by="ann", note=None, result=None)
    return end


@dataclass
class Ran:
    """A tree that ran: what it knows in the end, and what was executed how often."""

    run: TreeRun
    times: Counter[str]
    """Of its own units; `inside` are those in sub-trees, by path."""
    inside: Counter[str]
    trees: dict[str, TreeRun]


def executed(case: LanguageCase, plan: Plan, seed: object, **more: Any) -> Ran:
    """Run a case in memory."""
    executions = Executions()
    trace = Trace(inputs=executions)
    script = script_of(case, random.Random(f"{case.seed} {seed}") if seed == FIRST else AtOnce())
    run = asyncio.run(simulate_run(plan, script, trace=trace, **more))
    times = {path: n for path, n in executions.times.items() if "~" not in path}
    own = Counter({path: n for path, n in times.items() if "/" not in path})
    return Ran(run, own, Counter(times) - own, trace.runs)


def shape(run: TreeRun) -> Any:
    """How a tree ended, without hours and names of people."""
    entries: Any = {
        task_id: {
            key: task_entry(run, task_id)[key]
            for key in ("status", "result", "error_type", "because")
        }
        for task_id in run.records
    }
    return without_times({"status": run.status.value, "outputs": run.outputs, "tasks": entries})


def rerun(case: LanguageCase, first: Ran, selection: Selection) -> tuple[RerunPlan, Ran]:
    plan = plan_rerun(first.run, plan_of(first.run.plan.tree), selection)
    plan_inside(plan, first.trees, "")
    well = mended(case, first.run)
    again = executed(well, plan_of(plan.tree), "again", engine=plan.engine_part("tree"))
    kept = dict.fromkeys(kept_inside(plan, ""))
    assert not [path for path in again.inside if re.sub(r"\[\d+\]$", "", path) in kept]
    assert set(again.inside.values()) <= {1}
    return plan, again


def plan_inside(plan: RerunPlan, trees: dict[str, TreeRun], path: str) -> None:
    for unit in plan.subtrees:
        if child := trees.get(f"{path}{unit}"):
            plan.inside[unit] = plan_rerun(child, child.plan, Selection())
            plan_inside(plan.inside[unit], trees, f"{path}{unit}/")


def kept_inside(plan: RerunPlan, path: str) -> Iterator[str]:
    for unit, inner in plan.inside.items():
        yield from (f"{path}{unit}/{task_id}" for task_id in inner.kept)
        yield from kept_inside(inner, f"{path}{unit}/")


def check(case: LanguageCase, first: Ran, selection: Selection = Selection()) -> None:  # noqa: B008
    old = first.run
    whole = executed(mended(case, old), plan_of(old.plan.tree), "undisturbed")
    undisturbed = whole.run

    plan, again = rerun(case, first, selection)
    run, times = again.run, again.times

    if old.plan.tree.on_failure == "cancel":  # else what is in flight at a failure is chance
        assume(undisturbed.status is Status.COMPLETED)
    assert shape(run) == shape(undisturbed)
    assert set(times.values()) <= {1}
    for task_id in plan.kept:
        assert old.completed(task_id)
        assert run.records[task_id].reused
    for unit in times:
        assert unit.split("[")[0] in plan.runs
    not_executed = set(whole.times) - set(times)
    for unit in not_executed:
        task_id, _, item = unit.partition("[")
        if task_id in plan.runs:  # an item that had completed
            assert item
            assert old.maps[task_id].results is not None
        else:
            assert task_id in plan.kept


@MANY
@given(language_cases())
def test_rerun_of_what_failed_ends_like_an_undisturbed_run(case: LanguageCase) -> None:
    first = executed(case, plan_of(tree_of(case)), FIRST)

    check(case, first)


@FEWER
@given(language_cases(), st.floats(0, 600))
def test_rerun_of_a_cancelled_tree_too(case: LanguageCase, after: float) -> None:
    first = executed(case, plan_of(tree_of(case)), FIRST, cancel_after=after)

    check(case, first)


@FEWER
@given(language_cases(on_failure="cancel"))
def test_rerun_of_a_tree_that_gave_up_too(case: LanguageCase) -> None:
    first = executed(case, plan_of(tree_of(case)), FIRST)

    check(case, first)


@FEWER
@given(language_cases(on_failure="wait"))
def test_rerun_of_a_tree_that_is_held_too(case: LanguageCase) -> None:
    first = executed(case, plan_of(tree_of(case)), FIRST)

    check(case, first)


@FEWER
@given(language_cases(), st.integers(0, 10))
def test_what_is_selected_and_what_is_downstream_runs_again_once(
    case: LanguageCase, at: int
) -> None:
    well = mended(case)
    first = executed(well, plan_of(tree_of(case)), "well")
    old = first.run
    tasks = old.plan.tree.tasks
    selected = tasks[at % len(tasks)].id

    plan, again = rerun(well, first, Selection(tasks=[selected]))
    run, times = again.run, again.times

    assert shape(run) == shape(old)
    assert selected in plan.runs
    ran = {unit.split("[")[0] for unit in times}
    assert not ran & set(plan.kept)
    if old.completed(selected) and selected not in old.plan.natives:
        assert selected in ran or not old.maps[selected].items


@FEWER
@given(language_cases(), st.data())
def test_only_the_selected_items_of_a_map_run_again(
    case: LanguageCase, data: st.DataObject
) -> None:
    well = mended(case)
    first = executed(well, plan_of(tree_of(case)), "well")
    old = first.run
    maps = [each for each, of in old.maps.items() if of.items and old.completed(each)]
    if not maps or old.status is not Status.COMPLETED or old.counts[Status.FAILED]:
        return  # what failed, or was undone, would run again too
    task_id = data.draw(st.sampled_from(maps))
    count = len(old.maps[task_id].items)
    items = data.draw(st.lists(st.integers(0, count - 1), min_size=1, unique=True))

    plan, again = rerun(well, first, Selection(items={task_id: items}))
    run, times = again.run, again.times

    assert shape(run) == shape(old)
    wanted = {*items, *old.maps[task_id].undone}  # those have inputs without a value
    assert plan.runs[task_id] == f"{len(wanted)} of its {count} items"
    if old.tasks[task_id].tree is None:
        own = {unit for unit in times if unit.startswith(f"{task_id}[")}
        assert own == {f"{task_id}[{at}]" for at in wanted.difference(old.maps[task_id].undone)}
