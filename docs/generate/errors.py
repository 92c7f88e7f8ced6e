"""The names of what goes wrong: error types of tasks and trees, problem codes of documents."""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Final

from docs.generate.markdown import code, joined, table

import regrow
from regrow.activities.catalogue import BUILT_IN
from regrow.activities.catalogue.failures import SHARED_ERRORS
from regrow.core.policies import NEVER_RETRIED
from regrow.core.wire import ErrorType
from regrow.executors import Registry, marked

_INTRO: Final = """
# Errors

Where to look: `regrow explain TASK -w ID` says it in words, `regrow show -w ID --task TASK` gives
`error` and `error_type`. Python's exceptions are in [the Python reference](python.md#regrowclient).
"""
_OF_TASKS: Final = """
The `error_type` of a task. Executors add types of their own: an exception's class name, or what a
`TaskError` says. Whether a failure is tried again is for the executor to say
([the table](../executors.md#what-an-executor-may-answer)); a type in `non_retryable_error_types`
never is, and these are always in there: {never}.
"""
_TYPES: Final = {
    ErrorType.EXECUTION: "The executor failed and gave no type.",
    ErrorType.VALIDATION: "The inputs don't fit the executor's type; none of its code ran.",
    ErrorType.TYPE: "For executors to use: a value of the wrong kind. Never retried.",
    ErrorType.CONTRACT: "The executor returned what JSON cannot hold, or has no `execute`.",
    ErrorType.TIMEOUT: "A timeout was exceeded; the text says which.",
    ErrorType.EXPRESSION: "A reference, `when` or `for_each` has no value, or a wait's inputs are"
    " none. The executor never ran.",
    ErrorType.UNKNOWN_EXECUTOR: "The worker doesn't have this executor, as an old one during a"
    " deploy. Retried by the task's policy.",
    ErrorType.GROUP_FAILED: "Something inside the group failed and isn't tolerated.",
    ErrorType.MAP_FAILED: "More items failed than the map tolerates.",
    ErrorType.SUBTREE_FAILED: "The sub-tree failed.",
    ErrorType.REJECTED: "Somebody rejected the approval.",
    ErrorType.TERMINATED: "The sub-tree's workflow was terminated.",
    ErrorType.PAYLOAD_TOO_LARGE: "Inputs or a result beyond what fits into history; return a"
    " reference instead.",
    ErrorType.NOT_ALLOWED: "The worker's operator hasn't allowed it: a program, a host, a module,"
    " an image or a file. The text names the setting.",
}
_WORKFLOW: Final = {
    ErrorType.INVALID_TREE: "The worker refused the document; the details list its problems.",
    ErrorType.TREE_FAILED: "The tree failed; the details hold the `TreeResult`.",
    ErrorType.TREE_CANCELLED: "The tree was cancelled; the details hold the `TreeResult`.",
    ErrorType.HISTORY_FULL: "The `error` of a tree that could not continue as new in time.",
}
_OF_WORKFLOWS: Final = """
The type of the failure with which the workflow ends, as Temporal's tools show it.
"""
_OF_DOCUMENTS: Final = """
A document is checked before anything starts, and every problem is listed: in Python as
`InvalidTree.problems`, each with `code`, `path`, `message` and, for files, `line` and `column`; on
the command line as `FILE:LINE:COL: path: message`, with exit code 2. A value of the wrong type or
beyond its limits has pydantic's code, such as `int_type` or `greater_than_equal`.
"""
_CODES: Final = {
    "ambiguous": "A task is named by a name that several have.",
    "and_more": "Stands for the problems that were too many to carry.",
    "compensate": "A wait, a group or a sub-tree is to undo something.",
    "cycle": "Tasks wait for each other; the message names them.",
    "duplicate_dependency": "The same dependency twice.",
    "duplicate_id": "Two tasks have the id.",
    "duplicate_into": "Two results would go into the same input.",
    "duplicate_key": "A key is written twice.",
    "encoding": "The file is not UTF-8.",
    "endless_retries": "`maximum_attempts: 0` without a `schedule_to_close_timeout`.",
    "expression": "An expression that cannot be read, or is too large.",
    "for_each": "A map of what cannot be one, or a map's field without `for_each`.",
    "id": "A name that is no id.",
    "invalid_input": "An executor would refuse the input.",
    "key": "A key that is no text.",
    "local": "A local task that cannot be one, or an attempt of it that may take too long.",
    "missing": "A field that must be there.",
    "missing_extra": "A library of the executor isn't installed here; a warning.",
    "not_json": "A value that JSON doesn't have, such as a date without quotes.",
    "not_upstream": "A reference to a task that is not upstream.",
    "number": "Infinity, or not a number.",
    "parent": "A nested task names another parent.",
    "parent_cycle": "Parents that contain each other.",
    "packed": "A compressed document is damaged, or unfolds to more than a document may have.",
    "payload_too_large": "The document is larger than a server takes.",
    "reference": "A reference to what there isn't.",
    "reserved": "The engine's own key.",
    "secret": "A secret where no worker could put its value in.",
    "self_dependency": "A task that depends on itself.",
    "set": "`--set` that cannot be read.",
    "shape": "A list where a mapping should be, or the like.",
    "syntax": "Not YAML, or not JSON.",
    "text": "Text that UTF-8 cannot hold.",
    "too_deep": "Nested too deep.",
    "too_large": "The file is too large to be read.",
    "too_many": "Too many tasks, or too many expressions.",
    "tree": "A sub-tree that cannot be read, or contradicts its task.",
    "unknown_dependency": "No task has this id.",
    "unknown_executor": "No worker has this executor.",
    "unknown_input": "An input that the tree, sub-tree or executor doesn't declare.",
    "unknown_key": "A key that the language doesn't have.",
    "unknown_parent": "No task has this id.",
    "user_id": "Several users in one tree, or a name that is too long.",
    "yaml": "Anchors, aliases or tags.",
}


