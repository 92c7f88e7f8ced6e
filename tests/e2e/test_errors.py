"""What people do wrong, and what they are told: what, where, and what to do; never a traceback."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.e2e.command import COMMAND, Shell, answers, free_port, interrupt, wait_until

from regrow.cli.main import main

MOST_LINES: Final = 3
GOOD: Final = """
name: good
inputs: {n: 1}
tasks: [{id: a, executor: noop}]
"""
OPEN: Final = """
name: open
tasks:
  - {id: review, executor: approval}
  - {id: last, executor: noop, dependencies: [review]}
"""
FILES: Final = {
    "good.yaml": GOOD,
    "open.yaml": OPEN,
    "empty.yaml": "",
    "text.yaml": "just text\n",
    "number.json": "5",
    "broken.json": '{"tasks": ',
    "indent.yaml": "name: x\ntasks:\n  - id: a\n   executor: b\n",
    "tab.yaml": "name: x\n\ttasks: []\n",
    "colon.yaml": "name: a: b\n",
    "bracket.yaml": "tasks: [{id: a}\n",
    "twice.yaml": "name: x\nname: y\n",
    "ids.yaml": "tasks:\n  - {id: a}\n  - {id: a}\n",
    "cycle.yaml": "tasks:\n  - {id: a, dependencies: [b]}\n  - {id: b, dependencies: [a]}\n",
    "executor.yaml": "name: x\ntasks:\n  - {id: a, executor: nop}\n",
    "syntax.py": "def f(:\n",
    "missing_import.py": "import nothing_like_this\n",
    "no_executors.py": "x = 1\n",
    "config.toml": "[profile.x\n",
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("errors")
    (made / "folder").mkdir()
    (made / "bytes.yaml").write_bytes(b"\xff\xfe\x00name")
    for name, text in FILES.items():
        (made / name).write_text(text)
    return made


@pytest.fixture
def shell(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(directory)
    for name in os.environ:
        if name.startswith(("TEMPORAL_", "REGROW_")):
            monkeypatch.delenv(name)
    return Shell(directory)


def told(capfd: pytest.CaptureFixture[str], command: str) -> tuple[int, str]:
    """Run a command here, which is quicker; gives its exit code and what it tells people."""
    code = main(command.replace("NOWHERE", f"127.0.0.1:{free_port()}").split())
    out, err = capfd.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert len(err.splitlines()) <= MOST_LINES
    return code, err


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        # files
        ("validate godo.yaml", 2, "error: godo.yaml: No such file or directory; did you mean 'goo"),
        ("validate folder", 2, "error: folder: Is a directory"),
        ("validate empty.yaml", 2, "empty.yaml:1:1: the file holds nothing, not a tree"),
        ("validate text.yaml", 2, "text.yaml:1:1: the file holds text, not a tree"),
        ("validate number.json", 2, "number.json:1:1: the file holds only 5, not a tree"),
        ("validate bytes.yaml", 2, "bytes.yaml: this is no text in UTF-8"),
        ("validate broken.json", 2, "broken.json:1:11: not JSON: "),
        ("validate indent.yaml", 2, "indent.yaml:4:4: not YAML: what stands here is indented"),
        ("validate tab.yaml", 2, "tab.yaml:2:1: not YAML: a tab cannot indent; use spaces"),
        ("validate colon.yaml", 2, "colon.yaml:1:8: not YAML: a ':' cannot stand here"),
        ("validate bracket.yaml", 2, "bracket.yaml:2:1: not YAML: a list that begins with '['"),
        ("validate twice.yaml", 2, "twice.yaml:2:1: the key 'name' is written twice"),
        ("validate ids.yaml", 2, "ids.yaml:3:6: tasks[1].id: 'a' is used twice"),
        ("validate cycle.yaml", 2, "cycle.yaml:2:13: tasks[0].dependencies: cycle: a → b → a"),
        ("run good.yaml --db folder", 2, "error: --db: folder is a directory; name a new file"),
        ("run good.yaml --db good.yaml", 2, "error: --db: good.yaml is no database of Temporal"),
        ("schema -O nowhere/x.json", 1, "error: nowhere/x.json: No such file or directory"),
        ("show --history none.json", 1, "error: none.json: No such file or directory"),
        ("show --history good.yaml", 2, "error: good.yaml: this is no history"),
        # executors
        ("validate executor.yaml --executors probe.py", 2, "executor.yaml:3:13: tasks[0].executor"),
        ("validate executor.yaml --executors probe.py", 2, "did you mean 'noop'?"),
        ("validate good.yaml --executors syntax.py", 1, "SyntaxError: invalid syntax (syntax.py, "),
        ("validate good.yaml --executors missing_import.py", 1, "No module named 'nothing_like"),
        ("validate good.yaml --executors no_executors.py", 1, "nothing marked by @executor_regist"),
        ("executors --executors none.py", 1, "error: the executors cannot be used:\n  none.py: "),
        # options
        ("run good.yaml --set m=1", 2, "--set m=1: the tree declares no input 'm'; it declares n"),
        ("run good.yaml --set n", 2, "good.yaml: --set n: write NAME=VALUE"),
        ("run good.yaml --set =1", 2, "good.yaml: --set =1: write NAME=VALUE"),
        ("run good.yaml --set n=x", 2, "good.yaml: --set n=x: must be JSON like the default 1"),
        ("run good.yaml --timeout soon", 2, "error: --timeout: write a duration like 30s, 1m30s,"),
        ("simulate good.yaml --fail b", 2, "scripted by 'b'\nname a task, an item like each[1],"),
        ("simulate good.yaml --result a", 2, "error: --result a: write TASK=JSON"),
        ("simulate good.yaml --result a={", 2, "error: --result a={: not JSON: "),
        ("approve x -w y --result {", 2, "error: --result is not JSON: "),
        ("event x -w y --payload text", 2, """text is written --payload '"text"'"""),
        ("rerun -w x --items a", 2, "error: --items a: write TASK=0,3, counting from 0"),
        ("show", 2, "error: say which tree: -w ID, or --history FILE"),
        ("schedule create good.yaml", 2, "error: say when: cron or every, one of the two"),
        ("schedule backfill x --from a --to b", 2, "error: --from a: write a time like 2026-01-01"),
        ("dev --port 99999", 2, "error: --port: input should be less than or equal to 65535"),
        ("list --limit x", 2, "error: --limit: input should be a valid integer\n"),
        ("list -o xml", 2, "error: --output: 'xml' is not one of 'text', 'json', 'jsonl'\n"),
        # usage
        ("run", 2, "error: missing argument 'FILE'\nusage: regrow run [OPTIONS] FILE; regrow run "),
        ("run a b", 2, "error: got unexpected extra argument"),
        ("approve x", 2, "error: missing option '-w' / '--workflow-id'"),
        ("rum good.yaml", 2, "error: no such command 'rum'. Did you mean 'run', "),
        ("run good.yaml --executor x", 2, "error: no such option: --executor (Possible options: -"),
        # servers
        ("list --address NOWHERE", 1, "(Connection refused); start one with `regrow dev`, or say "),
        ("run good.yaml --address NOWHERE", 1, "error: no Temporal server answers at 127.0.0.1:"),
        ("list --address no.such.host.invalid:7233", 1, "(there is no such host); start one with"),
        ("list --address http://localhost:7233", 1, "is a URL; an address is HOST:PORT"),
        ("list --address localhost:x", 1, "error: the way to Temporal is not understood: invalid"),
        ("list --profile none", 1, "error: the way to Temporal is not understood: Profile 'none'"),
        ("run good.yaml --profile none", 1, "not understood: Profile 'none' not found"),
    ],
)  # fmt: skip
def test_mistake_is_told_with_its_place_and_a_way_on(
    shell: Shell, capfd: pytest.CaptureFixture[str], command: str, code: int, said: str
) -> None:
    found, err = told(capfd, command)

    assert said in err
    assert found == code


@pytest.mark.parametrize(
    ("setting", "command", "said"),
    [
        ("TEMPORAL_CONFIG_FILE=config.toml", "list", "the way to Temporal is not understood: Conf"),
        ("TEMPORAL_PROFILE=none", "run good.yaml", "not understood: Profile 'none' not found"),
        ("TEMPORAL_ADDRESS=http://a:1", "list", "'http://a:1' is a URL; an address is HOST:PORT"),
        ("REGROW_LOG_LEVEL=LOUD", "worker", "error: the settings cannot be used:\n  REGROW_LOG"),
        ("REGROW_EXECUTORS=none.py", "worker", "error: the executors cannot be used:\n  none.p"),
    ],
)
def test_mistake_in_the_environment_is_told(
    shell: Shell, setting: str, command: str, said: str
) -> None:
    name, _, value = setting.partition("=")
    done = subprocess.run(
        [*COMMAND, *command.split()], cwd=shell.directory, env={**shell.env, name: value},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert said in done.stderr
    assert (done.returncode, done.stdout) == (1, "")


def test_empty_id_is_refused_since_it_is_an_empty_variable(
    shell: Shell, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["start", "good.yaml", "-w", ""]) == 2
    assert capfd.readouterr().err == "error: --workflow-id: it is empty\n"


def test_standard_input_that_is_closed_is_told(shell: Shell) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m regrow validate - <&-"],
        cwd=shell.directory, env=shell.env, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (2, "error: -: standard input is closed\n")


def test_reader_that_goes_away_is_no_matter_for_a_message(shell: Shell) -> None:
    with subprocess.Popen(
        [*COMMAND, "schema"], cwd=shell.directory, env=shell.env,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stderr
        process.stdout.close()

        assert process.stderr.read() == b""
        assert process.wait() == 1


# --- with a server


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Beside a server and a worker; `nightly-7` waits for an answer, `other` is no tree."""
    port = free_port()
    made = Shell(tmp_path_factory.mktemp("served"), TEMPORAL_ADDRESS=f"127.0.0.1:{port}")
    serve = ("--port", str(port), "--ui-port", str(free_port()), "--executors", made.executors)
    with made.running("dev", *serve) as server:
        wait_until(lambda: answers(port))
        wait_until(lambda: made.run("list").returncode == 0)
        made.run("start", made.write("open.yaml", OPEN), "-w", "nightly-7")
        made.run("start", made.write("open.yaml", OPEN), "-w", "unserved", "-t", "nobody")
        made.run("run", made.write("good.yaml", GOOD), "-w", "ended-1")
        made.run("start", made.write("bad.yaml", FILES["executor.yaml"]), "-w", "refused")
        start_another_workflow(made)
        wait_until(lambda: "nightly-7" in made.run("list").stdout)
        wait_until(lambda: "review" in made.run("show", "-w", "nightly-7").stdout)
        yield made
        interrupt(server)


