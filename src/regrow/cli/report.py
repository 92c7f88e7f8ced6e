"""The command that writes down one run of a tree as a file to keep, print or attach."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from regrow.cli import options as opt
from regrow.cli.commands import Work
from regrow.cli.exits import ExitCode, say
from regrow.cli.histories import read_histories
from regrow.cli.session import Target
from regrow.client.report import report_from_events, report_of

_KILO: Final = 1024


def report(
    workflow_id: opt.AnyTreeId = None,
    history: opt.History = None,
    file: Annotated[
        str | None,
        typer.Option(
            "-O",
            "--output-file",
            metavar="FILE",
            help="The file to write, or - for standard output; default: the tree's id with .html.",
        ),
    ] = None,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work | ExitCode:
    """Write one HTML file about a run: errors, graph, timeline, tasks; needs no worker.

    It opens from a disk, without scripts or network, and prints. What looks like a secret by its
    name is hidden; look it over before it leaves the house.

    Example: regrow report -w nightly-7 -O run.html
    """
    if history:
        found = read_histories(history, workflow_id)
        if found is None:
            return ExitCode.INVALID
        return _write(report_from_events(*found), file, found[0])
    if workflow_id is None:
        say("error: say which tree: -w ID, or --history FILE")
        return ExitCode.INVALID

    async def work() -> ExitCode:
        handle = await Target(address, namespace, profile).open(workflow_id)
        return _write(await report_of(handle), file, workflow_id)

    return work()


def _write(page: str, file: str | None, tree_id: str) -> ExitCode:
    """Write the page, and say where it is and how large."""
    data = page.encode()
    path = Path(file or f"{tree_id.replace('/', '_')}.html")
    if file == "-":
        sys.stdout.buffer.write(data)
    else:
        path.write_bytes(data)
    where = "standard output" if file == "-" else path
    say(f"{where}: {len(data) / _KILO:,.0f} KB")
    return ExitCode.DONE


COMMANDS: Final[Mapping[str, Callable[..., Work | ExitCode]]] = {"report": report}
