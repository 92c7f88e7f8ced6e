"""`command` with real programs; nothing they start may be left behind."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.executors.running import cancel_one, run_one

from regrow import Status, TreeClient
from regrow.activities.catalogue.command import CommandResult, command
from regrow.core.limits import MAX_PAYLOAD, MIB
from regrow.core.result import json_size
from regrow.executors import Registry, TaskContext, TaskError

COMMAND = Registry(command)["command"]
PYTHON = sys.executable

TELL = "import os; open('pid', 'w').write(f'{os.getpid()}\\n')"
SLEEP = "import time; time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"

# Starts Python with the code and the options that it is given, and tells its id.
PARENT = """
import subprocess, sys, time
options = eval(sys.argv[2])
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], **options)
print(child.pid, flush=True)
"""


@pytest.fixture(autouse=True)
def python_may_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGROW_COMMAND_ALLOW", PYTHON)


async def run(*argv: Any, **inputs: Any) -> CommandResult:
    """Call as the host does: with JSON."""
    return await COMMAND.call({"argv": list(argv), **inputs}, TaskContext())


async def python(code: str, *argv: Any, **inputs: Any) -> CommandResult:
    return await run(PYTHON, "-c", code, *argv, **inputs)


async def failure(running: Coroutine[Any, Any, CommandResult]) -> TaskError:
    with pytest.raises(TaskError) as raised:
        await running
    return raised.value


async def is_gone(pid: int, patience: float = 2.0) -> bool:
    """Wait until a process has ended; one that its parent hasn't collected yet has."""
    return await asyncio.to_thread(_until, lambda: not _lives(pid), patience)


async def pid_of_teller(folder: Path) -> int:
    """Wait for a program to write its id."""
    file = folder / "pid"
    assert await asyncio.to_thread(
        _until, lambda: file.exists() and file.read_text().endswith("\n"), 20
    )
    return int(file.read_text())


def _until(is_so: Callable[[], bool], patience: float) -> bool:
    until = time.monotonic() + patience
    while not is_so():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def _lives(pid: int) -> bool:
    state = _ps("-o", "stat=", "-p", str(pid)).strip()
    return bool(state) and not state.startswith("Z")


def _ps(*options: str) -> str:
    return subprocess.run(["ps", *options], capture_output=True, text=True, check=False).stdout


# What runs


async def test_a_program_gives_its_exit_code_and_both_outputs() -> None:
    result = await python("import sys; print('out'); print('err', file=sys.stderr)")

    assert result == CommandResult(exit_code=0, stdout="out\n", stderr="err\n", truncated=False)


async def test_arguments_arrive_as_they_are_written() -> None:
    odd = ["$HOME; rm -rf *", "a b", "", "'\"", "ü", "two\nlines"]

    result = await python("import sys; print(sys.argv[1:])", *odd)

    assert result.stdout == f"{odd}\n"


async def test_numbers_are_fine_as_arguments_and_variables() -> None:
    result = await python("import os, sys; print(sys.argv[1], os.environ['N'])", 1.5, env={"N": 7})

    assert result.stdout == "1.5 7\n"


async def test_standard_input_is_the_text_or_nothing() -> None:
    copy = "import sys; sys.stdout.write(sys.stdin.read())"

    assert (await python(copy, stdin="Grüße\n" * 50_000)).stdout.startswith("Grüße\nGrüße\n")
    assert (await python(copy)).stdout == ""


async def test_a_program_may_open_its_standard_input_by_name() -> None:
    result = await python("print(open('/dev/stdin').read())", stdin="text")

    assert result.stdout == "text\n"


async def test_a_program_need_not_read_its_standard_input() -> None:
    result = await python("import os; os.close(0); print('done')", stdin="x" * MIB)

    assert result.stdout == "done\n"


async def test_it_runs_where_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "here").write_text("yes")

    result = await python("print(open('here').read())", cwd=str(tmp_path))

    assert result.stdout == "yes\n"


