"""The command that prepares a server."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Final

import typer

from regrow.cli import options as opt
from regrow.cli.commands import Work
from regrow.cli.exits import ExitCode
from regrow.cli.lists import columns, print_one
from regrow.cli.session import Target
from regrow.client.setup import Setup, set_up
from regrow.core.attributes import SEARCH_ATTRIBUTES


def setup(
    output: opt.OutputOption = opt.Output.TEXT,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work:
    """Register the search attributes by which `list --waiting` and the Web UI find trees.

    Once for a namespace; doing it again changes nothing. The servers of `regrow dev`, `regrow run`
    and the compose file have them.

    Example: regrow setup --address temporal.example:7233 -n trees
    """

    async def work() -> ExitCode:
        client = await Target(address, namespace, profile).connect()
        done = await set_up(client.client)
        if output is opt.Output.TEXT:
            for line in columns(_rows(done)):
                typer.echo(line)
        else:
            print_one(asdict(done), output)
        return ExitCode.DONE

    return work()


def _rows(done: Setup) -> list[tuple[str, str, str]]:
    return [
        (name, kind, "added" if name in done.added else "was there")
        for name, kind in SEARCH_ATTRIBUTES.items()
    ]


COMMANDS: Final[Mapping[str, Callable[..., Work | ExitCode]]] = {"setup": setup}
