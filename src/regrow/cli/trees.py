"""Commands about trees: check, run, start, follow, look, stop."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from regrow.activities.catalogue import make_registry
from regrow.activities.describe import describe
from regrow.cli import completion
from regrow.cli import options as opt
from regrow.cli.check import check_built_in, check_with_executors, parse_inputs
from regrow.cli.commands import Work
from regrow.cli.exits import ExitCode, say, show_problems
from regrow.cli.follow import follow_to_end, place_of, print_json
from regrow.cli.histories import fold_of
from regrow.cli.lists import print_list
from regrow.cli.session import Session, Target, session
from regrow.cli.still import print_tree
from regrow.cli.view.hints import Place
from regrow.client import Document, TreeHandle, TreeSummary, read_document
from regrow.client.report.words import count
from regrow.client.watching import Seen
from regrow.core.loading import with_inputs
from regrow.core.models import TaskTree
from regrow.core.problems import InvalidTree, suggestion
from regrow.core.resolve import executor_ids
from regrow.core.result import TreeResult
from regrow.executors import Registry
from regrow.logs import configure_logs
from regrow.settings import load_settings
from regrow.worker import stop_signals

_LIST_HEADER = ("ID", "NAME", "STATUS", "STARTED", "ENDED", "TASKS")
_TIME = "%Y-%m-%d %H:%M:%S"
_TASKS_SHOWN = 3
_ROW_KEY: Final = 2
"""A key of an entry of a bare list is this deep."""
_SUFFIXES: Final = (".yaml", ".yml", ".json")


def validate(file: opt.File, executors: opt.Executors = None) -> ExitCode:
    """Check a tree without running it; every problem is printed with its place.

    What built-in executors would refuse is found, too; with --executors also what yours would, and
    whether all of them exist. REGROW_EXECUTORS names yours as well.

    Example: regrow validate tree.yaml --executors executors.py
    """
    document, tree = read_both(file, ())
    if tree is None or document is None:
        return ExitCode.INVALID
    if not _is_fine(document, tree, executors):
        return ExitCode.INVALID
    edges = sum(len(task.dependencies) for task in tree.tasks)
    unchecked = "" if executors else "; --executors checks yours, too"
    tasks, dependencies = count(len(tree.tasks), "task"), count(edges, "dependency", "dependencies")
    say(f"{file}: fine: {tasks}, {dependencies}{unchecked}")
    return ExitCode.DONE


def _is_fine(document: Document, tree: TaskTree, executors: Sequence[str] | None) -> bool:
    if sources := (*load_settings().executors, *(executors or ())):
        return check_with_executors(document, tree, make_registry(tuple(dict.fromkeys(sources))))
    return check_built_in(document, tree)


def run(
    file: opt.File,
    executors: opt.Executors = None,
    inputs: opt.Set = None,
    workflow_id: opt.NewTreeId = None,
    db: opt.Database = None,
    output: opt.OutputOption = opt.Output.TEXT,
    timeout: opt.Timeout = None,
    demo: opt.Demo = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the embedded server up at the end, until Ctrl-C.")
    ] = False,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
    task_queue: opt.TaskQueue = None,
) -> Work | ExitCode:
    """Run a tree and follow it to its end.

    With no server configured and none on localhost:7233, an embedded Temporal and a worker are
    started for this run and stopped at its end.

    Example: regrow run tree.yaml --executors executors.py --set user_id=123

    Example: regrow run tree.yaml --executors executors.py --db state.db -w user-7
    """
    document, tree = read_both(file, inputs or ())
    if document is None or tree is None:
        return ExitCode.INVALID
    target = Target(address, namespace, profile, task_queue)

    async def work() -> ExitCode:
        configure_logs(level="ERROR")
        async with session(target, executors, db) as here:
            if not _may_run(document, tree, here.registry, named=bool(executors)):
                return ExitCode.INVALID
            handle = await here.client.start(tree, id=workflow_id, demo=demo)
            _announce(here, handle)
            stays = keep or not here.is_embedded
            code = await _followed(document, handle, output, timeout, stays=stays)
            if code is ExitCode.FAILED and not stays and db is None:
                say("to ask more, run it with --keep or --db FILE")
            if code is ExitCode.STILL_RUNNING and here.is_embedded:
                say("it stops now, with its server; with --db and -w a later run goes on")
            if keep and here.is_embedded:
                say("the server stays up until Ctrl-C")
                with stop_signals() as stop:
                    await stop.wait()
            return code

    return work()


def _may_run(document: Document, tree: TaskTree, registry: Registry | None, *, named: bool) -> bool:
    """Check with the executors there are; without a worker of our own, with the built-in ones."""
    if registry is None:
        return check_built_in(document, tree)
    unknown = describe(registry, executor_ids(tree)).unknown.values()
    fine = check_with_executors(document, tree, registry)
    if not (fine or named) and any(about.suggestion is None for about in unknown):
        say("name what has your executors: --executors MODULE|FILE.py")
    return fine


def start(
    file: opt.File,
    inputs: opt.Set = None,
    workflow_id: opt.NewTreeId = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also if a tree with this id has ended.")
    ] = False,
    demo: opt.Demo = False,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
    task_queue: opt.TaskQueue = None,
) -> Work | ExitCode:
    """Start a tree and print its id; a worker must be running.

    The same id with the same document attaches to the tree there is, also to one that has ended;
    with another document that is an error, which says what differs.

    Example: regrow start tree.yaml -w user-7 --set user_id=7
    """
    document, tree = read_both(file, inputs or ())
    if document is None or tree is None or not check_built_in(document, tree):
        return ExitCode.INVALID

    async def work() -> ExitCode:
        client = await Target(address, namespace, profile, task_queue).connect()
        handle = await client.start(tree, id=workflow_id, again=again, demo=demo)
        typer.echo(handle.id)
        if handle.attached:
            await _say_what_was_there(handle)
        return ExitCode.DONE

    return work()


async def _say_what_was_there(handle: TreeHandle) -> None:
    """Say that nothing was started, and what to do if that isn't what was meant."""
    about = await handle.workflow_handle.describe()
    if about.close_time is None:
        say("it was there already, and runs")
        return
    how = about.status.name.lower().replace("_", " ") if about.status else "ended"
    repair = f", `regrow rerun -w {handle.id} --failed` repairs it" if how == "failed" else ""
    say(f"it was there already, and has ended ({how}); --again starts it anew{repair}")


