"""`regrow init`: what it writes runs, and its README tells the truth."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.command import Shell, answers, free_port, wait_until

FILES = [
    ".gitignore", "README.md", "executors.py", "histories/invoice.json", "pyproject.toml",
    "requirements.txt", "test_replay.py", "test_tree.py", "tree.schema.json", "tree.yaml",
]  # fmt: skip


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_every_file_is_named_and_what_to_type_next(shell: Shell) -> None:
    done = shell.run("init", "my invoices")

    assert done.returncode == 0
    assert done.stdout.splitlines() == [f"my invoices/{name}" for name in FILES]
    assert done.stderr.splitlines() == [
        "now: cd 'my invoices'",
        "then: regrow run tree.yaml --executors executors.py   (README.md says more)",
    ]


def test_directory_with_other_files_is_filled(shell: Shell) -> None:
    done = shell.run("init", ".")

    assert done.returncode == 0
    assert shell.executors.exists()
    assert "cd " not in done.stderr


def test_nothing_is_overwritten_nor_half_written(shell: Shell) -> None:
    shell.write("README.md", "mine\n")

    done = shell.run("init", ".")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: README.md would be overwritten; name another directory, or move them away\n"
    )
    assert sorted(path.name for path in shell.directory.iterdir()) == ["README.md", "probe.py"]


def test_directory_that_is_a_file_is_told(shell: Shell) -> None:
    done = shell.run("init", "probe.py")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: probe.py is a file; name a directory\n"


class Terminal:
    """A shell in the new project, in which its README is typed."""

    def __init__(self, shell: Shell, project: Path) -> None:
        self.port = free_port()
        env = {
            **shell.env,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{shell.env['PATH']}",
            "TEMPORAL_ADDRESS": f"127.0.0.1:{self.port}",
        }
        self._bash = subprocess.Popen(
            ["bash", "--norc"], cwd=project, env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def type(self, command: str, *, server: bool) -> tuple[int, str]:
        """Type a command; gives its exit code and what it shows."""
        if command.startswith("regrow dev"):
            ports = f"regrow dev --port {self.port} --ui-port {free_port()}"
            self._run(command.replace("regrow dev", ports).replace(" &", " > dev.log 2>&1 &"))
            wait_until(lambda: answers(self.port))
            return 0, ""
        return self._run(command if server else f"env -u TEMPORAL_ADDRESS {command}")

    def close(self) -> None:
        self._run("kill $(jobs -p)")
        self._bash.communicate("wait\n", timeout=60)

    def _run(self, line: str) -> tuple[int, str]:
        assert self._bash.stdin
        assert self._bash.stdout
        self._bash.stdin.write(f"{line}\necho :$?\n")
        self._bash.stdin.flush()
        output = ""
        while not (said := self._bash.stdout.readline()).startswith(":"):
            assert said, output
            output += said
        return int(said[1:]), output


@pytest.fixture
def terminal(shell: Shell) -> Iterator[Terminal]:
    shell.run("init", "new")
    made = Terminal(shell, shell.directory / "new")
    yield made
    made.close()


SHOWN = {
    "pip install": "Requirement already satisfied: regrow",
    "regrow validate": "tree.yaml: fine: 2 tasks, 1 dependency",
    "regrow simulate": "✘ price [price_orders]",
    "regrow run": "Invoice for Bob: 16.00",
    "pytest": "6 passed",
    "regrow start": "invoice-1",
    "regrow watch": "Invoice for Ann: 16.00",
    "regrow list": "invoice-1  invoice  completed",
}


def test_everything_that_the_readme_says_works(terminal: Terminal, shell: Shell) -> None:
    project = shell.directory / "new"
    blocks: list[str] = re.findall(
        r"```sh\n(.*?)```", (project / "README.md").read_text(), re.DOTALL
    )
    typed = [line for block in blocks for line in block.splitlines()]
    first_of_server = next(at for at, line in enumerate(typed) if line.startswith("regrow dev"))

    for at, command in enumerate(typed):
        code, output = terminal.type(command, server=at >= first_of_server)
        assert code == (3 if "--fail" in command else 0), f"$ {command}\n{output}"
        assert SHOWN.get(" ".join(command.split()[:2]).split(" -")[0], "") in output, output

    code, output = terminal.type("pytest", server=True)
    assert "7 passed" in output, output  # with the history that was recorded just now
    assert {command.split()[0] for command in typed} == {"pip", "regrow", "pytest", "temporal"}
    assert all(any(line.startswith(key) for line in typed) for key in SHOWN)
