"""Exit codes, and how an error becomes one."""

import re
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final, cast

import typer
from rich.console import Console
from temporalio.service import RPCError, RPCStatusCode

from regrow.client import RequestRefused, TreeError
from regrow.client.tree_client import reason_of
from regrow.core.problems import InvalidTree, Problem
from regrow.core.wire import Status
from regrow.executors import ExecutorErrors
from regrow.settings import InvalidSettings

MOST_PROBLEMS: Final = 200


class ExitCode(IntEnum):
    """What the shell learns."""

    DONE = 0
    ERROR = 1
    INVALID = 2
    FAILED = 3
    CANCELLED = 4
    STILL_RUNNING = 5
    INTERRUPTED = 130


_BY_STATUS: Final = {
    Status.COMPLETED: ExitCode.DONE,
    Status.FAILED: ExitCode.FAILED,
    Status.CANCELLED: ExitCode.CANCELLED,
}

_BY_RPC_STATUS: Final = {RPCStatusCode.INVALID_ARGUMENT: ExitCode.INVALID}
"""Such as a list filter that is none; all else is no fault of the command line's."""

_NO_WORKER: Final = "Worker validation failed"
"""How the SDK begins to say that there is no such namespace, or no permission."""

_SETTING: Final = "REGROW_"
_NO_NAMESPACE: Final = re.compile(r"Namespace \S+ is not found")
_NAMESPACE_HINT: Final = " `temporal operator namespace list` shows them; -n names one"

UsageError: Final = cast("type[Exception]", typer.BadParameter.__bases__[0])
"""What is wrong with a command line; where this class lives depends on the version of typer."""
_TREE: Final = "--workflow-id"
_NO_BRACES: Final = str.maketrans("", "", "{}")

people = Console(stderr=True, highlight=False, soft_wrap=True)
"""Text for people goes to stderr, so that stdout is the result alone."""


def code_of(status: Status) -> ExitCode:
    """Give the exit code of a tree's end."""
    return _BY_STATUS.get(status, ExitCode.STILL_RUNNING)


def explain(error: Exception) -> ExitCode | None:
    """Tell a person about an error we know; gives None for one we don't."""
    if isinstance(error, InvalidTree):
        say("error: the tree is refused:")
        show_problems(error.problems)
        return ExitCode.INVALID
    if isinstance(error, ExecutorErrors):
        _list("the executors cannot be used", error.problems)
        return ExitCode.ERROR
    if isinstance(error, InvalidSettings):
        of_settings = any(problem.startswith(_SETTING) for problem in error.problems)
        what = "the settings" if of_settings else "the executors"
        _list(f"{what} cannot be used", error.problems)
        return ExitCode.ERROR
    if isinstance(error, TreeError | RequestRefused):
        say(f"error: {error}")
        return ExitCode.ERROR
    return _explain_outside(error)


def _explain_outside(error: Exception) -> ExitCode | None:
    """Tell about what the server or the system refuses."""
    if isinstance(error, RPCError):
        message = " ".join(error.message.split())
        hint = _NAMESPACE_HINT if _NO_NAMESPACE.search(message) else ""
        say(f"error: Temporal refuses it: {message}{hint}")
        return _BY_RPC_STATUS.get(error.status, ExitCode.ERROR)
    if isinstance(error, RuntimeError) and str(error).startswith(_NO_WORKER):
        say(f"error: Temporal refuses the worker: {reason_of(error)}")
        return ExitCode.ERROR
    if isinstance(error, OSError):
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        say(f"error: {what}")
        return ExitCode.ERROR
    return None


def show_usage(error: Any) -> None:
    """Tell what is wrong with a command line, and how it is written if that is not clear."""
    if type(error).__name__ == "NoArgsIsHelpError":  # the help has been shown
        return
    if type(error) is typer.BadParameter and error.param is not None:
        say(f"error: {error.param.opts[-1]}: {_plain(error.message)}")
        return
    say(f"error: {_lower(error.format_message())}")
    if error.ctx is not None:
        if _lacks_tree(error):
            say(f"a tree is named by -w: {error.ctx.command_path} -w ID")
        usage = error.ctx.get_usage().removeprefix("Usage: ").translate(_NO_BRACES)
        say(f"usage: {usage}; {error.ctx.command_path} --help says more")


def _lacks_tree(error: Any) -> bool:
    """Tell whether somebody seems to have written a tree's id where arguments stand."""
    takes_tree = any(_TREE in param.opts for param in error.ctx.command.params)
    message = error.format_message()
    return takes_tree and (_TREE in message or "unexpected extra" in message)


def _plain(message: str) -> str:
    """Leave out what only says by which library a value was looked at."""
    return _lower(message).removeprefix("value error, ").partition(", unable to parse")[0]


def _lower(message: str) -> str:
    return f"{message[:1].lower()}{message[1:]}".removesuffix(".")


def show_problems(problems: Sequence[Problem], file: str | None = None) -> None:
    """Print problems as `FILE:LINE:COL: path: message`, which editors and terminals can follow."""
    for problem in problems[:MOST_PROBLEMS]:
        where = problem.file or file
        place = f"{where}:" if where else ""
        if problem.line is not None:
            place += f"{problem.line}:{problem.column}:"
        say(f"{place} {problem}".strip())
    if len(problems) > MOST_PROBLEMS:
        say(f"… and {len(problems) - MOST_PROBLEMS} more problems")


def say(text: str) -> None:
    """Print a line for people, exactly as it is."""
    people.print(text, markup=False)


def _list(title: str, problems: Sequence[str]) -> None:
    say(f"error: {title}:")
    for problem in problems:
        say(f"  {problem}")
