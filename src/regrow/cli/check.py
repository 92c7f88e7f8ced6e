"""What can be checked of a tree before it runs: its executors, their inputs, and `--set`."""

import json
from collections.abc import Sequence

from regrow.activities.catalogue import built_in
from regrow.activities.describe import describe
from regrow.cli.exits import say, show_problems
from regrow.cli.inputs import invalid_inputs, lacking, unknown_inputs
from regrow.client import Document
from regrow.core.models import Json, TaskTree
from regrow.core.problems import InvalidTree, Problem, refuse_if, suggestion
from regrow.core.resolve import executor_ids, resolve
from regrow.executors import Registry


def check_with_executors(document: Document, tree: TaskTree, registry: Registry) -> bool:
    """Print what the executors say against the tree; tells whether it could run."""
    warnings = [*unknown_inputs(tree, registry), *lacking(tree, registry)]
    for problem in document.place(warnings):
        say(f"{document.name}:{problem.line}:{problem.column}: warning: {problem}")
    try:
        resolve(tree, describe(registry, executor_ids(tree)))
        refuse_if(list(invalid_inputs(tree, registry)))
    except InvalidTree as error:
        show_problems(document.place(error.problems), document.name)
        return False
    return True


def check_built_in(document: Document, tree: TaskTree) -> bool:
    """Print what the built-in executors say, where nobody knows the others; tells if it is fine.

    An executor that is nearly called like a built-in one may be somebody's own.
    """
    registry = built_in()
    described = describe(registry, executor_ids(tree))
    for name, about in described.unknown.items():
        if about.near_miss:
            say(f"{document.name}: warning: executor '{name}': did you mean '{about.suggestion}'?")
    for problem in document.place(list(unknown_inputs(tree, registry))):
        say(f"{document.name}:{problem.line}:{problem.column}: warning: {problem}")
    problems = list(invalid_inputs(tree, registry))
    show_problems(document.place(problems), document.name)
    return not problems


def parse_inputs(tree: TaskTree, settings: Sequence[str]) -> dict[str, Json]:
    """Read `NAME=VALUE` pairs as the types of the declared defaults.

    Raises `InvalidTree` for pairs that cannot be read and names that the tree doesn't declare.
    """
    problems: list[Problem] = []
    inputs: dict[str, Json] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        try:
            _check_name(name if equals else "", tree)
            inputs[name] = _typed(tree.inputs[name], text)
        except ValueError as error:
            problems.append(Problem("set", (), f"--set {setting}: {error}"))
    refuse_if(problems)
    return inputs


def _check_name(name: str, tree: TaskTree) -> None:
    if not name:
        raise ValueError("write NAME=VALUE")
    if name not in tree.inputs:
        hint = suggestion(name, tree.inputs) or f"; it declares {', '.join(tree.inputs) or 'none'}"
        raise ValueError(f"the tree declares no input '{name}'{hint}")


def _typed(default: Json, text: str) -> Json:
    """Text stays text where the default is text; otherwise the value is JSON of the same kind."""
    if isinstance(default, str):
        return text
    try:
        value: Json = json.loads(text)
    except ValueError:
        if default is None:
            return text
        raise ValueError(f"must be JSON like the default {json.dumps(default)}") from None
    if default is not None and _kind(value) != _kind(default):
        raise ValueError(f"must be a {_kind(default)} like the default {json.dumps(default)}")
    return value


def _kind(value: Json) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, list):
        return "list"
    return "mapping" if isinstance(value, dict) else "text" if isinstance(value, str) else "null"
