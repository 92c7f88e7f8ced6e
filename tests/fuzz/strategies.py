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

`cases` are trees of plain tasks, groups and the natives that nobody has to end. `language_cases`
have everything: maps, sub-trees, approvals, events, retries, compensation and explicit outputs.
Of those these are left out as well: the text of errors in expressions (few have a fixed one), keys
of approvals in text or counted (`at` differs each time), `on_failure` of a sub-tree, an approver's
result of null, two waits for one event, `defaults` that a sub-tree may or may not inherit,
compensation of groups, compensations that are retried.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

from hypothesis import strategies as st
from tests.fuzz.oracle import (
    AGGREGATE,
    APPROVAL,
    EVENT,
    GROUP,
    NATIVE,
    SLEEP,
    TREE,
    Approved,
    End,
    Json,
    Rejected,
    Scripted,
    Sent,
    TimedOut,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["EXECUTOR", "PROBE", "Case", "LanguageCase", "cases", "language_cases"]

EXECUTOR = "scripted"  # the one executor of all plain tasks; it looks its task up in the script
KINDS = [EXECUTOR] * 14 + [GROUP] * 4 + [AGGREGATE, SLEEP]
ID_STYLES = ["t{}", "t{}", "task-{}", "T.{}"]
PROBE = "probe"  # the same in `language_cases`
MAP, TREE_MAP = "map", "map of trees"  # kinds of tasks, not executors
LISTS = (MAP, TREE_MAP)  # kinds whose result is a list
OF_PLAIN = [PROBE] * 11 + [GROUP] * 3 + [MAP] * 4 + [APPROVAL, APPROVAL, EVENT, AGGREGATE, SLEEP]
OF_LANGUAGE = [*OF_PLAIN, TREE, TREE, TREE_MAP, TREE_MAP]
KEYS = ["a", "b", "flag", "count", "t0", "t1"]  # few, so that authors, edges and spreads collide

TAPE = 96  # bytes for one task: the longest ones need about 80, and a tape that ended reads 0
LONG_TAPE = 192  # for one task of the whole language

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


@dataclass(frozen=True)
class LanguageCase:
    """A valid document that may use the whole language, and everything that running it takes.

    The keys of the script are paths, as `oracle.Script` says.
    """

    document: dict[str, Json]
    script: dict[str, End | list[Scripted]]
    tree_inputs: dict[str, Json]
    seed: int

    def chance(self) -> random.Random:
        """The same stream of choices each time, as of a `Case`."""
        return random.Random(self.seed)


@st.composite
def language_cases(
    draw: st.DrawFn,
    *,
    max_tasks: int = 10,
    depth: int = 2,
    on_failure: str = "continue",
    far_references: bool | None = None,
) -> LanguageCase:
    """Valid trees of 1 to `max_tasks` tasks with sub-trees up to `depth` levels below.

    Expressions name tasks far upstream, except under `on_failure: cancel`, where those could name
    what is cut.
    """
    far = on_failure != "cancel" if far_references is None else far_references
    writer = _Writer(draw, far_references=far)
    dice = _Dice(draw(st.binary(min_size=32, max_size=32)))
    document = writer.document(dice, "", max_tasks, depth)
    document["on_failure"] = on_failure
    if dice.one_in(2):
        document["user_id"] = "acme"
    overrides: dict[str, Json] = {"flag": True, "name": "m"} if dice.one_in(3) else {}
    return LanguageCase(document, writer.script, overrides, draw(st.integers(0, 2**32 - 1)))


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


def _plan(
    dice: _Dice,
    of_tasks: Sequence[_Dice],
    *,
    far_references: bool,
    of_kinds: Sequence[str] = KINDS,
) -> _Plan:
    style = dice.pick(ID_STYLES)
    calm = dice.pick([3, 6, 20])  # one task in so many fails
    own = {style.format(number): each for number, each in enumerate(of_tasks)}
    shape = _shape(own, of_kinds)
    return _Plan(
        kinds=shape.kinds,
        parents=shape.parents,
        dice=own,
        edges=_edges(own, _hidden_order(shape, _sorted_by_dice(own))),
        script={e: _scripted(own[e], calm) for e in own if shape.kinds[e] in (EXECUTOR, PROBE)},
        far_references=far_references,
    )


def _shape(dice: Mapping[str, _Dice], of_kinds: Sequence[str]) -> _Shape:
    kinds = {each: own.pick(of_kinds) for each, own in dice.items()}
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
    if plan.kinds[dependency] in LISTS:
        return key
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


# --- The whole language ----------------------------------------------------------------------

MOST_TREES = 3  # of a case: they multiply
MOST_TREE_TASKS = 4
TOLERATE: list[Json] = [1, 2, 0, "100%", "50%", "25%", "0%"]
RETRY_INTERVAL: Json = 0.1
ANSWERED, TIMED_OUT = "1h", "1s"  # a wait that ends in time; one that somebody sits through
OF_ITEMS = ["item", "index", "item.flag", "item.a || index", "[index, item]"]


@dataclass(frozen=True)
class _Scope:
    """What values of one task may name: tasks, items, and what text may hold of them."""

    plan: _Plan
    names: list[str]
    is_item: bool = False
    text_items: bool = False  # items are scalars, so text may hold them


@dataclass
class _Writer:
    """Writes documents, sub-trees within them, and one script for all."""

    draw: st.DrawFn
    far_references: bool
    script: dict[str, End | list[Scripted]] = field(
        default_factory=dict[str, "End | list[Scripted]"]
    )
    trees: int = 0

    def document(self, dice: _Dice, path: str, max_tasks: int, depth: int) -> dict[str, Json]:
        """A tree whose tasks have this path before their ids."""
        tapes = [st.binary(min_size=LONG_TAPE, max_size=LONG_TAPE)]
        tapes *= self.draw(st.integers(1, max_tasks))
        plan = _plan(
            dice,
            [_Dice(self.draw(tape)) for tape in tapes],
            far_references=self.far_references,
            of_kinds=OF_LANGUAGE if depth > 0 else OF_PLAIN,
        )
        document: dict[str, Json] = {"name": dice.pick(["fuzz", "inner.1", "x-y"])}
        document["inputs"] = _declared(dice, is_inner=bool(path))
        if dice.one_in(2):
            document["max_in_flight"] = 1 + dice.below(5)
        document["tasks"] = [self.task(plan, each, path, depth) for each in plan.kinds]
        if dice.one_in(3):
            document["outputs"] = _outputs(dice, plan)
        return document

    def task(self, plan: _Plan, task_id: str, path: str, depth: int) -> dict[str, Json]:
        """One task, and what it does."""
        dice, kind = plan.dice[task_id], plan.kinds[task_id]
        task = _common(dice, plan, task_id)
        unit = path + task_id
        if kind in LISTS:
            task |= _map_fields(dice, plan, task_id)
        if kind in (PROBE, MAP):
            self.plain(dice, plan, task, unit)
        if kind in (TREE, TREE_MAP):
            self.subtree(dice, plan, task, unit, depth)
        if kind in (APPROVAL, EVENT):
            self.wait(dice, task, kind, unit)
        if kind == SLEEP:
            task["inputs"] = {"duration": "1s"}
        if kind != GROUP and dice.one_in(4):
            task["compensate"] = self.compensation(dice, plan, task_id, unit)
        return task

    def plain(self, dice: _Dice, plan: _Plan, task: dict[str, Json], unit: str) -> None:
        """An activity, or one per item."""
        scope = _scope(plan, task)
        if dice.one_in(5) is False:
            task["inputs"] = {key: _any_value(dice, scope) for key in dice.some(KEYS, at_most=3)}
        usual = plan.script.get(str(task["id"])) or _scripted(dice, 5)
        self.script[unit] = usual
        if dice.one_in(4):
            task["retry"] = {
                "maximum_attempts": 1 + dice.below(4),
                "initial_interval": RETRY_INTERVAL,
            }
            self.script[unit] = _attempts(dice, usual)
        if "for_each" in task:
            for index in dice.some(range(4), at_most=2):
                self.script[f"{unit}[{index}]"] = _scripted(dice, 2)

    def subtree(
        self, dice: _Dice, plan: _Plan, task: dict[str, Json], unit: str, depth: int
    ) -> None:
        """A tree in the tree, or the same one per item."""
        below = depth - 1 if self.trees < MOST_TREES else 0
        self.trees += 1
        most = MOST_TREE_TASKS if self.trees <= MOST_TREES else 1
        own = _Dice(self.draw(st.binary(min_size=32, max_size=32)))
        document = self.document(own, f"{unit}/", most, below)
        declared = list(cast("dict[str, Json]", document["inputs"]))
        keys = [key for key in declared if key != "name"]  # stays a text, so that text may hold it
        scope = _scope(plan, task)
        task["inputs"] = {key: _any_value(dice, scope) for key in dice.some(keys, at_most=3)}
        task["tree"] = document
        if dice.one_in(2):
            task["executor"] = TREE
        if "for_each" in task:
            self.override_inside(dice, unit, document)

    def override_inside(self, dice: _Dice, unit: str, document: dict[str, Json]) -> None:
        """One of the items sees a plain task of its sub-tree end in another way."""
        tasks = cast("list[dict[str, Json]]", document["tasks"])
        plain = [str(e["id"]) for e in tasks if e.get("executor") == PROBE and "for_each" not in e]
        if plain and dice.one_in(2):
            self.script[f"{unit}[{dice.below(3)}]/{dice.pick(plain)}"] = _scripted(dice, 2)

    def wait(self, dice: _Dice, task: dict[str, Json], kind: str, unit: str) -> None:
        """An approval or an event: whether it times out is written on both sides."""
        inputs: dict[str, Json] = {}
        is_late = dice.one_in(5)
        if kind == EVENT:
            prefix = "${{ inputs.name }}." if dice.one_in(3) else ""
            inputs["event"] = prefix + unit.replace("/", ".")
        elif dice.one_in(3):
            inputs["prompt"] = "Go on with ${{ inputs.name }}?"
        if is_late or dice.one_in(3):
            inputs["timeout"] = TIMED_OUT if is_late else ANSWERED
        if kind == APPROVAL and dice.one_in(2):
            inputs["on_timeout"] = dice.pick(["approve", "reject", "fail"])
        if inputs:
            task["inputs"] = inputs
        self.script[unit] = TimedOut() if is_late else _answer(dice, kind)

    def compensation(self, dice: _Dice, plan: _Plan, task_id: str, unit: str) -> dict[str, Json]:
        """What undoes a task; it may name every task, since all of them have settled."""
        self.script[f"{unit}~compensate"] = _scripted(dice, 4)
        own, other = _path(task_id), _path(dice.pick(list(plan.kinds)))
        values: list[Json] = [
            f"${{{{ {own}.result }}}}",
            f"${{{{ {other}.result }}}}",
            f"undo {task_id}, ${{{{ {other}.status }}}}",
            "now",
            f"undo ${{{{ {other}.error_type }}}}",  # fails unless that one failed
        ]
        written: dict[str, Json] = {"executor": PROBE}
        inputs = {key: dice.pick(values) for key in dice.some(KEYS, at_most=2)}
        return {**written, "inputs": inputs} if inputs or dice.one_in(2) else written


def _declared(dice: _Dice, *, is_inner: bool) -> dict[str, Json]:
    """Inputs that every tree declares, and in a sub-tree some of the keys that results get."""
    always: dict[str, Json] = {
        "flag": dice.one_in(2),
        "count": dice.below(3),
        "name": "n",
        "items": dice.pick([[1, "x"], [], [{"flag": True, "a": None}, {"flag": False}, None]]),
    }
    more = {key: dice.pick(SCALARS) for key in dice.some(KEYS, at_most=4)} if is_inner else {}
    return {**more, **always}


def _common(dice: _Dice, plan: _Plan, task_id: str) -> dict[str, Json]:
    """What tasks of all kinds have."""
    kind = plan.kinds[task_id]
    task: dict[str, Json] = {"id": task_id}
    if kind not in (TREE, TREE_MAP):
        task["executor"] = PROBE if kind == MAP else kind
    if plan.parents[task_id] is not None:
        task["parent_id"] = plan.parents[task_id]
    if plan.edges[task_id]:
        task["dependencies"] = _language_dependencies(dice, plan, task_id)
    if dice.one_in(5):
        task["when"] = _any_condition(dice, plan, plan.nameable(task_id))
    if dice.one_in(5):
        task["allow_failure"] = True
    if kind != GROUP and dice.one_in(3):
        task["priority"] = dice.below(4)
    return task


def _language_dependencies(dice: _Dice, plan: _Plan, task_id: str) -> list[Json]:
    """As mappings, and a required one that says no more sometimes as its bare id."""
    written = cast("list[dict[str, Json]]", _dependencies(dice, plan, task_id))
    is_short = dice.one_in(2)
    return [
        each["id"] if is_short and each["required"] and "into" not in each else each
        for each in written
    ]


def _map_fields(dice: _Dice, plan: _Plan, task_id: str) -> dict[str, Json]:
    fields: dict[str, Json] = {"for_each": _for_each(dice, plan, plan.nameable(task_id))}
    if dice.one_in(2):
        fields["tolerate"] = dice.pick(TOLERATE)
    if dice.one_in(3):
        fields["max_in_flight"] = 1 + dice.below(3)
    return fields


def _for_each(dice: _Dice, plan: _Plan, names: Sequence[str]) -> Json:
    if names and dice.one_in(2):
        named = f"{_path(_list_like(dice, plan, names))}.result"
        return dice.pick([f"{named} || `[]`", f"${{{{ {named} || `[1, null]` }}}}", named])
    items: list[Json] = list(dice.some(SCALARS, at_most=4))
    reference: Json = f"${{{{ {_typed(dice, names)} }}}}"
    return dice.pick(
        [
            items,
            [*items[:3], {"flag": True, "a": reference}],
            [*items[:3], reference],
            "inputs.items",
            "${{ inputs.items }}",
            "[inputs.flag, inputs.count]",
        ]
    )


def _list_like(dice: _Dice, plan: _Plan, names: Sequence[str]) -> str:
    """Mostly a task whose result is a list; another makes a map fail."""
    lists = [e for e in names if plan.kinds[e] in LISTS or _gives_list(plan, e)]
    return dice.pick(lists if lists and not dice.one_in(4) else names)


def _gives_list(plan: _Plan, task_id: str) -> bool:
    return task_id in plan.script and isinstance(plan.script[task_id].value, list)


def _scope(plan: _Plan, task: Mapping[str, Json]) -> _Scope:
    items = task.get("for_each")
    is_plain = isinstance(items, list) and not any(
        isinstance(each, dict | list) or "${{" in str(each) for each in items
    )
    names = plan.nameable(str(task["id"]))
    return _Scope(plan, names, is_item="for_each" in task, text_items=is_plain)


# --- What ends the new kinds -----------------------------------------------------------------


def _attempts(dice: _Dice, end: Scripted) -> list[Scripted]:
    """Some failures that may be tried again, then an end; maybe one attempt too late."""
    tries = [Scripted(ok=False, value=f"try {at}", retryable=True) for at in range(dice.below(4))]
    last = Scripted(ok=False, value="still", retryable=True) if dice.one_in(6) else end
    return [*tries, last]


def _answer(dice: _Dice, kind: str) -> End:
    if kind == EVENT:
        return Sent(_result(dice))
    by, note = dice.pick(["ann", "bob", None]), dice.pick(["too dear", None])
    if dice.one_in(4):
        return Rejected(by, note)
    return Approved(by, note, dice.pick([None, None, 7, "x", {"flag": True}]))


# --- Expressions of the new kinds ------------------------------------------------------------

FIELDS: dict[str, list[str]] = {
    MAP: ["result", "result[0]", "length(@.result || `[]`)", "result[-1].flag", "error_type"],
    TREE: ["result", "result.out0", "result.t0", "result.t1.flag", "error_type"],
    TREE_MAP: ["result", "result[0].out0", "result[].t0", "result[*].out1", "status"],
    APPROVAL: ["result", "result.approved", "result.by", "result.result", "error_type"],
}
CONDITIONS: dict[str, list[str]] = {
    MAP: [
        "{}.result[0]",
        "length({}.result) > `1`",  # fails if the map did
        "{}.error_type == 'map_failed'",
        "contains({}.result || `[]`, `null`)",
    ],
    TREE: ["{}.result.out0", "{}.result.t0.flag", "{}.error_type == 'tree_failed'"],
    TREE_MAP: ["{}.result[].out0", "{}.result[1]", "{}.error_type == 'map_failed'"],
    APPROVAL: [
        "{}.result.approved",
        "{}.result.by == 'ann'",
        "{}.error_type == 'rejected'",
        "{}.result.timed_out",
    ],
    EVENT: ["{}.result.flag", "{}.error_type == 'timeout_error'"],
}


def _any_typed(dice: _Dice, scope: _Scope) -> str:
    if scope.is_item and dice.one_in(2):
        return dice.pick(OF_ITEMS)
    if not scope.names or dice.one_in(3):
        return _typed(dice, scope.names)
    named = dice.pick(scope.names)
    field_of = dice.pick(FIELDS.get(scope.plan.kinds[named], TYPED_FIELDS))
    if "@" in field_of:
        return field_of.replace("@", _path(named))
    return f"{_path(named)}.{field_of}"


def _any_value(dice: _Dice, scope: _Scope) -> Json:
    kind = dice.pick(["scalar", "typed", "typed", "text", "list", "mapping"])
    if kind == "scalar":
        return dice.pick(SCALARS)
    if kind == "typed":
        return f"${{{{ {_any_typed(dice, scope)} }}}}"
    if kind == "text":
        return _any_text(dice, scope)
    inner: Json = f"${{{{{_any_typed(dice, scope)}}}}}"
    return [inner, _any_text(dice, scope)] if kind == "list" else {dice.pick(KEYS): inner}


def _any_text(dice: _Dice, scope: _Scope) -> str:
    """Text holds scalars only; of an item that is null it holds nothing, and the item fails."""
    if scope.is_item and dice.one_in(2):
        first = "item" if scope.text_items and dice.one_in(2) else "index"
    else:
        first = dice.pick(["inputs.name", "tree.name"])
    names = [each for each in scope.names if scope.plan.kinds[each] not in FIELDS]
    if not names:
        return f"is ${{{{ {first} }}}}!"
    named = dice.pick(names)
    second = _nullable(dice, scope.plan, named) if dice.one_in(5) else "status"
    return f"${{{{ {first} }}}}/${{{{{_path(named)}.{second}}}}}"


def _any_condition(dice: _Dice, plan: _Plan, names: Sequence[str]) -> str:
    special = [each for each in names if plan.kinds[each] in CONDITIONS]
    if not special or dice.one_in(3):
        return _condition(dice, names)
    named = dice.pick(special)
    condition = dice.pick(CONDITIONS[plan.kinds[named]]).format(_path(named))
    return dice.pick([condition, condition, f"${{{{ {condition} }}}}", f"!({condition})"])


def _outputs(dice: _Dice, plan: _Plan) -> dict[str, Json]:
    """Explicit outputs may name every task; few of them fail."""
    scope = _Scope(plan, list(plan.kinds))
    outputs: dict[str, Json] = {"out0": f"${{{{ {_any_typed(dice, scope)} }}}}"}
    if dice.one_in(2):
        outputs["out1"] = _any_value(dice, scope)
    return outputs