def start_another_workflow(shell: Shell) -> None:
    subprocess.run(
        [
            Path(sys.executable).with_name("temporal"), "workflow", "start", "--type", "Other",
            "--task-queue", "nobody", "--workflow-id", "other",
        ],
        env=shell.env, check=True, capture_output=True,
    )  # fmt: skip


NO_TREE: Final = (
    "error: there is no tree 'nightly-8' in the namespace 'default'; did you mean 'night"
)
OTHER: Final = (
    "error: 'other' is no tree but a workflow of the type Other; `temporal workflow descri"
)
TREE_COMMANDS: Final = (
    "show", "watch", "result", "cancel", "pause", "resume", "retry", "rerun", "explain x",
    "approve x", "skip x", "event x",
)  # fmt: skip


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        *((f"{command} -w nightly-8", 1, NO_TREE) for command in TREE_COMMANDS),
        *((f"{command} -w other", 1, OTHER) for command in TREE_COMMANDS),
        ("show -w zzzz", 1, "error: there is no tree 'zzzz' in the namespace 'default'; `regrow l"),
        ("show -w nightly-7 -n nowhere", 1, "error: Temporal refuses it: Namespace nowhere is not"),
        ("list -n nowhere", 1, "`temporal operator namespace list` shows them; -n names one"),
        ("show -w nightly-7 --task reveiw", 2, "no task 'reveiw'; did you mean 'review'?"),
        ("show -w nightly-7 --task zzzz", 2, "no task 'zzzz'; it has review, last"),
        ("explain reveiw -w nightly-7", 1, "error: the tree has no task 'reveiw'; did you mean 'r"),
        ("skip reveiw -w nightly-7", 1, "error: the tree has no task 'reveiw'; did you mean 'revi"),
        ("retry reveiw -w nightly-7", 1, "error: the tree has no task 'reveiw'; did you mean 'rev"),
        ("approve reveiw -w nightly-7", 1, "error: the tree has no task 'reveiw'"),
        ("approve last -w nightly-7", 1, "error: 'last' is no approval but runs noop"),
        ("rerun -w nightly-7", 1, "error: 'nightly-7' still runs; cancel it, or wait for its end"),
        ("rerun -w ended-1 --from aa", 1, "error: the tree has no task 'aa'; did you mean 'a'?"),
        ("cancel -w ended-1", 1, "error: 'ended-1' has ended"),
        ("pause -w ended-1", 1, "error: 'ended-1' has ended"),
        ("start open.yaml -w ended-1", 1, "error: 'ended-1' is the id of a tree with another docu"),
        ("show -w refused", 2, "error: the tree is refused:\ntasks[0].executor: no worker has the"),
        ("watch -w nightly-7 --timeout 1", 5, "'nightly-7' still runs after 1s"),
        ("schedule describe none", 1, "error: there is no schedule 'none' in the namespace 'defau"),
        ("list --query x", 2, "error: Temporal refuses it: invalid query: "),
    ],
)  # fmt: skip
def test_mistake_that_only_the_server_sees_is_told(
    served: Shell, command: str, code: int, said: str
) -> None:
    done = served.run(*command.split())

    assert said in done.stderr
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_request_that_nobody_answers_names_the_worker_that_is_missing(served: Shell) -> None:
    with served.running("pause", "-w", "unserved") as pause:
        assert pause.stderr
        hint = pause.stderr.readline()
        interrupt(pause)

    assert hint.startswith("no worker has answered yet; is one running on the tree's task queue?")
    assert "(`regrow worker -t nobody`)" in hint