def watch(
    workflow_id: opt.TreeId,
    output: opt.OutputOption = opt.Output.TEXT,
    timeout: opt.Timeout = None,
    inside: Annotated[
        bool,
        typer.Option(
            "--inside/--no-inside", help="Follow the tasks of sub-trees too, of 20 at once."
        ),
    ] = True,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work | ExitCode:
    """Follow a tree from its beginning to its end; exits as `run` does.

    Whoever comes late sees everything so far first. With -o jsonl every change is a line of JSON.

    Example: regrow watch -w nightly-7
    """

    async def work() -> ExitCode:
        handle = await Target(address, namespace, profile).open(workflow_id)
        return await _followed(None, handle, output, timeout, inside=inside, stays=True)

    return work()


def show(
    workflow_id: opt.AnyTreeId = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="TASK",
            help="Show everything about one task, as JSON.",
            autocompletion=completion.tasks,
        ),
    ] = None,
    history: opt.History = None,
    output: opt.OutputOption = opt.Output.TEXT,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work | ExitCode:
    """Show how a tree stands now, read from its history; needs no worker, or not even a server.

    Example: regrow show -w nightly-7 --task save

    Example: temporal workflow show -w nightly-7 -o json | regrow show --history -
    """
    if history:
        fold = fold_of(history, workflow_id)
        if fold is None:
            return ExitCode.INVALID
        return _show(Seen(fold), fold.result(), task, output)
    if workflow_id is None:
        say("error: say which tree: -w ID, or --history FILE")
        return ExitCode.INVALID

    async def work() -> ExitCode:
        handle = await Target(address, namespace, profile).open(workflow_id)
        fold = handle.new_fold()
        result = await handle.status(fold)
        known = await handle.attempts() if fold.activities else {}
        return _show(Seen(fold, known), result, task, output, place_of(handle))

    return work()


def _show(
    seen: Seen,
    result: TreeResult,
    task: str | None,
    output: opt.Output,
    place: Place | None = None,
) -> ExitCode:
    if task is not None:
        if task not in result.tasks:
            hint = suggestion(task, result.tasks) or f"; it has {_few(list(result.tasks))}"
            say(f"error: the tree has no task '{task}'{hint}")
            return ExitCode.INVALID
        print_json(result.tasks[task].model_dump(mode="json"))
    elif output is not opt.Output.TEXT or seen.fold.tree is None:
        print_json(result.model_dump(mode="json"))
    else:
        print_tree(Console(highlight=False), seen.fold.tree, result, seen, place)
    return ExitCode.DONE


