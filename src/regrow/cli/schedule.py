"""Commands about schedules, which start trees by themselves."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final

import typer
from temporalio.client import (
    ScheduleListDescription,
    ScheduleListInfo,
    ScheduleListSchedule,
    ScheduleOverlapPolicy,
)

from regrow.cli import completion
from regrow.cli import options as opt
from regrow.cli.commands import Work
from regrow.cli.exits import ExitCode, say
from regrow.cli.help import Group, add_commands
from regrow.cli.lists import columns, print_list, print_one
from regrow.cli.schedule_times import times_of
from regrow.cli.session import Target
from regrow.cli.trees import read_tree
from regrow.client import ScheduleRefused, TreeSchedule, TreeSummary
from regrow.client.schedules import schedule_spec
from regrow.core.wire import MEMO_NAME

_TREES_SHOWN: Final = 10
_TIMES_SHOWN: Final = 5
_TIMES_SAID: Final = 3


class Overlap(StrEnum):
    """Temporal's overlap policies, as one writes them in a shell."""

    SKIP = "skip"
    BUFFER_ONE = "buffer-one"
    BUFFER_ALL = "buffer-all"
    ALLOW_ALL = "allow-all"
    CANCEL_OTHER = "cancel-other"
    TERMINATE_OTHER = "terminate-other"

    @property
    def policy(self) -> ScheduleOverlapPolicy:
        """Temporal's own."""
        return ScheduleOverlapPolicy[self.name]


@dataclass(frozen=True, slots=True)
class _Listed:
    """What a list shows of a schedule, and JSON has under these names."""

    schedule_id: str
    name: str
    times: list[str]
    time_zone: str | None
    paused: bool
    note: str | None
    next_times: list[str]

    @property
    def state(self) -> str:
        return "paused" if self.paused else "active"

    @property
    def when(self) -> str:
        return "; ".join(self.times) + (f" {self.time_zone}" if self.time_zone else "")


@dataclass(frozen=True, slots=True)
class _Tree:
    tree_id: str
    status: str
    started_at: str
    finished_at: str | None


@dataclass(frozen=True, slots=True)
class _Described(_Listed):
    """What is shown of a schedule alone."""

    overlap: Overlap
    started: int
    missed: int
    skipped: int
    trees: list[_Tree]


ScheduleId = Annotated[
    str,
    typer.Argument(help="The schedule's id.", metavar="ID", autocompletion=completion.schedules),
]
Policy = Annotated[
    Overlap,
    typer.Option(metavar="POLICY", help=f"While an earlier tree runs: {', '.join(Overlap)}."),
]


def create(
    file: opt.File,
    cron: Annotated[
        str | None, typer.Option(metavar="EXPR", help="When, such as '0 8 * * 1-5'.")
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Or how often, such as 90s or 1h30m."),
    ] = None,
    schedule_id: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="The schedule's id; default: the tree's name."),
    ] = None,
    inputs: opt.Set = None,
    overlap: Policy = Overlap.SKIP,
    time_zone: Annotated[
        str | None,
        typer.Option(metavar="TZ", help="Of --cron, such as Europe/Berlin; default: UTC."),
    ] = None,
    start_paused: Annotated[
        bool, typer.Option("--start-paused", help="Start nothing until `resume`.")
    ] = False,
    note: Annotated[str | None, typer.Option(metavar="TEXT", help="Shown by `describe`.")] = None,
    output: opt.OutputOption = opt.Output.TEXT,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
    task_queue: opt.TaskQueue = None,
) -> Work | ExitCode:
    """Create a schedule that starts a tree, and print its id.

    Each tree's id is the schedule's with the time at which it was due, in UTC.

    Example: regrow schedule create nightly.yaml --cron '30 2 * * *'

    Example: regrow schedule create poll.yaml --every 15m --overlap buffer-one
    """
    tree = read_tree(file, inputs or ())
    if tree is None or not _is_possible(cron, every, time_zone):
        return ExitCode.INVALID

    async def work() -> ExitCode:
        client = await Target(address, namespace, profile, task_queue).connect()
        try:
            made = await client.schedules.create(
                tree, id=schedule_id, cron=cron, every=every, time_zone=time_zone,
                overlap=overlap.policy, paused=start_paused, note=note,
            )  # fmt: skip
        except ScheduleRefused as error:
            say(f"error: {error}")
            return ExitCode.INVALID
        described = await _described(made)
        if output is not opt.Output.TEXT:
            print_one(asdict(described), output)
        else:
            typer.echo(made.id)
            say(f"next: {', '.join(described.next_times[:_TIMES_SAID]) or 'never'}")
        return ExitCode.DONE

    return work()


