"""Commands that host something: a worker, a local server; and what they would host."""

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from regrow.activities.catalogue import BUILT_IN
from regrow.cli import options as opt
from regrow.cli.commands import Work
from regrow.cli.exits import ExitCode, say
from regrow.cli.follow import print_json
from regrow.cli.init import FilesExist, write_project
from regrow.cli.session import Target
from regrow.embedded import EmbeddedServer, embedded_server
from regrow.executors import ALIAS, Executor
from regrow.logs import configure_logs
from regrow.worker import configure, run_worker, running_worker, stop_signals


def executors(
    sources: opt.Executors = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schemas too.")] = False,
    output: opt.OutputOption = opt.Output.TEXT,
) -> ExitCode:
    """List the executors that a worker would have, and what is missing for them.

    Example: regrow executors --executors executors.py

    Example: regrow executors --executors executors.py --schema
    """
    _, registry = configure(sources or ())
    found = sorted(registry, key=lambda executor: (_is_ours(executor), executor.id))
    if schema or output is not opt.Output.TEXT:
        print_json([_executor_json(executor) for executor in found])
        return ExitCode.DONE
    table = Table(box=None, pad_edge=False)
    table.add_column("ID", no_wrap=True)
    for column in ("DESCRIPTION", "FROM", "NEEDS"):
        table.add_column(column, overflow="fold")
    for executor in found:
        if ALIAS not in executor.tags:
            table.add_row(*_row(executor))
    Console().print(table)
    if needs := " ".join(dict.fromkeys(f"'{need}'" for each in found for need in each.missing)):
        say(f"install what is missing: pip install {needs}")
    return ExitCode.DONE


def _row(executor: Executor) -> tuple[str, str, str, str]:
    first_line = executor.description.strip().split("\n", 1)[0]
    origin = "built in" if _is_ours(executor) else executor.source
    return executor.id, escape(first_line), escape(origin), escape(", ".join(executor.missing))


def _is_ours(executor: Executor) -> bool:
    return executor.target.__module__ in BUILT_IN


def worker(
    executors: opt.Executors = None,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
    task_queue: opt.TaskQueue = None,
) -> Work:
    """Run a worker until Ctrl-C or SIGTERM; tasks that run are given time to end.

    Settings: REGROW_EXECUTORS, REGROW_TASK_QUEUE, REGROW_MAX_CONCURRENT_TASKS,
    REGROW_GRACEFUL_SHUTDOWN_TIMEOUT, REGROW_COMMAND_ALLOW, REGROW_LOG_LEVEL, REGROW_LOG_FORMAT;
    where Temporal is: TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, TEMPORAL_TLS_….

    Example: regrow worker --executors executors.py --address localhost:7233
    """
    settings, registry = configure(executors or (), task_queue)
    configure_logs(level=settings.log_level, style=settings.log_format)

    async def work() -> ExitCode:
        client = await Target(address, namespace, profile, settings.task_queue).connect()
        await run_worker(client.client, registry, settings)
        return ExitCode.DONE

    return work()


def dev(
    executors: opt.Executors = None,
    db: opt.Database = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="Temporal's port.")
    ] = 7233,
    ui_port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="The Web UI's port.")
    ] = 8233,
    with_worker: Annotated[
        bool | None,
        typer.Option(
            "--worker/--no-worker",
            help="Run a worker beside the server; default: if any executors are named.",
        ),
    ] = None,
    task_queue: opt.TaskQueue = None,
) -> Work:
    """Run a local Temporal with its Web UI, and a worker, until Ctrl-C.

    Example: regrow dev --db state.db --executors executors.py
    """
    settings, registry = configure(executors or (), task_queue)
    configure_logs(level=settings.log_level, style=settings.log_format)
    named = bool(executors or settings.executors)
    hosts = named if with_worker is None else with_worker

    async def work() -> ExitCode:
        with stop_signals() as stop:
            async with embedded_server(db=db, port=port, ui_port=ui_port) as server:
                _greet(server, hosts=hosts)
                if hosts:
                    async with running_worker(server.client, registry, settings):
                        await stop.wait()
                else:
                    await stop.wait()
        return ExitCode.DONE

    return work()


def init(
    directory: Annotated[
        Path,
        typer.Argument(
            help="Where to write it; nothing that is there is overwritten.", metavar="DIR"
        ),
    ],
) -> ExitCode:
    """Write a small project that runs: executors, a tree and its tests.

    Example: regrow init invoices
    """
    if directory.is_file():
        say(f"error: {directory} is a file; name a directory")
        return ExitCode.ERROR
    try:
        written = write_project(directory)
    except FilesExist as error:
        say(f"error: {error}; name another directory, or move them away")
        return ExitCode.ERROR
    for path in written:
        typer.echo(path)
    if directory.resolve() != Path.cwd():
        say(f"now: cd {shlex.quote(str(directory))}")
    say("then: regrow run tree.yaml --executors executors.py   (README.md says more)")
    return ExitCode.DONE


def _greet(server: EmbeddedServer, *, hosts: bool) -> None:
    say(f"Temporal: {server.address}  Web UI: {server.ui_url}  (Ctrl-C stops)")
    if not hosts:
        say("no worker here: run `regrow worker --executors FILE.py` in another terminal")


def _executor_json(executor: Executor) -> dict[str, Any]:
    return {
        "id": executor.id,
        "description": executor.description,
        "tags": list(executor.tags),
        "source": executor.source,
        "examples": list(executor.examples),
        "requires": list(dict.fromkeys(executor.requires.values())),
        "missing": list(executor.missing),
        "policy": executor.policy.model_dump(mode="json", exclude_defaults=True),
        "input_schema": executor.input_schema(),
        "output_schema": executor.output_schema(),
    }


COMMANDS: Final[Mapping[str, Callable[..., Work | ExitCode]]] = {
    "executors": executors,
    "worker": worker,
    "dev": dev,
    "init": init,
}
