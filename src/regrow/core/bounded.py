"""Evaluation within bounds, so that no expression can hold up or blow up a run.

A few characters can double a value at every step, or walk a list once for each of its elements.
So each step is paid from a budget that stands for time, and whatever C code would walk in one go
(to compare, search, sort, join, write out) is paid before it begins. A value that holds another
one many times over is small here and endless as JSON; it is weighed before anything walks it.
"""

import json
from builtins import isinstance
from collections.abc import Callable, Sequence
from typing import Any, Final

from jmespath.exceptions import JMESPathTypeError
from jmespath.functions import Functions
from jmespath.visitor import Options, TreeInterpreter

from regrow.core import limits

_BYTES_WALKED: Final = 8
_BYTES_WRITTEN: Final = 4
_CHARS_COPIED: Final = 16
_ITEMS_MATCHED: Final = 16
_ITEMS_MADE: Final = 8
_COMPARISONS: Final = 16
"""What may be done for the price of one step, which is about a third of a microsecond."""
_CALL: Final = 4
_MOST_SHOWN: Final = 1_000


class LimitError(ValueError):
    """What an expression asks for takes too long, or is too large or too deep."""


class Budget:
    """The steps left to the expressions of one value."""

    __slots__ = ("left", "steps")

    def __init__(self, steps: int = limits.MAX_STEPS) -> None:
        self.steps = self.left = steps

    @property
    def spent(self) -> int:
        """How many steps have been taken."""
        return self.steps - max(self.left, 0)

    def spend(self, steps: int) -> None:
        """Take steps away; raises `LimitError` once there are none."""
        self.left -= steps
        if self.left < 0:
            raise LimitError("takes too many steps; select less, or let a task compute it")

    def make(self, items: int) -> None:
        """Pay for making a mapping or a list that the author wrote; never too much by itself."""
        self.left -= items // _ITEMS_MADE + 1

    def copy(self, chars: int) -> None:
        """Pay for reading or writing so much text."""
        self.spend(chars // _CHARS_COPIED)

    def walk(self, value: object) -> None:
        """Pay for all that is inside a value, as often as it is."""
        self._weigh(value, _BYTES_WALKED)

    def write(self, value: object) -> None:
        """Pay for writing a value out as JSON."""
        self._weigh(value, _BYTES_WRITTEN)

    def match(self, items: list[Any], wanted: object) -> None:
        """Pay for comparing each item with a text or a number."""
        longest = weigh(wanted, limits.MAX_PAYLOAD)
        self.spend(len(items) * (1 + longest // _CHARS_COPIED) // _ITEMS_MATCHED)

    def sort(self, items: list[Any]) -> None:
        """Pay for putting items in order."""
        self.walk(items)
        self.spend(len(items) * len(items).bit_length() // _COMPARISONS)

    def _weigh(self, value: object, bytes_a_step: int) -> None:
        self.spend(weigh(value, bytes_a_step * self.left) // bytes_a_step + 1)


def search(parsed: Any, seen: object, budget: Budget) -> Any:
    """Evaluate a parsed expression; raises `LimitError`, or whatever the library raises."""
    return _Interpreter(budget).visit(parsed, seen)


def check_made(value: object, budget: Budget) -> None:
    """Refuse what an expression made if it is too large, too deep, or no JSON."""
    weight, depth = _measure(value, limits.MAX_PAYLOAD)
    if weight > limits.MAX_PAYLOAD:
        raise LimitError(f"gives more than {limits.MAX_PAYLOAD:,} bytes; select what is needed")
    if depth > limits.MAX_NESTING:
        raise LimitError(
            f"gives a value nested more than {limits.MAX_NESTING} deep; make it flatter"
        )
    budget.spend(weight // _BYTES_WALKED)
    json.dumps(value, allow_nan=False)


def weigh(value: object, most: int) -> int:
    """Give at least how many bytes a value takes as JSON; stops once above `most`."""
    return _measure(value, most)[0]


def _measure(value: object, most: int) -> tuple[int, int]:
    """Give a lower bound of the JSON's bytes, and how deep it goes; level by level, so not deeply.

    One byte of each item is counted with what holds it, as are commas and quotes of keys.
    """
    weight, depth = 1, 0
    level: list[Any] = [value]
    while True:
        below: list[Any] = []
        for item in level:  # without a call, which would cost more than all the rest
            kind: Any = item.__class__
            if kind is str:
                weight += len(item) + 1
            elif kind is list:
                weight += 2 * len(item) or 1
                below += item
            elif kind is dict:
                weight += 5 * len(item) + sum(map(len, item)) or 1
                below += item.values()
            elif kind is int:
                weight += item.bit_length() // 4
            if weight > most:
                return weight, depth
        if not below:
            return weight, depth
        depth, level = depth + 1, below


class _Functions(Functions):
    """The library's functions, which pay for what they will do."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def call_function(self, function_name: str, resolved_args: Any) -> Any:
        try:
            self._pay(function_name, resolved_args)
            return super().call_function(function_name, resolved_args)
        except JMESPathTypeError as error:
            # Its message writes the value out, which may be endless.
            if weigh(error.current_value, _MOST_SHOWN) > _MOST_SHOWN:
                error.current_value = "(a large one)"
            raise

    def _pay(self, name: str, args: Sequence[Any]) -> None:
        budget = self._budget
        budget.spend(_CALL)
        match name, args:
            case (("length" | "type" | "not_null" | "to_array"), _):
                pass
            case "merge", _ if not all(isinstance(arg, dict) for arg in args):
                # The library checks the first alone, and would make keys of what a list holds.
                raise ValueError("merge() takes objects only")
            case "to_string", [value]:
                budget.write(value)
            case "contains", [items, wanted] if _is_list(items):
                budget.walk(items) if _is_container(wanted) else budget.match(items, wanted)
            case "join", [between, items] if isinstance(between, str):
                budget.walk(items)
                budget.copy(len(between) * _size(items))
            case (("sort" | "sort_by"), [items, *_]) if _is_list(items):
                budget.sort(items)
            case _:
                budget.spend(sum(map(_size, args)))


class _Interpreter(TreeInterpreter):
    """The library's interpreter, which pays for each step."""

    def __init__(self, budget: Budget) -> None:
        super().__init__(Options(custom_functions=_Functions(budget)))
        self._budget = budget
        self._visits: dict[str, Callable[[Any, Any], Any]] = {}

    # The library's `*args` would double the time that a step takes.
    def visit(self, node: Any, value: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        budget = self._budget
        budget.left -= 1  # spend(1) without the call
        if budget.left < 0:
            budget.spend(0)
        kind = node["type"]
        visit = self._visits.get(kind)
        if visit is None:
            visit = self._visits[kind] = getattr(self, f"visit_{kind}")
        return visit(node, value)

    def visit_field(self, node: Any, value: Any) -> Any:
        # The library tries and catches, which takes three times as long where there is no field.
        get = getattr(value, "get", None)
        return None if get is None else get(node["value"])

    def visit_comparator(self, node: Any, value: Any) -> Any:
        left, right = [self.visit(child, value) for child in node["children"]]
        if node["value"] not in ("eq", "ne") and not (_is_ordered(left) and _is_ordered(right)):
            return None
        self._pay_for_comparing(left, right)
        return self.COMPARATOR_FUNC[node["value"]](left, right)

    def _pay_for_comparing(self, left: Any, right: Any) -> None:
        if isinstance(left, str):
            self._budget.spend(min(_size(left), _size(right)))
        elif _is_container(left) and type(left) is type(right) and len(left) == len(right):
            self._budget.walk(left)

    def visit_flatten(self, node: Any, value: Any) -> Any:
        base = self.visit(node["children"][0], value)
        if not _is_list(base):
            return None
        merged: list[Any] = []
        for item in base:
            part = item if _is_list(item) else [item]
            self._budget.spend(1 + len(part))
            merged += part
        return merged

    def visit_slice(self, node: Any, value: Any) -> Any:
        if _is_list(value):
            taken = slice(*node["children"]).indices(len(value))
            self._budget.spend(len(range(*taken)))
        return super().visit_slice(node, value)


# They answer with a plain bool: what is known to be a list is a list of unknown things to pyright.


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_container(value: Any) -> bool:
    return isinstance(value, list | dict)


def _is_ordered(value: Any) -> bool:
    return isinstance(value, int | float | str) and not isinstance(value, bool)


def _size(value: Any) -> int:
    """Give the steps for reading through a value once, but not through what is inside it."""
    if isinstance(value, str):
        return len(value) // _CHARS_COPIED
    return len(value) if _is_container(value) else 0
