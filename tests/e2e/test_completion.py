"""Completion, as bash and zsh ask for it; the server is real."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.e2e.command import COMMAND, Shell, answers, free_port, interrupt, wait_until

SOURCED = "source <(_REGROW_COMPLETE=source_bash regrow)\n"
RELEASE = """
name: release
tasks:
  - {id: build, executor: noop}
  - {id: review, name: Look it over, executor: approval, dependencies: [build]}
  - {id: sign, executor: approval, dependencies: [review]}
  - {id: paid, executor: wait_for_event, inputs: {event: order-paid}}
"""
BROKEN = """
name: nightly
on_failure: wait
tasks: [{id: load, executor: fail}, {id: save, executor: noop, dependencies: [load]}]
"""


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Beside a server and a worker: `release-7` waits for people, in `nightly-7` a task failed."""
    port = free_port()
    made = Shell(tmp_path_factory.mktemp("completion"), TEMPORAL_ADDRESS=f"127.0.0.1:{port}")
    command = made.write("regrow", f'#!/bin/sh\nexec {sys.executable} -m regrow "$@"\n')
    command.chmod(0o755)
    made.env["PATH"] = f"{made.directory}{os.pathsep}{made.env['PATH']}"
    serve = ("--port", str(port), "--ui-port", str(free_port()), "--executors", made.executors)
    with made.running("dev", *serve) as server:
        wait_until(lambda: answers(port))
        wait_until(lambda: made.run("list").returncode == 0)
        made.run("start", made.write("release.yaml", RELEASE), "-w", "release-7")
        made.run("start", made.write("nightly.yaml", BROKEN), "-w", "nightly-7")
        made.run("schedule", "create", "nightly.yaml", "--every", "24h", "--start-paused")
        wait_until(lambda: "review" in made.run("list", "--waiting").stdout)
        wait_until(lambda: "load" in made.run("list").stdout)
        wait_until(lambda: "nightly" in made.run("schedule", "list").stdout)
        yield made
        interrupt(server)


def in_bash(shell: Shell, line: str, after: str = "") -> list[str]:
    """Press Tab at the end of a line: source the script and call what it registers."""
    typed = [*line.split(" "), *after.split()]
    at = line.count(" ")
    script = (
        f"{SOURCED}"
        f"COMP_WORDS=({' '.join(repr(word) for word in typed)})\n"
        f"COMP_CWORD={at}\n_regrow_completion regrow\n"
        'for word in "${COMPREPLY[@]}"; do echo "$word"; done\n'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=shell.directory, env=shell.env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


def in_zsh(shell: Shell, line: str) -> str:
    env = {**shell.env, "_REGROW_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": line}
    done = subprocess.run(COMMAND, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("regrow appr", ["approve"]),
        ("regrow watch --ti", ["--timeout"]),
        ("regrow schedule des", ["describe"]),
        ("regrow watch -w ", ["nightly-7", "release-7"]),
        ("regrow rerun --workflow-id rel", ["release-7"]),
        ("regrow explain -w release-7 ", ["build", "review", "sign", "paid"]),
        ("regrow show -w release-7 --task re", ["review"]),
        ("regrow rerun -w nightly-7 --from ", ["load", "save"]),
        ("regrow cancel -w nightly-7 s", ["save"]),
        ("regrow approve -w release-7 ", ["review"]),
        ("regrow approve ", ["review"]),
        ("regrow event -w release-7 ", ["order-paid"]),
        ("regrow retry -w nightly-7 ", ["load"]),
        ("regrow skip -w nightly-7 ", ["load"]),
        ("regrow schedule describe ", ["nightly"]),
    ],
)
def test_tab_offers_what_makes_sense_there(shell: Shell, line: str, offered: list[str]) -> None:
    wait_until(lambda: sorted(in_bash(shell, line)) == sorted(offered))  # a server may be slow


def test_tree_that_is_named_after_the_cursor_counts_too(shell: Shell) -> None:
    wait_until(lambda: in_bash(shell, "regrow explain si", after="-w release-7") == ["sign"])


def test_where_nothing_is_offered_bash_offers_files(shell: Shell) -> None:
    assert in_bash(shell, "regrow validate rel") == []

    registered = subprocess.run(
        ["bash", "--norc", "-c", f"{SOURCED}complete -p regrow"],
        env=shell.env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "-o default" in registered.stdout


def test_zsh_shows_what_each_word_stands_for(shell: Shell) -> None:
    tasks, trees = "regrow explain -w release-7 ", "regrow show -w rel"

    wait_until(lambda: '"review":"Look it over"' in in_zsh(shell, tasks))
    wait_until(lambda: '"release-7":"release, waiting"' in in_zsh(shell, trees))


@pytest.mark.parametrize(
    "line",
    [
        "regrow show -w nothing-like-this --task ",
        "regrow show --address 127.0.0.1:1 -w ",
        "regrow show --profile none -w ",
        "regrow show --address http://x -w ",
        "regrow show -n nowhere -w ",
        "regrow explain 'it",
    ],
)
def test_what_goes_wrong_is_not_said_while_somebody_types(shell: Shell, line: str) -> None:
    assert in_bash(shell, line.replace("'", "'")) == []


def test_script_is_shown_and_installed(shell: Shell) -> None:
    home = shell.directory / "home"
    home.mkdir()
    env = {**shell.env, "HOME": str(home)}
    shown, installed = (
        subprocess.run(
            ["bash", "--norc", "-c", f"regrow --{what}-completion; exit $?"],
            env=env, capture_output=True, text=True, check=False,
        )
        for what in ("show", "install")
    )  # fmt: skip

    assert (shown.returncode, installed.returncode) == (0, 0)
    assert "complete -o default -F _regrow_completion regrow" in shown.stdout
    assert "regrow.sh" in (home / ".bashrc").read_text()
