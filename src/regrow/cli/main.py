"""The entry point: runs a command and turns whatever happens into an exit code and plain words."""

import asyncio
import atexit
import inspect
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from importlib.metadata import version
from typing import Annotated, Any, NoReturn

import click
import typer
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

from regrow.cli import hosts, trees
from regrow.cli.exits import ExitCode, explain, say

app = typer.Typer(
    name="regrow",
    help="Durable task trees on Temporal: whatever dies on the way, the tree finishes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
trees.add_to(app)
hosts.add_to(app)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback
    if wanted:
        typer.echo(f"regrow {version('regrow')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code."""
    _quiet_core()
    command = typer.main.get_command(app)
    try:
        outcome = command.main(
            list(sys.argv[1:] if argv is None else argv), "regrow", standalone_mode=False
        )
        if inspect.iscoroutine(outcome):
            return int(_run(outcome))
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return ExitCode.INVALID
    except click.ClickException as error:
        error.show()
        return ExitCode.INVALID
    except (KeyboardInterrupt, click.Abort):
        say("interrupted")
        return ExitCode.INTERRUPTED
    except Exception as error:
        code = explain(error)
        if code is None:
            raise
        return code
    return int(outcome or ExitCode.DONE)


def run_and_exit() -> NoReturn:
    """Run one command and end the process with its exit code.

    By now the worker and the server have been stopped in order. The interpreter itself is not taken
    down: a callback of the SDK's native threads may still be on its way back from a system call,
    and when it finds the interpreter gone CPython kills the thread in the middle of native code,
    which aborts one run in seven (docs/adr/0004-exit.md).
    """
    code = main()
    try:
        atexit._run_exitfuncs()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - as sys.exit does
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # whoever reads us has gone
        code = code or ExitCode.ERROR
    os._exit(code)


def _run(work: Coroutine[Any, Any, ExitCode]) -> ExitCode:
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


def _quiet_core() -> None:
    """Keep the SDK's native part from writing warnings over the picture; its errors stay."""
    levels = TelemetryFilter(core_level="ERROR", other_level="ERROR")
    Runtime.set_default(
        Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter=levels))),
        error_if_already_set=False,
    )