def result(
    workflow_id: opt.TreeId,
    output: opt.OutputOption = opt.Output.TEXT,
    timeout: opt.Timeout = None,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work | ExitCode:
    """Wait for a tree's end and print its result; exits as `run` does.

    Example: regrow result -w nightly-7 -o json --timeout 1h
    """

    async def work() -> ExitCode:
        handle = await Target(address, namespace, profile).open(workflow_id)
        return await follow_to_end(handle, output, timeout, quiet=True)

    return work()


def explain(
    task: Annotated[
        str,
        typer.Argument(help="The task's id.", metavar="TASK", autocompletion=completion.tasks),
    ],
    workflow_id: opt.TreeId,
    output: opt.OutputOption = opt.Output.TEXT,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work:
    """Say why a task waits, was skipped, failed or is being retried.

    Example: regrow explain save -w nightly-7
    """

    async def work() -> ExitCode:
        handle = await Target(address, namespace, profile).open(workflow_id)
        told = await handle.explain(task)
        if output is not opt.Output.TEXT:
            print_json({"task_id": told.task_id, "status": told.status, "because": told.lines})
            return ExitCode.DONE
        typer.echo(f"{told.task_id} is {told.status.value.replace('_', ' ')}")
        for line in told.lines:
            typer.echo(f"  {line}")
        return ExitCode.DONE

    return work()


def list_trees(
    failed: Annotated[bool, typer.Option("--failed", help="Those that failed.")] = False,
    waiting: Annotated[
        bool, typer.Option("--waiting", help="Those that wait for people; see `regrow setup`.")
    ] = False,
    running: Annotated[bool, typer.Option("--running", help="Those that have not ended.")] = False,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Those with this name.")] = None,
    query: Annotated[
        str,
        typer.Option(
            metavar="FILTER",
            help="A Temporal list filter, such as \"StartTime > '2026-01-31'\".",
            show_default=False,
        ),
    ] = "",
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="The most trees to list.")] = 100,
    output: opt.OutputOption = opt.Output.TEXT,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work:
    """List trees, open ones first, then the latest to end.

    With several of --failed, --waiting and --running, those that are any of it. What waits, only a
    server that is set up knows.

    Example: regrow list --failed --waiting --name nightly
    """

    async def work() -> ExitCode:
        client = await Target(address, namespace, profile).connect()
        found = client.list(
            query, failed=failed, waiting=waiting, running=running, name=name, limit=limit
        )
        trees = [tree async for tree in found]
        entries, rows = [*map(_summary_json, trees)], [*map(_summary_row, trees)]
        print_list(entries, rows, output, header=_LIST_HEADER, none="no trees")
        return ExitCode.DONE

    return work()


def _summary_row(tree: TreeSummary) -> tuple[str, ...]:
    ended = f"{tree.finished_at:{_TIME}}" if tree.finished_at else ""
    started = f"{tree.started_at:{_TIME}}"
    tasks = [*_tasks("waiting", tree.waiting_on), *_tasks("failed", tree.failed_tasks)]
    return tree.tree_id, tree.name, tree.state.value, started, ended, "; ".join(tasks)


def _tasks(how: str, task_ids: Sequence[str]) -> Iterator[str]:
    """Name the first few tasks."""
    if task_ids:
        yield f"{how}: {_few(task_ids)}"


def _few(task_ids: Sequence[str]) -> str:
    more = len(task_ids) - _TASKS_SHOWN
    return ", ".join(task_ids[:_TASKS_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _summary_json(tree: TreeSummary) -> dict[str, Any]:
    return {
        "tree_id": tree.tree_id,
        "name": tree.name,
        "status": tree.status.value,
        "state": tree.state.value,
        "started_at": tree.started_at.isoformat(),
        "finished_at": tree.finished_at.isoformat() if tree.finished_at else None,
        "failed_tasks": list(tree.failed_tasks),
        "waiting_on": list(tree.waiting_on),
    }


def read_tree(file: str, settings: Sequence[str]) -> TaskTree | None:
    """Read and check a file; what is wrong has been printed when there is no tree."""
    return read_both(file, settings)[1]


def read_both(file: str, settings: Sequence[str]) -> tuple[Document | None, TaskTree | None]:
    """Read and check a file; what is wrong has been printed when there is no tree."""
    try:
        document = read_document(file)
        tree = document.tree()
        return document, with_inputs(tree, parse_inputs(tree, settings)) if settings else tree
    except InvalidTree as error:
        show_problems(error.problems, file)
        keys = [each.path for each in error.problems if each.code == "unknown_key"]
        if any(len(path) == _ROW_KEY and isinstance(path[0], int) for path in keys):
            say("rows of a task table? `regrow convert` leaves out what a tree has no place for")
    except OSError as error:
        say(f"error: {file}: {error.strerror or error}{_nearest(file)}")
    return None, None


def _nearest(file: str) -> str:
    """Suggest a file that is there, if this one is not."""
    path = Path(file)
    if path.exists() or not path.parent.is_dir():
        return ""
    known = {each.stem: each for each in path.parent.iterdir() if each.suffix in _SUFFIXES}
    close = get_close_matches(path.stem, known, n=1)
    return f"; did you mean '{known[close[0]]}'?" if close else ""


async def _followed(
    document: Document | None,
    handle: TreeHandle,
    output: opt.Output,
    timeout: str | None,
    *,
    inside: bool = True,
    stays: bool = False,
) -> ExitCode:
    """Follow to the end; a document that the worker refused is shown with its places."""
    try:
        quiet = output is opt.Output.JSON
        return await follow_to_end(handle, output, timeout, quiet=quiet, inside=inside, stays=stays)
    except InvalidTree as error:
        if document is None:
            raise
        show_problems(document.place(error.problems), document.name)
        return ExitCode.INVALID


def _announce(here: Session, handle: TreeHandle) -> None:
    page = here.page(handle.id)
    attached = " (it was there already)" if handle.attached else ""
    say(f"tree {handle.id}{attached}" + (f"  {page}" if page else ""))


COMMANDS: Final[Mapping[str, Callable[..., Work | ExitCode]]] = {
    "validate": validate,
    "run": run,
    "start": start,
    "watch": watch,
    "show": show,
    "result": result,
    "explain": explain,
    "list": list_trees,
}
