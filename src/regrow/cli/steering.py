"""Commands that people steer a running tree with."""

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import typer

from regrow.cli import options as opt
from regrow.cli.commands import Work
from regrow.cli.exits import ExitCode, say
from regrow.cli.session import Target

Task = Annotated[str, typer.Argument(help="The task's id.", metavar="TASK")]
By = Annotated[str | None, typer.Option(help="Who says so; kept in history.")]
Note = Annotated[str | None, typer.Option(help="Why; kept in history.")]


def approve(
    task: Task,
    workflow_id: opt.TreeId,
    reject: Annotated[
        bool, typer.Option("--reject", help="Say no instead: the task fails, type `rejected`.")
    ] = False,
    by: By = None,
    note: Note = None,
    result: Annotated[
        str | None, typer.Option(metavar="JSON", help="Passed on as `result` of the task's result.")
    ] = None,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work | ExitCode:
    """Answer an approval that waits.

    Example: regrow approve review -w release-7 --by ann --note "looks good"
    """
    value, readable = _json(result, "--result")
    if not readable:
        return ExitCode.INVALID

    async def work() -> ExitCode:
        client = await Target(address, namespace, profile).connect()
        handle = client.get(workflow_id)
        await handle.approve(task, approved=not reject, by=by, note=note, result=value)
        say(f"{task} {'rejected' if reject else 'approved'}")
        return ExitCode.DONE

    return work()


def event(
    name: Annotated[str, typer.Argument(help="The event's name.", metavar="NAME")],
    workflow_id: opt.TreeId,
    payload: Annotated[
        str | None, typer.Option(metavar="JSON", help="The result of whatever waits for it.")
    ] = None,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work | ExitCode:
    """Send an event; the first of its name ends every wait for it, now or later.

    Example: regrow event paid -w order-7 --payload '{"amount": 12}'
    """
    value, readable = _json(payload, "--payload")
    if not readable:
        return ExitCode.INVALID

    async def work() -> ExitCode:
        client = await Target(address, namespace, profile).connect()
        answer = await client.get(workflow_id).send_event(name, value)
        say(f"{name} sent" if answer["first"] else f"{name} was sent before; the first one counts")
        return ExitCode.DONE

    return work()


def _json(text: str | None, option: str) -> tuple[Any, bool]:
    try:
        return (None if text is None else json.loads(text)), True
    except ValueError as error:
        say(f"error: {option} is not JSON: {error}")
        return None, False


COMMANDS: Final[Mapping[str, Callable[..., Work | ExitCode]]] = {
    "approve": approve,
    "event": event,
}
