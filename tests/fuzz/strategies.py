"""Random task trees that obey every rule of the design, and what their executors will do.

Validity is built in, not filtered for. Tasks get a forest of parents first, then a hidden order in
which a group comes after everything under it; edges lead only backwards in that order, so nothing
can wait for itself. Expressions name only tasks that have surely settled when they are evaluated:
a task further upstream may still be running, because a skip doesn't wait for the other edges of
the task it skips. `far_references=True` names those as well.

All choices of a task are read from one tape of random bytes: a draw per task is fast, and a failing
example shrinks by dropping whole tapes and by lowering bytes to 0, the plainest choice.

Left out where the design leaves the answer open: containers inside text, references in mapping
keys, what `sleep` takes besides a duration, results that look like an outcome (`status`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from hypothesis import strategies as st
from tests.fuzz.oracle import AGGREGATE, GROUP, NATIVE, SLEEP, Json, Scripted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["EXECUTOR", "Case", "cases"]

EXECUTOR = "scripted"  # the one executor of all plain tasks; it looks its task up in the script
KINDS = [EXECUTOR] * 14 + [GROUP] * 4 + [AGGREGATE, SLEEP]
ID_STYLES = ["t{}", "t{}", "task-{}", "T.{}"]
KEYS = ["a", "b", "flag", "count", "t0", "t1"]  # few, so that authors, edges and spreads collide

TAPE = 96  # bytes for one task: the longest ones need about 80, and a tape that ended reads 0

T = TypeVar("T")


@dataclass(frozen=True)
class Case:
    """A valid document, what its executors do, the inputs it is started with, and an order."""

    document: dict[str, Json]
    script: dict[str, Scripted]
    tree_inputs: dict[str, Json]
    seed: int

    def chance(self) -> random.Random:
        """The same stream of choices each time: draw from it which running task ends next."""
        return random.Random(self.seed)  # an order for a test, nothing secret


@st.composite
def cases(
    draw: st.DrawFn,
    *,
    max_tasks: int = 25,
    on_failure: str = "continue",
    far_references: bool = False,
) -> Case:
    """Valid trees of 1 to `max_tasks` tasks, with everything that running them takes."""
    dice = _Dice(draw(st.binary(min_size=8, max_size=8)))
    tapes = [st.binary(min_size=TAPE, max_size=TAPE)] * draw(st.integers(1, max_tasks))
    plan = _plan(dice, [_Dice(draw(tape)) for tape in tapes], far_references=far_references)
    document: dict[str, Json] = {
        "name": "fuzz",
        "inputs": {"flag": dice.one_in(2), "count": dice.below(3), "name": "n"},
        "max_in_flight": 1 + dice.below(5),
        "on_failure": on_failure,
        "tasks": [_task(plan, each) for each in plan.kinds],
    }
    if dice.one_in(2):
        document["user_id"] = "acme"
    overrides: dict[str, Json] = {"flag": True, "name": "m"} if dice.one_in(3) else {}
    return Case(document, plan.script, overrides, draw(st.integers(0, 2**32 - 1)))


class _Dice:
    """Choices read from a tape; a 0 is the first option, the fewest, a no."""

    def __init__(self, tape: bytes) -> None:
        self._tape = iter(tape)

    def below(self, limit: int) -> int:
        return next(self._tape, 0) % limit

    def one_in(self, count: int) -> bool:
        return self.below(count) == count - 1

    def pick(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def some(self, options: Sequence[T], at_most: int) -> list[T]:
        """Up to `at_most` of the options, each at most once, in any order."""
        left = list(options)
        count = self.below(1 + min(at_most, len(left)))
        return [left.pop(self.below(len(left))) for _ in range(count)]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        left = list(options)
        return [left.pop(self.below(len(left))) for _ in options]


def _sorted_by_dice(dice: Mapping[str, _Dice]) -> list[str]:
    keys = {each: own.below(256) for each, own in dice.items()}
    return sorted(dice, key=lambda each: keys[each])


# --- The shape of a tree ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Shape:
    """Kinds and parents, in document order."""

    kinds: dict[str, str]
    parents: dict[str, str | None]

    def descendants(self, task_id: str) -> list[str]:
        children = [each for each, parent in self.parents.items() if parent == task_id]
        return children + [deeper for each in children for deeper in self.descendants(each)]

    def inside(self, task_id: str) -> list[str]:
        return self.descendants(task_id) if self.kinds[task_id] == GROUP else []


@dataclass(frozen=True)
class _Plan(_Shape):
    """A tree before its tasks are written down, and the dice to do that with."""

    dice: dict[str, _Dice]
    edges: dict[str, list[tuple[str, bool]]]
    script: dict[str, Scripted]
    far_references: bool

    def nameable(self, task_id: str) -> list[str]:
        """What the expressions of a task may name, nearest first, each once."""
        found: dict[tuple[str, bool], None] = {}
        for dependency, required in self.edges[task_id]:
            self._collect(found, dependency, completed=required)
        return list(dict.fromkeys(each for each, _ in found))

    def _collect(
        self, found: dict[tuple[str, bool], None], task_id: str, *, completed: bool
    ) -> None:
        """A task that settled or even completed, and what must have settled before that.

        A task that completed had all its edges satisfied; one that was skipped maybe only one. A
        group waits for its edges and for what is inside, however it ends.
        """
        if (task_id, completed) in found:
            return
        found[task_id, completed] = None
        for each in self.inside(task_id):
            self._collect(found, each, completed=False)
        if completed or self.far_references or self.kinds[task_id] == GROUP:
            for dependency, required in self.edges[task_id]:
                self._collect(found, dependency, completed=completed and required)


def _plan(dice: _Dice, of_tasks: Sequence[_Dice], *, far_references: bool) -> _Plan:
    style = dice.pick(ID_STYLES)
    calm = dice.pick([3, 6, 20])  # one task in so many fails
    own = {style.format(number): each for number, each in enumerate(of_tasks)}
    shape = _shape(own)
    return _Plan(
        kinds=shape.kinds,
        parents=shape.parents,
        dice=own,
        edges=_edges(own, _hidden_order(shape, _sorted_by_dice(own))),
        script={e: _scripted(own[e], calm) for e in own if shape.kinds[e] == EXECUTOR},
        far_references=far_references,
    )


def _shape(dice: Mapping[str, _Dice]) -> _Shape:
    kinds = {each: own.pick(KINDS) for each, own in dice.items()}
    ids = list(dice)
    parents = {each: _parent(dice[each], kinds, ids[:at]) for at, each in enumerate(ids)}
    listed = _sorted_by_dice(dice)  # a child may stand before its parent
    return _Shape({each: kinds[each] for each in listed}, {each: parents[each] for each in listed})


def _parent(dice: _Dice, kinds: dict[str, str], earlier: Sequence[str]) -> str | None:
    nearest = earlier[::-1]
    groups = [each for each in nearest if kinds[each] == GROUP]
    pool = dice.pick([[], groups, nearest])
    return dice.pick(pool) if pool else None


def _hidden_order(shape: _Shape, wished: Sequence[str]) -> list[str]:
    """The wished order, with everything under a group moved before the group."""
    order: dict[str, None] = {}
    for each in wished:
        inside = shape.inside(each)
        under = [other for other in wished if other in inside]
        for task_id in [*_hidden_order(shape, under), each]:
            order.setdefault(task_id)
    return list(order)


def _edges(dice: Mapping[str, _Dice], order: Sequence[str]) -> dict[str, list[tuple[str, bool]]]:
    edges: dict[str, list[tuple[str, bool]]] = {}
    for at, each in enumerate(order):
        own = dice[each]
        nearest = order[:at][::-1]  # by distance, so that a dropped task moves few other edges
        upstream = own.some(nearest[: own.pick([2, 4, 16])], at_most=4)
        edges[each] = [(dependency, own.one_in(2)) for dependency in upstream]
    return edges


# --- What executors do -----------------------------------------------------------------------

SCALARS: list[Json] = [None, True, False, 0, 1, 7, "", "x", "two words"]
RESULTS: list[Json] = [*SCALARS, "${{ inputs.flag }}"]  # what comes from a result is only text


def _scripted(dice: _Dice, calm: int) -> Scripted:
    if dice.one_in(calm):
        return Scripted(ok=False, value=dice.pick(["broken", "no route"]))
    return Scripted(ok=True, value=_result(dice))


def _result(dice: _Dice) -> Json:
    kind = dice.pick(["mapping", "mapping", "scalar", "list"])
    if kind == "scalar":
        return dice.pick(RESULTS)
    keys = dice.some(KEYS, at_most=3)
    values = {key: dice.pick(RESULTS) for key in keys}
    if kind == "mapping":
        return values
    return list(values.values())


# --- Tasks -----------------------------------------------------------------------------------


def _task(plan: _Plan, task_id: str) -> dict[str, Json]:
    dice, kind = plan.dice[task_id], plan.kinds[task_id]
    task: dict[str, Json] = {"id": task_id, "executor": kind}
    if plan.parents[task_id] is not None:
        task["parent_id"] = plan.parents[task_id]
    if plan.edges[task_id]:
        task["dependencies"] = _dependencies(dice, plan, task_id)
    if kind == EXECUTOR:
        task["inputs"] = _inputs(dice, plan, task_id)
    if kind == SLEEP:
        task["inputs"] = {"duration": "1s"}
    if dice.one_in(5):
        task["when"] = _condition(dice, plan.nameable(task_id))
    if dice.one_in(6):
        task["allow_failure"] = True
    if kind != GROUP and dice.one_in(2):
        task["priority"] = dice.below(4)
    return task


def _dependencies(dice: _Dice, plan: _Plan, task_id: str) -> list[Json]:
    own = [dependency for dependency, _ in plan.edges[task_id]]
    keys = dice.shuffled([key for key in KEYS if key not in own])
    takes_results = plan.kinds[task_id] not in (GROUP, *NATIVE)
    written: list[Json] = []
    for (dependency, required), key in zip(plan.edges[task_id], keys, strict=False):
        edge: dict[str, Json] = {"id": dependency, "required": required}
        if takes_results and dice.one_in(2):
            edge["into"] = dice.pick([key, None, _spread_or(key, plan, dependency)])
        written.append(edge)
    return written


def _spread_or(key: str, plan: _Plan, dependency: str) -> str:
    """Mostly spread what can be spread: a result that is no mapping fails the dependent."""
    scripted = plan.script.get(dependency)
    is_odd = scripted is not None and scripted.ok and scripted.value in (None, 7)
    is_mapping = scripted is None or isinstance(scripted.value, dict)
    return "*" if is_mapping or is_odd else key


def _inputs(dice: _Dice, plan: _Plan, task_id: str) -> dict[str, Json]:
    names = plan.nameable(task_id)
    return {key: _value(dice, plan, names) for key in dice.some(KEYS, at_most=3)}


def _value(dice: _Dice, plan: _Plan, names: Sequence[str]) -> Json:
    kind = dice.pick(["scalar", "typed", "typed", "text", "list", "mapping"])
    if kind == "scalar":
        return dice.pick(SCALARS)
    if kind == "typed":
        return f"${{{{ {_typed(dice, names)} }}}}"
    if kind == "text":
        return _text(dice, plan, names)
    inner: Json = f"${{{{{_typed(dice, names)}}}}}"
    return [inner, _text(dice, plan, names)] if kind == "list" else {dice.pick(KEYS): inner}


# --- Expressions -----------------------------------------------------------------------------

OF_THE_TREE = ["inputs.flag", "inputs.count", "inputs.name", "tree.name"]
TYPED_FIELDS = ["result", "result", "result.flag", "result || 'none'", "status", "error_type"]


def _path(task_id: str) -> str:
    return f"tasks.{task_id}" if task_id.isidentifier() else f'tasks."{task_id}"'


def _typed(dice: _Dice, names: Sequence[str]) -> str:
    if not names or dice.one_in(4):
        return dice.pick([*OF_THE_TREE, "tree.user_id"])
    return f"{_path(dice.pick(names))}.{dice.pick(TYPED_FIELDS)}"


def _text(dice: _Dice, plan: _Plan, names: Sequence[str]) -> str:
    first, second = _inside_text(dice, plan, names), _inside_text(dice, plan, names)
    return dice.pick([f"is ${{{{ {first} }}}}!", f"${{{{ {first} }}}}/${{{{{second}}}}}"])


def _inside_text(dice: _Dice, plan: _Plan, names: Sequence[str]) -> str:
    if not names or dice.one_in(3):
        return dice.pick(OF_THE_TREE)
    named = dice.pick(names)
    nullable = _nullable(dice, plan, named) if dice.one_in(5) else "status"
    return f"{_path(named)}.{nullable}"


def _nullable(dice: _Dice, plan: _Plan, named: str) -> str:
    """A field that may be null but is no container: how text spells those is left open."""
    scripted = plan.script.get(named)
    is_scalar = scripted is not None and not isinstance(scripted.value, dict | list)
    return dice.pick(["result.flag", "error_type", "result" if is_scalar else "result.count"])


def _condition(dice: _Dice, names: Sequence[str]) -> str:
    first, second = _single_condition(dice, names), _single_condition(dice, names)
    both = [f"{first} && {second}", f"{first} || ({second})", f"!({first})"]
    return dice.pick([first, first, first, f"${{{{ {first} }}}}", *both])


def _single_condition(dice: _Dice, names: Sequence[str]) -> str:
    if not names or dice.one_in(5):
        return dice.pick([*OF_THE_TREE, "tree.user_id == 'acme'"])
    task = _path(dice.pick(names))
    return dice.pick(
        [
            f"{task}.status == 'completed'",
            f"{task}.status != 'completed'",
            f"{task}.status == 'failed'",
            f"{task}.status == 'skipped'",
            f"{task}.result.flag",
            f"{task}.result",
            f"{task}.result == `0`",
            f"contains(['group_failed', 'expression_error'], {task}.error_type)",
            f"length({task}.result) > `0`",  # fails unless the result has a length
        ]
    )