def test_port_that_is_taken_is_told(served: Shell) -> None:
    port = served.env["TEMPORAL_ADDRESS"].partition(":")[2]

    done = served.run("dev", "--port", port)

    hint = "by a Temporal that could be used, perhaps; else choose another"
    assert (done.returncode, done.stderr) == (1, f"error: port {port} is in use, {hint}\n")


def test_server_without_tls_says_so(served: Shell) -> None:
    served.env["TEMPORAL_TLS"] = "true"
    done = served.run("list")
    del served.env["TEMPORAL_TLS"]

    assert done.returncode == 1
    assert "(it speaks no TLS, but TLS or an API key is configured)" in done.stderr


def test_built_in_executors_are_checked_without_being_named(shell: Shell) -> None:
    (shell.directory / "t.yaml").write_text(
        "tasks:\n"
        '  - {id: a, executor: http_request, inputs: {uri: "https://x.test"}}\n'
        "  - {id: b, executor: htpp_request}\n"
    )
    for command in ("validate", "start"):
        done = shell.run(command, "t.yaml")

        assert done.returncode == 2
        assert (
            "t.yaml: warning: executor 'htpp_request': did you mean 'http_request'?" in done.stderr
        )
        assert "'http_request' doesn't know the input 'uri'" in done.stderr
        assert "tasks[0].inputs.url: 'http_request' would refuse it: field required" in done.stderr


def test_starting_a_tree_needs_no_executors_of_the_worker(shell: Shell) -> None:
    (shell.directory / "t.yaml").write_text("tasks: [{id: mine}]\n")
    shell.env["REGROW_EXECUTORS"] = "no.such.module"  # as in an environment made for the worker

    started = shell.run("start", "t.yaml", "--address", "localhost:1")
    validated = shell.run("validate", "t.yaml")

    assert "no Temporal server answers at localhost:1" in started.stderr
    assert "no.such.module: ModuleNotFoundError" in validated.stderr