async def test_it_sees_only_a_few_variables_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGROW_SECRET", "hunter2")
    monkeypatch.setenv("TZ", "Europe/Berlin")

    result = await python(
        "import os; print(sorted(os.environ), os.environ['TZ'])", env={"MINE": "1"}
    )

    seen = {"PATH", "HOME", "LANG", "TZ"} & set(os.environ) | {"MINE"}
    own = {"LC_CTYPE", "__CF_USER_TEXT_ENCODING"}  # made by Python itself, and by macOS
    assert set(eval(result.stdout.rpartition("]")[0] + "]")) - own == seen
    assert result.stdout.endswith(" Europe/Berlin\n")


async def test_the_authors_variables_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")

    result = await python("import os; print(os.environ['TZ'])", env={"TZ": "UTC"})

    assert result.stdout == "UTC\n"


async def test_it_runs_on_a_loop_in_another_thread() -> None:
    results: list[CommandResult] = []

    def other() -> None:
        results.append(asyncio.run(python("print(1)", stdin="x")))
        results.append(asyncio.run(python("print(2)")))

    thread = threading.Thread(target=other)
    thread.start()
    await asyncio.to_thread(thread.join, 20)

    assert [result.stdout for result in results] == ["1\n", "2\n"]


async def test_many_run_at_once() -> None:
    results = await asyncio.gather(
        *(python("import sys; print(sys.argv[1])", n) for n in range(20))
    )

    assert [result.stdout for result in results] == [f"{n}\n" for n in range(20)]


# How much is kept


async def test_output_beyond_the_limit_is_cut_and_the_program_goes_on() -> None:
    code = "import sys; sys.stdout.write('ab' * 2_000_000); print('end', file=sys.stderr)"

    result = await python(code, max_output=1_001)

    assert result.stdout == "ab" * 500 + "a"
    assert (result.stderr, result.truncated) == ("end\n", True)


async def test_output_of_exactly_the_limit_is_whole() -> None:
    result = await python("import sys; sys.stdout.write('x' * 100)", max_output=100)

    assert (len(result.stdout), result.truncated) == (100, False)


async def test_no_half_character_is_left_at_the_cut() -> None:
    result = await python("print('ää')", max_output=3)

    assert result.stdout == "ä"


async def test_bytes_that_are_no_text_are_replaced() -> None:
    result = await python(r"import os; os.write(1, b'a\xff\x00b\xc3')")

    assert (result.stdout, result.truncated) == ("a\ufffd\x00b\ufffd", False)


async def test_output_always_fits_into_history() -> None:
    code = r"import os; [os.write(n, b'\0' * 1_000_000) for n in (1, 2)]"

    result = await python(code, max_output=MIB)

    assert result.truncated
    assert MAX_PAYLOAD // 2 < json_size(result.model_dump()) < MAX_PAYLOAD


# What is refused


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({"argv": []}, "argv: "),
        ({"argv": "ls -l"}, "argv: "),
        ({"argv": ["a\0b"]}, "argv.0: "),
        ({"env": {"A=B": "c"}}, "env.A=B.[key]: "),
        ({"env": {"LD_PRELOAD": "/tmp/x.so"}}, "LD_PRELOAD would put other code into"),
        ({"env": {"DYLD_INSERT_LIBRARIES": "x"}}, "DYLD_INSERT_LIBRARIES would put"),
        ({"timeout": 0}, "timeout: "),
        ({"max_output": MIB + 1}, "max_output: "),
        ({"max_output": -1}, "max_output: "),
    ],
)
async def test_unusable_inputs_are_refused(inputs: dict[str, Any], problem: str) -> None:
    with pytest.raises(TaskError) as refused:
        await COMMAND.call({"argv": [PYTHON], **inputs}, TaskContext())

    assert refused.value.error_type == "validation_error"
    assert problem in refused.value.error


