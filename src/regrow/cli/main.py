"""The entry point of the `regrow` command."""

import atexit
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

from regrow.cli import (
    convert,
    cost,
    graph,
    hosts,
    report,
    rerun,
    schedule,
    schema,
    setup,
    simulation,
    steering,
    trees,
)
from regrow.cli.exits import ExitCode, UsageError, show_usage
from regrow.cli.help import PANELS, Group, add_commands

app = typer.Typer(
    name="regrow",
    cls=Group,
    help="Durable task trees on Temporal: whatever dies on the way, the tree finishes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS = {
    **trees.COMMANDS,
    **steering.COMMANDS,
    **rerun.COMMANDS,
    **graph.COMMANDS,
    **report.COMMANDS,
    **simulation.COMMANDS,
    **cost.COMMANDS,
    **hosts.COMMANDS,
    **schema.COMMANDS,
    **convert.COMMANDS,
    **setup.COMMANDS,
}
add_commands(app, _COMMANDS, PANELS)
app.add_typer(schedule.app, name="schedule", rich_help_panel="Run trees")


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
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return app(words, prog_name="regrow", standalone_mode=False) or ExitCode.DONE
    except SystemExit as end:  # of a completion, or of a pipe whose reader has gone
        return end.code if isinstance(end.code, int) else ExitCode.ERROR
    except UsageError as error:
        show_usage(error)
        return ExitCode.INVALID


def run_and_exit() -> NoReturn:
    """Run one command and end the process with its exit code.

    By now the worker and the server have been stopped in order. The interpreter itself is not taken
    down: a callback of the SDK's native threads may still be on its way back from a system call,
    and when it finds the interpreter gone CPython kills the thread in the middle of native code,
    which aborts one run in seven (docs/adr/0004-exit.md).
    """
    code: int = ExitCode.ERROR
    try:
        code = main()
    except BaseException:  # noqa: BLE001 - the interpreter will not print it any more
        traceback.print_exc()
    try:
        atexit._run_exitfuncs()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - as sys.exit does
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # whoever reads us has gone
        code = code or ExitCode.ERROR
    os._exit(code)


def _quiet_core() -> None:
    """Keep the SDK's native part from writing warnings over the picture; its errors stay."""
    levels = TelemetryFilter(core_level="ERROR", other_level="ERROR")
    Runtime.set_default(
        Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter=levels))),
        error_if_already_set=False,
    )
