"""`regrow schedule`, from outside, beside a server and a worker of `regrow dev`."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from tests.e2e.command import Shell, answers, free_port, interrupt, wait_until

PAGE: Final = (Path(__file__).parents[2] / "docs" / "schedules.md").read_text()
TREE: Final = """
name: greet
inputs: {who: world}
tasks:
  - {id: hello, executor: noop, inputs: {value: "${{ inputs.who }}"}}
"""
NEVER: Final = "0 0 29 2 *"  # not while a test runs


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    port = free_port()
    made = Shell(tmp_path_factory.mktemp("schedules"), TEMPORAL_ADDRESS=f"127.0.0.1:{port}")
    made.write("tree.yaml", TREE)
    serve = ("--port", str(port), "--ui-port", str(free_port()), "--executors", made.executors)
    with made.running("dev", *serve) as process:
        wait_until(lambda: answers(port))
        wait_until(lambda: made.run("schedule", "list").returncode == 0)
        yield made
        interrupt(process)


def part(language: str) -> str:
    """All that the page has in this language."""
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
    return "".join(blocks)


def schedule(shell: Shell, *args: str) -> subprocess.CompletedProcess[str]:
    return shell.run("schedule", *args)


def created(shell: Shell, *args: str) -> str:
    done = schedule(shell, "create", "tree.yaml", "--id", f"s{uuid4().hex[:8]}", *args)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def described(shell: Shell, schedule_id: str) -> dict[str, Any]:
    return json.loads(schedule(shell, "describe", schedule_id, "-o", "json").stdout)


def completed(shell: Shell, schedule_id: str) -> list[str]:
    trees = described(shell, schedule_id)["trees"]
    return [tree["tree_id"] for tree in trees if tree["status"] == "completed"]


def test_a_schedule_is_created_described_and_deleted(shell: Shell) -> None:
    when = ("--cron", "0 8 * * 1-5", "--time-zone", "Europe/Berlin", "--overlap", "buffer-one")
    made = created(shell, *when, "--note", "for ann")
    schedule(shell, "trigger", made)
    wait_until(lambda: completed(shell, made))

    shown = schedule(shell, "describe", made).stdout.splitlines()
    deleted = schedule(shell, "delete", made)
    gone = schedule(shell, "describe", made)

    assert shown[:8] == [
        made,
        "  tree     greet",
        "  when     0 8 * * 1-5 Europe/Berlin",
        "  overlap  buffer-one",
        "  state    active",
        "  note     for ann",
        "  counts   1 started, 0 missed, 0 skipped",
        shown[7],
    ]
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert re.fullmatch(rf"  next     {time}", shown[7])
    assert all(re.fullmatch(rf"           {time}", line) for line in shown[8:12])
    assert re.fullmatch(rf"  trees    {made}-{time}  completed", shown[12])
    assert len(shown) == 13
    assert (deleted.returncode, deleted.stderr) == (0, f"{made} deleted\n")
    assert (gone.returncode, gone.stdout) == (1, "")
    assert gone.stderr == (
        f"error: there is no schedule '{made}' in the namespace 'default';"
        " `regrow schedule list` shows them\n"
    )


def test_a_scheduled_tree_is_listed_shown_and_watched_by_its_id(shell: Shell) -> None:
    made = created(shell, "--every", "1s", "--set", "who=ann")
    wait_until(lambda: completed(shell, made))
    schedule(shell, "pause", made, "--reason", "enough")
    tree_id = completed(shell, made)[0]

    listed = shell.run("list", "--query", f"TemporalScheduledById = '{made}'", "-o", "json")
    result = json.loads(shell.run("result", "-w", tree_id, "-o", "json").stdout)

    state = described(shell, made)
    assert (state["paused"], state["note"]) == (True, "enough")
    assert {tree["name"] for tree in json.loads(listed.stdout)} == {"greet"}
    assert tree_id in [tree["tree_id"] for tree in json.loads(listed.stdout)]
    assert "✔ hello" in shell.run("show", "-w", tree_id).stdout
    assert shell.run("watch", "-w", tree_id).returncode == 0
    assert (result["tree_id"], result["outputs"]) == (tree_id, {"hello": "ann"})


def test_a_program_learns_how_the_schedule_stands(shell: Shell) -> None:
    made = f"s{uuid4().hex[:8]}"
    paused = ("--every", "1h30m", "--start-paused", "-o", "json")
    first = schedule(shell, "create", "tree.yaml", "--id", made, *paused)
    resumed = schedule(shell, "resume", made, "-o", "jsonl")
    past = ("--from", "2026-01-01", "--to", "2026-01-01T03:00+00:00")
    schedule(shell, "backfill", made, *past, "-o", "json")
    wait_until(lambda: len(completed(shell, made)) == 3)
    listed = [
        json.loads(line) for line in schedule(shell, "list", "-o", "jsonl").stdout.splitlines()
    ]

    state = json.loads(first.stdout)
    assert state == {
        "schedule_id": made,
        "name": "greet",
        "times": ["every 1h30m"],
        "time_zone": None,
        "paused": True,
        "note": None,
        "next_times": state["next_times"],
        "overlap": "skip",
        "started": 0,
        "missed": 0,
        "skipped": 0,
        "trees": [],
    }
    assert len(state["next_times"]) == 5
    assert json.loads(resumed.stdout)["paused"] is False
    assert len(resumed.stdout.splitlines()) == 1
    assert completed(shell, made) == [
        f"{made}-2026-01-01T{time}:00Z" for time in ("03:00", "01:30", "00:00")
    ]
    [mine] = [each for each in listed if each["schedule_id"] == made]
    assert mine == {name: value for name, value in {**state, **mine}.items() if name in mine}
    assert (mine["times"], mine["paused"]) == (["every 1h30m"], False)
    assert f"{made}  greet  every 1h30m" in schedule(shell, "list").stdout


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((), "say when: cron or every, one of the two"),
        (("--cron", NEVER, "--every", "1s"), "say when: cron or every, one of the two"),
        (("--every", "often"), "every: write a duration like 30s"),
        (("--cron", "61 * * * *"), "Minute is not in range [0-59]"),
    ],
)
def test_what_is_no_time_exits_2_with_one_line(
    shell: Shell, options: tuple[str, ...], reason: str
) -> None:
    done = schedule(shell, "create", "tree.yaml", "--id", "refused", *options)

    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert reason in done.stderr


def test_a_bad_document_is_shown_as_by_validate_and_nothing_is_created(shell: Shell) -> None:
    shell.write("bad.yaml", "name: bad\ntasks:\n  - id: a\n    dependencies: [nowhere]\n")

    done = schedule(shell, "create", "bad.yaml", "--every", "1h")
    unknown = schedule(shell, "create", "tree.yaml", "--every", "1h", "--set", "whom=ann")

    assert (done.returncode, unknown.returncode) == (2, 2)
    assert done.stderr == shell.run("validate", "bad.yaml").stderr
    assert done.stderr.startswith("bad.yaml:4:20: tasks[0].dependencies[0]: there is no task")
    assert "whom" in unknown.stderr
    assert schedule(shell, "describe", "bad").returncode == 1


def test_what_cannot_be_done_is_said_in_one_line(shell: Shell) -> None:
    made = created(shell, "--cron", NEVER)
    taken = schedule(shell, "create", "tree.yaml", "--id", made, "--every", "1h")
    elsewhere = schedule(shell, "create", "tree.yaml", "--every", "1h", "-n", "nowhere")
    backwards = schedule(shell, "backfill", made, "--from", "2026-02-01", "--to", "2026-01-01")
    wrong = schedule(shell, "backfill", made, "--from", "yesterday", "--to", "2026-01-01")

    assert taken.returncode == 1
    assert f"there is a schedule '{made}' already; use another id" in taken.stderr
    assert elsewhere.returncode == 1
    assert elsewhere.stderr == "error: the server refuses it: Namespace nowhere is not found.\n"
    assert backwards.returncode == 2
    assert "--to 2026-01-01 lies before --from 2026-02-01" in backwards.stderr
    assert wrong.returncode == 2
    assert "--from yesterday: write a time like 2026-01-01T08:00:00Z" in wrong.stderr
    for command in ("pause", "delete"):
        done = schedule(shell, command, "nope")
        assert done.returncode == 1
        assert done.stderr.startswith("error: there is no schedule 'nope' in the namespace")


def test_the_help_names_every_command_and_every_policy(shell: Shell) -> None:
    group, create = schedule(shell, "--help").stdout, schedule(shell, "create", "--help").stdout

    commands = ("create", "list", "describe", "pause", "resume", "trigger", "backfill", "delete")
    assert all(f"│ {command} " in group for command in commands)
    policies = re.findall(r"^\| `([a-z-]+)` \|", PAGE, flags=re.MULTILINE)
    assert len(policies) == 6
    assert all(policy in create for policy in policies)


def test_the_python_of_the_page_works(shell: Shell) -> None:
    shell.write("report.yaml", part("yaml"))
    code = "\n".join(f"    {line}" for line in part("python").splitlines())
    script = shell.write(
        "script.py",
        "import asyncio\n"
        "from datetime import UTC, datetime, timedelta\n"
        "from regrow import TreeClient\n"
        f"async def main():\n{code}\n"
        "asyncio.run(main())\n",
    )

    done = subprocess.run(
        [sys.executable, script], env=shell.env, cwd=shell.directory, capture_output=True,
        text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "often every 0:10:00" in done.stdout


def test_the_walk_through_of_the_page_works(shell: Shell) -> None:
    shell.write("report.yaml", part("yaml"))

    for line in part("sh").splitlines():
        command, *args = shlex.split(line, comments=True)
        done = shell.run(*args)
        assert (command, done.returncode) == ("regrow", 0), f"{line}\n{done.stderr}"

    assert described(shell, "report")["times"] == ["30 7 * * 1-5"]