def list_schedules(
    output: opt.OutputOption = opt.Output.TEXT,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work:
    """List the schedules that start trees.

    Example: regrow schedule list
    """

    async def work() -> ExitCode:
        client = await Target(address, namespace, profile).connect()
        schedules = [
            await _listed(each, each.schedule, each.info)
            async for each in client.schedules.list()
            if each.schedule and each.info  # servers without visibility don't tell
        ]
        header = ("ID", "TREE", "WHEN", "STATE", "NEXT")
        entries, rows = [*map(asdict, schedules)], [*map(_row, schedules)]
        print_list(entries, rows, output, header=header, none="no schedules")
        return ExitCode.DONE

    return work()


def describe(
    schedule_id: ScheduleId,
    output: opt.OutputOption = opt.Output.TEXT,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work:
    """Show when a schedule is due and how the latest trees that it started stand.

    Example: regrow schedule describe nightly
    """

    async def work() -> ExitCode:
        client = await Target(address, namespace, profile).connect()
        described = await _described(client.schedules.get(schedule_id))
        if output is opt.Output.TEXT:
            for line in _lines(described):
                typer.echo(line)
        else:
            print_one(asdict(described), output)
        return ExitCode.DONE

    return work()


def pause(
    schedule_id: ScheduleId,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Shown by `describe`, in place of the note.")
    ] = "paused with regrow",
    output: opt.OutputOption = opt.Output.TEXT,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work:
    """Start nothing more until `resume`; trees that run go on.

    Example: regrow schedule pause nightly --reason "the shop is closed"
    """

    async def work() -> ExitCode:
        client = await Target(address, namespace, profile).connect()
        schedule = client.schedules.get(schedule_id)
        await schedule.pause(reason)
        return await _say_or_print(schedule, output, f"{schedule_id} paused")

    return work()


def resume(
    schedule_id: ScheduleId,
    output: opt.OutputOption = opt.Output.TEXT,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work:
    """Go on from the next time; what was due during the pause is left out.

    Example: regrow schedule resume nightly
    """

    async def work() -> ExitCode:
        client = await Target(address, namespace, profile).connect()
        schedule = client.schedules.get(schedule_id)
        await schedule.resume("resumed with regrow")
        return await _say_or_print(schedule, output, f"{schedule_id} resumed")

    return work()


def trigger(
    schedule_id: ScheduleId,
    overlap: Annotated[
        Overlap | None,
        typer.Option(
            metavar="POLICY",
            help="What to do while an earlier tree runs; default: as the schedule says.",
        ),
    ] = None,
    output: opt.OutputOption = opt.Output.TEXT,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work:
    """Start a tree now, also while the schedule is paused.

    Example: regrow schedule trigger nightly
    """

    async def work() -> ExitCode:
        client = await Target(address, namespace, profile).connect()
        schedule = client.schedules.get(schedule_id)
        await schedule.trigger(overlap=overlap.policy if overlap else None)
        return await _say_or_print(schedule, output, f"asked '{schedule_id}' to start a tree now")

    return work()


def backfill(
    schedule_id: ScheduleId,
    start_at: Annotated[
        str,
        typer.Option("--from", metavar="TIME", help="The first time, such as 2026-01-01T08:00Z."),
    ],
    end_at: Annotated[str, typer.Option("--to", metavar="TIME", help="The last time.")],
    overlap: Policy = Overlap.BUFFER_ALL,
    output: opt.OutputOption = opt.Output.TEXT,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work | ExitCode:
    """Start the trees of past times, by default one after another.

    Times without an offset are UTC. A time whose tree has run already runs again.

    Example: regrow schedule backfill nightly --from 2026-01-01 --to 2026-01-31
    """
    first, last = _time(start_at, "--from"), _time(end_at, "--to")
    if first is None or last is None:
        return ExitCode.INVALID
    if last < first:
        say(f"error: --to {end_at} lies before --from {start_at}")
        return ExitCode.INVALID

    async def work() -> ExitCode:
        client = await Target(address, namespace, profile).connect()
        schedule = client.schedules.get(schedule_id)
        await schedule.backfill(first, last, overlap=overlap.policy)
        asked = f"asked '{schedule_id}' for its trees from {_text(first)} to {_text(last)}"
        return await _say_or_print(schedule, output, asked)

    return work()


def delete(
    schedule_id: ScheduleId,
    output: opt.OutputOption = opt.Output.TEXT,
    address: opt.Address = None,
    namespace: opt.Namespace = None,
    profile: opt.Profile = None,
) -> Work:
    """Delete a schedule; trees that it started stay.

    Example: regrow schedule delete nightly
    """

    async def work() -> ExitCode:
        client = await Target(address, namespace, profile).connect()
        await client.schedules.get(schedule_id).delete()
        if output is opt.Output.TEXT:
            say(f"{schedule_id} deleted")
        else:
            print_one({"schedule_id": schedule_id}, output)
        return ExitCode.DONE

    return work()


def _is_possible(cron: str | None, every: str | None, time_zone: str | None) -> bool:
    """Check, before anything is asked of a server, that a time is meant; says what is wrong."""
    try:
        schedule_spec(cron, every, time_zone)
    except ScheduleRefused as error:
        say(f"error: {error}")
        return False
    return True


def _time(text: str, option: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        say(f"error: {option} {text}: write a time like 2026-01-01T08:00:00Z or a date")
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


async def _say_or_print(schedule: TreeSchedule, output: opt.Output, done: str) -> ExitCode:
    """Tell a person what was done, or a program how the schedule stands then."""
    if output is opt.Output.TEXT:
        say(done)
    else:
        print_one(asdict(await _described(schedule)), output)
    return ExitCode.DONE


async def _listed(
    listed: ScheduleListDescription, schedule: ScheduleListSchedule, info: ScheduleListInfo
) -> _Listed:
    return _Listed(
        listed.id,
        await listed.memo_value(MEMO_NAME, listed.id),
        times_of(schedule.spec),
        schedule.spec.time_zone_name,
        schedule.state.paused,
        schedule.state.note,
        _next_times(info.next_action_times),
    )


async def _described(schedule: TreeSchedule) -> _Described:
    described = await schedule.describe()
    state, info, spec = described.schedule.state, described.info, described.schedule.spec
    return _Described(
        described.id,
        await described.memo_value(MEMO_NAME, described.id),
        times_of(spec),
        spec.time_zone_name,
        state.paused,
        state.note,
        _next_times(info.next_action_times),
        Overlap[described.schedule.policy.overlap.name],
        info.num_actions,
        info.num_actions_missed_catchup_window,
        info.num_actions_skipped_overlap,
        [_tree(tree) async for tree in schedule.trees(limit=_TREES_SHOWN)],
    )


def _tree(tree: TreeSummary) -> _Tree:
    finished_at = tree.finished_at.isoformat() if tree.finished_at else None
    return _Tree(tree.tree_id, tree.status.value, tree.started_at.isoformat(), finished_at)


def _next_times(times: Sequence[datetime]) -> list[str]:
    return [_text(time) for time in times[:_TIMES_SHOWN]]


def _text(time: datetime) -> str:
    """Write a time as the ids of trees have it."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _row(listed: _Listed) -> tuple[str, ...]:
    next_time = "" if listed.paused else next(iter(listed.next_times), "never")
    return listed.schedule_id, listed.name, listed.when, listed.state, next_time


def _lines(described: _Described) -> Iterator[str]:
    yield described.schedule_id
    yield f"  tree     {described.name}"
    yield f"  when     {described.when}"
    yield f"  overlap  {described.overlap}"
    yield f"  state    {described.state}"
    if described.note:
        yield f"  note     {described.note}"
    yield (
        f"  counts   {described.started:,} started, {described.missed:,} missed,"
        f" {described.skipped:,} skipped"
    )
    yield from _listing("next", described.next_times or ["never"])
    trees = [(tree.tree_id, tree.status) for tree in described.trees]
    yield from _listing("trees", columns(trees) or ["none yet"])


def _listing(title: str, entries: Sequence[str]) -> Iterator[str]:
    for at, entry in enumerate(entries):
        yield f"  {'' if at else title:<9}{entry}"


COMMANDS: Final[Mapping[str, Callable[..., Work | ExitCode]]] = {
    "create": create,
    "list": list_schedules,
    "describe": describe,
    "pause": pause,
    "resume": resume,
    "trigger": trigger,
    "backfill": backfill,
    "delete": delete,
}

app = typer.Typer(
    cls=Group,
    help="Start trees by themselves, at set times, with Temporal's schedules.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
add_commands(app, COMMANDS, {})