async def test_nothing_is_allowed_unless_an_operator_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("REGROW_COMMAND_ALLOW")

    refused = await failure(run(PYTHON, "-c", "print('secret argument')"))

    assert (refused.error_type, refused.retryable) == ("not_allowed", False)
    assert refused.error == (
        f"this worker may not run '{PYTHON}'; its operator allows it by listing it in"
        " REGROW_COMMAND_ALLOW"
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on PATH with programs `tool` and `other`, and links to them."""
    for name in ("tool", "other"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho {name}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "link").symlink_to("tool")
    (tmp_path / "sub").mkdir()
    (tmp_path / "folder_link").symlink_to("sub/..")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


@pytest.mark.parametrize(
    ("allowed", "program"),
    [
        ("tool", "tool"),
        ("git, tool", "tool"),
        ("{folder}/tool", "{folder}/tool"),
        ("{folder}/tool", "{folder}/sub/../tool"),
        ("{folder}/sub/../tool", "{folder}/tool"),
        ("{folder}/folder_link/tool", "{folder}/tool"),
        ("{folder}/link", "{folder}/link"),
    ],
)
async def test_a_listed_program_runs(
    allowed: str, program: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_COMMAND_ALLOW", allowed.format(folder=folder))

    result = await run(program.format(folder=folder))

    assert result.stdout == "tool\n"


@pytest.mark.parametrize(
    ("allowed", "program"),
    [
        ("tool", "other"),
        ("tool", "{folder}/tool"),
        ("{folder}/tool", "tool"),
        ("{folder}/tool", "{folder}/other"),
        ("{folder}/tool", "{folder}/link"),
        ("{folder}/link", "{folder}/tool"),
        ("tool", "./tool"),
        ("tool", "sub/../tool"),
        ("tool", ""),
        ("{folder}", "{folder}/tool"),
        ("*", "tool"),
    ],
)
async def test_any_other_program_is_refused(
    allowed: str, program: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("REGROW_COMMAND_ALLOW", allowed.format(folder=folder))

    refused = await failure(run(program.format(folder=folder)))

    assert (refused.error_type, refused.retryable) == ("not_allowed", False)


async def test_a_name_is_looked_up_on_the_workers_path_not_the_authors(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.copy(folder / "other", elsewhere / "tool")
    monkeypatch.setenv("REGROW_COMMAND_ALLOW", "tool")

    result = await run("tool", env={"PATH": str(elsewhere)}, cwd=str(elsewhere))

    assert result.stdout == "tool\n"


async def test_a_relative_folder_on_path_is_the_workers_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", ".")
    monkeypatch.setenv("REGROW_COMMAND_ALLOW", "tool")

    result = await run("tool", cwd=str(folder / "sub"))

    assert result.stdout == "tool\n"


# Failures


@pytest.mark.parametrize("program", ["no-such-program", "/no/such/program", f"{__file__}/x"])
async def test_a_program_that_is_not_there_fails_for_good(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_COMMAND_ALLOW", program)

    failed = await failure(run(program))

    assert (failed.error_type, failed.retryable) == ("not_found", False)
    assert program in failed.error


async def test_a_folder_that_is_not_there_is_named() -> None:
    failed = await failure(python("print(1)", cwd="/no/such/folder"))

    assert (failed.error_type, failed.retryable) == ("not_found", False)
    assert failed.error == "cannot work in '/no/such/folder': No such file or directory"


async def test_a_file_that_is_no_program_fails_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain").write_text("text")
    (tmp_path / "garbage").write_bytes(b"\0\1\2")
    (tmp_path / "garbage").chmod(0o755)
    monkeypatch.setenv("REGROW_COMMAND_ALLOW", f"{tmp_path}/plain,{tmp_path}/garbage")

    plain = await failure(run(f"{tmp_path}/plain"))
    garbage = await failure(run(f"{tmp_path}/garbage"))

    assert (plain.error_type, plain.retryable) == ("command_failed", False)
    assert plain.error == f"cannot run '{tmp_path}/plain': Permission denied"
    assert (garbage.error_type, garbage.retryable) == ("command_failed", False)


async def test_a_non_zero_exit_fails_for_good_and_shows_the_last_words() -> None:
    code = "import sys; print('out'); print('x' * 5000, '\\n\\nwhy', file=sys.stderr); sys.exit(3)"

    failed = await failure(python(code, max_output=10))

    assert failed.error == f"{Path(PYTHON).name} exited with code 3: why"
    assert (failed.error_type, failed.retryable) == ("command_failed", False)
    assert failed.details["exit_code"] == 3
    assert failed.details["stdout_tail"] == "out\n"
    assert str(failed.details["stderr_tail"]).endswith("xxx \n\nwhy\n")
    assert len(str(failed.details["stderr_tail"])) == 2_000


async def test_exit_codes_may_be_worth_another_attempt() -> None:
    codes = {"retryable_exit_codes": [75, -9]}

    assert (await failure(python("exit(75)", **codes))).retryable
    assert (await failure(python("import os; os.kill(os.getpid(), 9)", **codes))).retryable
    assert not (await failure(python("exit(1)", **codes))).retryable


async def test_an_exit_code_is_a_result_when_it_is_not_checked() -> None:
    result = await python("print('differs'); exit(1)", check=False)

    assert (result.exit_code, result.stdout) == (1, "differs\n")


async def test_a_signal_is_named() -> None:
    failed = await failure(python("import os; os.kill(os.getpid(), 9)"))

    assert failed.error == f"{Path(PYTHON).name} was ended by signal 9 (Killed)"
    assert failed.details["exit_code"] == -9


# Time, and cancels


async def test_a_program_that_takes_too_long_is_stopped() -> None:
    code = "import time; print('begun', flush=True); time.sleep(60)"

    failed = await failure(python(code, timeout="1500ms"))

    assert (failed.error_type, failed.retryable) == ("timeout_error", True)
    assert failed.error == (
        f"{Path(PYTHON).name} was stopped: it ran longer than its timeout of 1.5s"
    )
    assert failed.details["stdout_tail"] == "begun\n"


async def test_a_timeout_ends_what_the_program_started(tmp_path: Path) -> None:
    code, child = f"{PARENT}time.sleep(60)", f"{TELL}; {SLEEP}"

    failed = await failure(python(code, child, "{}", timeout="3s", cwd=str(tmp_path)))

    assert failed.error_type == "timeout_error"
    assert await is_gone(await pid_of_teller(tmp_path))


async def test_a_program_may_use_its_last_two_seconds(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "def tidy(*_): time.sleep(0.5); open('tidied', 'w').close(); sys.exit()\n"
        "signal.signal(signal.SIGTERM, tidy); time.sleep(60)"
    )

    await failure(python(code, timeout="2s", cwd=str(tmp_path)))

    assert (tmp_path / "tidied").exists()


@pytest.mark.parametrize(
    "child", [f"{TELL}; {SLEEP}", f"{STUBBORN}; {TELL}; {SLEEP}"], ids=["child", "stubborn_child"]
)
@pytest.mark.parametrize(
    "parent", [f"{PARENT}time.sleep(60)", f"{STUBBORN}\n{PARENT}time.sleep(60)"]
)
async def test_a_cancel_ends_the_program_and_what_it_started(
    child: str, parent: str, tmp_path: Path
) -> None:
    running = asyncio.create_task(python(parent, child, "{}", cwd=str(tmp_path)))
    pid = await pid_of_teller(tmp_path)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert await is_gone(pid)


async def test_a_second_cancel_does_not_leave_the_program_running(tmp_path: Path) -> None:
    running = asyncio.create_task(python(f"{STUBBORN}; {TELL}; {SLEEP}", cwd=str(tmp_path)))
    pid = await pid_of_teller(tmp_path)
    for _ in range(5):
        running.cancel()
        await asyncio.sleep(0.1)
    assert _lives(pid)  # it has two seconds
    with pytest.raises(asyncio.CancelledError):
        await running

    assert _ps("-o", "stat=", "-p", str(pid)) == ""  # reaped, not even a zombie


@pytest.mark.parametrize("pause", [0, 0.001, 0.003, 0.01])
async def test_a_cancel_at_the_very_start_leaves_nothing(pause: float) -> None:
    running = asyncio.create_task(python(SLEEP))
    await asyncio.sleep(pause)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    own = [line.split() for line in _ps("-A", "-o", "ppid=", "-o", "args=").splitlines()]
    assert [
        argv for ppid, *argv in own if ppid == str(os.getpid()) and "time.sleep(60)" in argv
    ] == []


async def test_a_cancel_on_a_loop_in_another_thread_ends_the_program(tmp_path: Path) -> None:
    async def briefly() -> int:
        running = asyncio.create_task(python(f"{TELL}; {SLEEP}", cwd=str(tmp_path)))
        pid = await pid_of_teller(tmp_path)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        return pid

    pid = await asyncio.to_thread(lambda: asyncio.run(briefly()))

    assert not _lives(pid)


# What a program leaves behind


async def test_what_a_program_leaves_in_its_group_ends_with_it() -> None:
    result = await python(PARENT, SLEEP, "{}")

    assert result.exit_code == 0
    assert await is_gone(int(result.stdout))


async def test_a_helper_that_ends_soon_may_still_say_its_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REGROW_COMMAND_ALLOW", "sh")

    result = await run("sh", "-c", "(sleep 0.3; echo late) & echo early")

    assert result.stdout == "early\nlate\n"


async def test_a_daemon_that_keeps_the_pipes_open_does_not_hold_up_the_task() -> None:
    before = time.monotonic()

    result = await python(PARENT, SLEEP, "{'start_new_session': True}")

    assert time.monotonic() - before < 10
    os.kill(int(result.stdout), signal.SIGKILL)  # it left on purpose, so it is ours to end


# Through a tree


async def test_a_tree_runs_a_program_and_its_secret_is_in_no_history(
    client: TreeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_SECRET_KEY", "s3cr3t-of-the-test")
    code = "import os; print(len(os.environ['KEY']), os.environ['KEY'])"
    inputs = {"argv": [PYTHON, "-c", code], "env": {"KEY": "${{ secrets.KEY }}"}}

    ended = await run_one(client, "command", inputs)

    assert ended.result["stdout"] == "18 ***\n"
    assert "s3cr3t-of-the-test" not in ended.traces


@pytest.mark.parametrize(("retryable", "attempts"), [([], 1), ([7], 3)])
async def test_a_tree_tries_again_what_the_author_says(
    client: TreeClient, retryable: list[int], attempts: int
) -> None:
    inputs = {"argv": [PYTHON, "-c", "exit(7)"], "retryable_exit_codes": retryable}

    ended = await run_one(client, "command", inputs)

    assert ended.failure == ("command_failed", attempts)


async def test_a_cancel_of_the_task_ends_the_program(client: TreeClient, tmp_path: Path) -> None:
    inputs = {"argv": [PYTHON, "-c", f"{TELL}; {SLEEP}"], "cwd": str(tmp_path)}

    ended = await cancel_one(client, "command", inputs, lambda: pid_of_teller(tmp_path))

    assert ended.task.status is Status.CANCELLED
    assert await is_gone(await pid_of_teller(tmp_path))


async def test_a_timeout_of_the_task_ends_the_program(client: TreeClient, tmp_path: Path) -> None:
    inputs = {"argv": [PYTHON, "-c", f"{TELL}; {SLEEP}"], "cwd": str(tmp_path), "timeout": "1s"}

    ended = await run_one(client, "command", inputs, retry={"maximum_attempts": 1})

    assert ended.failure == ("timeout_error", 1)
    assert await is_gone(await pid_of_teller(tmp_path))
