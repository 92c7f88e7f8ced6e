"""Run a tree in memory, to see what it would do."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final

import typer

from regrow.cli import options as opt
from regrow.cli.commands import Work
from regrow.cli.exits import ExitCode, code_of, people, say
from regrow.cli.follow import print_json, print_result
from regrow.cli.still import print_tree
from regrow.cli.trees import read_tree
from regrow.core.models import TaskTree
from regrow.core.result import TreeResult
from regrow.core.script import Act, check_script, fails, rejects, returns
from regrow.core.simulate import simulate
from regrow.core.wire import APPROVAL, Status

Result = Annotated[
    list[str] | None,
    typer.Option(
        "--result", metavar="TASK=JSON", help="What a task or executor gives; repeatable."
    ),
]
Fail = Annotated[
    list[str] | None,
    typer.Option("--fail", metavar="TASK", help="A task or executor that fails; repeatable."),
]


def simulate_tree(
    file: opt.File,
    inputs: opt.Set = None,
    result: Result = None,
    fail: Fail = None,
    output: opt.OutputOption = opt.Output.TEXT,
) -> Work | ExitCode:
    """Run a tree in memory, without a server or executors, and show how it would end.

    Tasks give null unless --result or --fail says otherwise; approvals approve, or reject if they
    are to fail. A task in a sub-tree is named by its path, an item of a map by its index.

    Example: regrow simulate tree.yaml

    Example: regrow simulate tree.yaml --fail enrich --result 'fetch={"id": 7}'
    """
    tree = read_tree(file, inputs or ())
    if tree is None:
        return ExitCode.INVALID
    script = read_script(tree, result or (), fail or ())
    if script is None:
        return ExitCode.INVALID

    async def work() -> ExitCode:
        ended = await simulate(tree, script, tree_id=tree.name)
        _show(tree, ended, output)
        return code_of(ended.status)

    return work()


def read_script(
    tree: TaskTree, results: Sequence[str], failures: Sequence[str]
) -> dict[str, Act] | None:
    """Read --result and --fail; what is wrong has been printed when there is no script."""
    script: dict[str, Act] = {}
    for name in failures:
        approval = any(task.id == name and task.executor_id == APPROVAL for task in tree.tasks)
        script[name] = rejects(note="simulated") if approval else fails("simulated failure")
    for setting in results:
        name, equals, text = setting.partition("=")
        if not (name and equals):
            say(f"error: --result {setting}: write TASK=JSON")
            return None
        try:
            script[name] = returns(json.loads(text))
        except ValueError as error:
            say(f"error: --result {setting}: not JSON: {error}")
            return None
    try:
        check_script(script, tree)
    except ValueError as error:
        for line in str(error).splitlines():
            say(f"error: {line}")
        say("name a task, an item like each[1], a path into a sub-tree like part/a, or an executor")
        return None
    return script


def _show(tree: TaskTree, ended: TreeResult, output: opt.Output) -> None:
    if output is not opt.Output.TEXT:
        print_json(ended.model_dump(mode="json"))
        return
    print_tree(people, tree, ended)
    if ended.status is Status.IN_PROGRESS:
        say("nothing more happens by itself: something waits for a person")
    print_result(ended, output, pictured=True)


COMMANDS: Final[Mapping[str, Callable[..., Work | ExitCode]]] = {"simulate": simulate_tree}
