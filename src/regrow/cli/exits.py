"""Exit codes, and how an error becomes one."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Final

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

people = Console(stderr=True, highlight=False, soft_wrap=True)
"""Text for people goes to stderr, so that stdout is the result alone."""


def code_of(status: Status) -> ExitCode:
    """Give the exit code of a tree's end."""
    return _BY_STATUS.get(status, ExitCode.STILL_RUNNING)


def explain(error: Exception) -> ExitCode | None:
    """Tell a person about an error we know; gives None for one we don't."""
    if isinstance(error, InvalidTree):
        show_problems(error.problems)
        return ExitCode.INVALID
    if isinstance(error, ExecutorErrors):
        _list("the executors cannot be used", error.problems)
        return ExitCode.ERROR
    if isinstance(error, InvalidSettings):
        _list("the settings cannot be used", error.problems)
        return ExitCode.ERROR
    if isinstance(error, TreeError | RequestRefused):
        say(f"error: {error}")
        return ExitCode.ERROR
    return _explain_outside(error)


def _explain_outside(error: Exception) -> ExitCode | None:
    """Tell about what the server or the system refuses."""
    if isinstance(error, RPCError):
        say(f"error: Temporal refuses it: {' '.join(error.message.split())}")
        return _BY_RPC_STATUS.get(error.status, ExitCode.ERROR)
    if isinstance(error, RuntimeError) and str(error).startswith(_NO_WORKER):
        say(f"error: Temporal refuses the worker: {reason_of(error)}")
        return ExitCode.ERROR
    if isinstance(error, OSError):
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        say(f"error: {what}")
        return ExitCode.ERROR
    return None


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
