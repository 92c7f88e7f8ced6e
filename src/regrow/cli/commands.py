"""From a function to a command: run what it returns, and give an exit code whatever happens."""

import asyncio
import functools
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import typer

from regrow.cli.exits import ExitCode, explain, say

Work = Coroutine[Any, Any, ExitCode]
"""What a command does once its arguments are read."""


def as_command(function: Callable[..., Work | ExitCode]) -> Callable[..., NoReturn]:
    """Make the command of a function that gives its exit code, at once or as a coroutine."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> NoReturn:
        raise typer.Exit(_exit_code(functools.partial(function, *args, **kwargs)))

    return run


def _exit_code(call: Callable[[], Work | ExitCode]) -> int:
    try:
        outcome = call()
        return int(_run(outcome) if isinstance(outcome, Coroutine) else outcome)
    except KeyboardInterrupt:
        say("interrupted")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # whoever reads us has gone, as in `regrow list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to flush
        return ExitCode.ERROR
    except Exception as error:
        code = explain(error)
        if code is None:
            raise
        return code


def _run(work: Work) -> ExitCode:
    """Run to the end; SIGTERM unwinds everything as Ctrl-C does."""

    async def body() -> ExitCode:
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    try:
        return asyncio.run(body())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