def page() -> str:
    """Give the page; a name without a meaning, or a meaning without a name, is an error."""
    _same("error type", list(ErrorType), [*_TYPES, *_WORKFLOW])
    _same("problem code", sorted(set(problem_codes())), list(_CODES))
    never = ", ".join(map(code, NEVER_RETRIED))
    return joined(
        _INTRO,
        "## Of tasks",
        _OF_TASKS.format(never=never),
        table(("error_type", "meaning"), _rows(_TYPES)),
        "Of built-in executors:",
        table(("error_type", "meaning"), list(_of_built_in())),
        "## Of trees",
        _OF_WORKFLOWS,
        table(("type", "meaning"), _rows(_WORKFLOW)),
        "## Of documents",
        _OF_DOCUMENTS,
        table(("code", "meaning"), _rows(_CODES)),
    )


def _of_built_in() -> Iterator[tuple[str, str]]:
    """Give the error types that executors add, each with the executors of its file."""
    yield from _rows(SHARED_ERRORS)
    givers: dict[tuple[str, str], list[str]] = {}
    for name in BUILT_IN:
        module = import_module(name)
        ids = [code(executor.id) for executor in Registry(*marked(module))]
        for error in getattr(module, "ERRORS", {}).items():
            givers.setdefault(error, []).extend(ids)
    for (error_type, meaning), ids in givers.items():
        yield code(error_type), f"{', '.join(ids)}: {meaning}"


def problem_codes() -> Iterator[str]:
    """Find every code that the source gives to a problem."""
    for path in Path(regrow.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield from _code_of(node)


_MAKERS: Final = ("Problem", "_refuse", "_cycle_problem")


def _code_of(call: ast.Call) -> Iterator[str]:
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    if name in _MAKERS and call.args and isinstance(call.args[0], ast.Constant):
        yield str(call.args[0].value)


def _same(what: str, known: list[str], described: list[str]) -> None:
    wrong = sorted({str(name) for name in known} ^ {str(name) for name in described})
    if wrong:
        raise ValueError(f"docs/generate/errors.py: each {what} needs its meaning: {wrong}")


def _rows(meanings: dict[str, str] | dict[ErrorType, str]) -> list[tuple[str, str]]:
    return [(code(str(name)), meaning) for name, meaning in meanings.items()]
