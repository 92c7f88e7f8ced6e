"""Commands that people steer a running tree with."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final

import typer
from temporalio.client import WorkflowUpdateRPCTimeoutOrCancelledError

from regrow.cli import completion
from regrow.cli import options as opt
from regrow.cli.commands import Work
from regrow.cli.exits import ExitCode, say
from regrow.cli.follow import beside
from regrow.cli.session import Target
from regrow.client import RequestRefused, TreeHandle
from regrow.core.wire import Status

_PATIENCE: Final = 5.0

By = Annotated[str | None, typer.Option(metavar="NAME", help="Who says so; kept in history.")]
Reason = Annotated[str | None, typer.Option(metavar="TEXT", help="Why; kept in history.")]
Note = Annotated[str | None, typer.Option(metavar="TEXT", help="Why; kept in history.")]


def approve(
    task: Annotated[
        str,
        typer.Argument(
            help="The approval's task id.", metavar="TASK", autocompletion=completion.approvals
        ),
    ],
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

    Example: regrow approve review -w release-7 --reject --by ann
    """
    value, readable = _json(result, "--result")
    if not readable:
        return ExitCode.INVALID

    async def work() -> ExitCode:
        handle = await Target(address, namespace, profile).open(workflow_id)
        answer = handle.approve(task, approved=not reject, by=by, note=note, result=value)
        await _answered(handle, answer)
        say(f"{task} {'rejected' if reject else 'approved'}")
        return ExitCode.DONE

    return work()


def event(
    name: Annotated[
        str,
        typer.Argument(help="The event's name.", metavar="NAME", autocompletion=completion.events),
    ],
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
        handle = await Target(address, namespace, profile).open(workflow_id)
        answer = await _answered(handle, handle.send_event(name, value))
        say(f"{name} sent" if answer["first"] else f"{name} was sent before; the first one counts")
        return ExitCode.DONE

    return work()


def pause(
    workflow_id: opt.TreeId,
    reason: Reason = None,
    by: By = None,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work:
    """Let nothing new start in a tree until `regrow resume`; what runs goes on.

    Example: regrow pause -w nightly-7 --reason "the disk is full" --by ann
    """

    async def work() -> ExitCode:
        handle = await Target(address, namespace, profile).open(workflow_id)
        told = await _answered(handle, handle.pause(reason, by=by))
        say(f"paused{_since(told)}; `regrow resume -w {workflow_id}` lets it go on")
        return ExitCode.DONE

    return work()


def resume(
    workflow_id: opt.TreeId,
    reason: Reason = None,
    by: By = None,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work:
    """Let a paused tree go on.

    Example: regrow resume -w nightly-7
    """

    async def work() -> ExitCode:
        handle = await Target(address, namespace, profile).open(workflow_id)
        await _answered(handle, handle.resume(reason, by=by))
        say(f"'{workflow_id}' goes on")
        return ExitCode.DONE

    return work()


def cancel(
    workflow_id: opt.TreeId,
    task: Annotated[
        str | None,
        typer.Argument(
            help="Only this task, or what is in this group.",
            metavar="[TASK]",
            autocompletion=completion.tasks,
        ),
    ] = None,
    reason: Reason = None,
    by: By = None,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work:
    """Cancel a tree, or one task of it: what runs is interrupted, nothing new starts.

    For what depends on a cancelled task that is a failure.

    Example: regrow cancel -w nightly-7

    Example: regrow cancel scrape -w nightly-7 --reason "takes too long"
    """

    async def work() -> ExitCode:
        handle = await Target(address, namespace, profile).open(workflow_id)
        if task is None:
            if (await handle.workflow_handle.describe()).close_time is not None:
                raise RequestRefused(f"'{workflow_id}' has ended")
            await handle.cancel(reason or "")
            say(f"asked '{workflow_id}' to cancel; {_watch(workflow_id)} shows when it has")
            return ExitCode.DONE
        told = await _answered(handle, handle.cancel_task(task, reason, by=by))
        if told["status"] == Status.CANCELLED:
            say(f"{task} is cancelled")
        else:
            say(f"{task} is interrupted; {_watch(workflow_id)} shows when it has ended")
        return ExitCode.DONE

    return work()


def retry(
    workflow_id: opt.TreeId,
    task: Annotated[
        str | None,
        typer.Argument(
            help="The task; default: all that failed.",
            metavar="[TASK]",
            autocompletion=completion.failed_tasks,
        ),
    ] = None,
    reason: Reason = None,
    by: By = None,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work:
    """Run what failed again, in a tree that is still open; what was skipped for it comes back.

    An ended tree is repaired with `regrow rerun`.

    Example: regrow retry save -w nightly-7 --by ann
    """

    async def work() -> ExitCode:
        handle = await Target(address, namespace, profile).open(workflow_id)
        told = await _answered(handle, handle.retry_task(task, reason, by=by))
        names = ", ".join(told["retried"])
        say(f"runs again: {names}" if names else f"{task} has not ended, so it need not be retried")
        return ExitCode.DONE

    return work()


def skip(
    task: Annotated[
        str,
        typer.Argument(
            help="The task's id.", metavar="TASK", autocompletion=completion.failed_tasks
        ),
    ],
    workflow_id: opt.TreeId,
    result: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="Its result: the task is completed instead of skipped."),
    ] = None,
    reason: Reason = None,
    by: By = None,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work | ExitCode:
    """End a task that failed or has not begun, without running it.

    With --result its dependents run; without, they are skipped as after any skip.

    Example: regrow skip enrich -w nightly-7 --result '{"score": null}' --by ann
    """
    value, readable = _json(result, "--result")
    if not readable:
        return ExitCode.INVALID

    async def work() -> ExitCode:
        handle = await Target(address, namespace, profile).open(workflow_id)
        given = {} if result is None else {"result": value}
        told = await _answered(handle, handle.skip_task(task, reason, by=by, **given))
        say(f"{task} is {told['status']}")
        return ExitCode.DONE

    return work()


async def _answered(handle: TreeHandle, request: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """Await what the tree's worker answers, and say so if there seems to be none."""
    async with beside(_warn_if_unanswered(handle)):
        try:
            return await request
        except WorkflowUpdateRPCTimeoutOrCancelledError:  # the SDK's word for Ctrl-C
            raise asyncio.CancelledError from None


async def _warn_if_unanswered(handle: TreeHandle) -> None:
    await asyncio.sleep(_PATIENCE)
    queue = (await handle.workflow_handle.describe()).task_queue
    say(
        "no worker has answered yet; is one running on the tree's task queue?"
        f" (`regrow worker -t {queue}`) Ctrl-C gives up; a worker that comes later may still do it"
    )


def _since(told: Mapping[str, Any]) -> str:
    by = f" by {told['by']}" if told.get("by") else ""
    return f"{by} at {told['at']}"


def _watch(workflow_id: str) -> str:
    return f"`regrow watch -w {workflow_id}`"


def _json(text: str | None, option: str) -> tuple[Any, bool]:
    try:
        return (None if text is None else json.loads(text)), True
    except ValueError as error:
        quoted = f"""{option} '"text"'"""
        say(f"error: {option} is not JSON: {error}; text is written {quoted}")
        return None, False


COMMANDS: Final[Mapping[str, Callable[..., Work | ExitCode]]] = {
    "approve": approve,
    "event": event,
    "pause": pause,
    "resume": resume,
    "cancel": cancel,
    "retry": retry,
    "skip": skip,
}
