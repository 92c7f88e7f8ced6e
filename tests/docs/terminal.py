"""A shell in which a page's commands are typed, and how what they print is compared."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.docs.pages import Step
from tests.e2e.command import answers, free_port, wait_until

ELIDED: Final = "…"
LOOKS: Final = ("show", "list", "explain", "describe", "query")
"""Commands that are typed again until they show what they should, as one does while it happens."""
FOLLOWS: Final = ("run", "watch")
PATIENCE: Final = 30.0
AT_EXIT: Final = "Fatal Python error: PyGILState_Release"
"""What now and then follows all that a script of one's own has printed: the interpreter's end meets
the SDK's native threads (docs/adr/0004-exit.md)."""
VARYING: Final = (
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?", "<time>"),
    (r"(?m)^\d\d:\d\d:\d\d\.\d{3}", "<clock>"),
    (r"\b\d+(\.\d+)?(ms|s)\b", "<span>"),
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<id>"),
    (r"(?m)^<clock> ↻ .*\n", ""),  # whether a second attempt is seen coming is a matter of luck
    (r" --address \S+", ""),
    (r"(?m)^no worker has .*\n", ""),  # on a machine that is busy
    (r"(?m)^bash: line \d+: .*\n?", ""),  # how a job of the shell has ended
    (r" +\n", "\n"),
)


class Terminal:
    """A bash of its own in a directory; jobs that go on print into `background.txt`."""

    def __init__(self, directory: Path, port: int, env: dict[str, str]) -> None:
        self.port, self.directory, self.code = port, directory, 0
        self.output = directory / "output.txt"
        self.shell = subprocess.Popen(
            ["bash"], cwd=directory, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def type(self, step: Step) -> tuple[int, str]:
        """Type a command; gives its exit code and all that it prints."""
        if step.goes_on:
            self._start(step.typed.removesuffix(" &"))
            return 0, ""
        before = f"(exit {self.code})"  # so that `$?` is that of the command before
        self.code = self._run(f"{before}\n{{ {step.typed}\n}} > {self.output} 2>&1 < /dev/null")
        printed, crash, _ = self.output.read_text().partition(AT_EXIT)
        self.code = 0 if crash else self.code
        return self.code, printed

    def source(self, script: str) -> tuple[int, str]:
        """Run lines until one fails; where they go and what they set stays."""
        path = self.directory / ".script.sh"
        path.write_text(f"trap 'code=$?; trap - ERR; return $code' ERR\n{script}\ntrap - ERR\n")
        self.code = self._run(f". {path} > {self.output} 2>&1 < /dev/null")
        return self.code, self.output.read_text()

    def close(self) -> None:
        self._run("kill $(jobs -p)")
        self.shell.communicate("wait\n", timeout=PATIENCE)

    def _start(self, typed: str) -> None:
        """Start what goes on; a server gets ports of its own, and commands are told of it."""
        ports = f"--port {self.port} --ui-port {free_port()}"
        served = typed.replace("regrow dev", f"regrow dev {ports}")
        self._run(f"{served} >> {self.directory}/background.txt 2>&1 < /dev/null &")
        if served != typed:
            wait_until(lambda: answers(self.port))
            self._run(f"export TEMPORAL_ADDRESS={self.address}")

    def _run(self, line: str) -> int:
        assert self.shell.stdin
        assert self.shell.stdout
        self.shell.stdin.write(f"{line}\necho :$?\n")
        self.shell.stdin.flush()
        while not (said := self.shell.stdout.readline()).startswith(":"):
            assert said, self._last_words()
        return int(said[1:])

    def _last_words(self) -> str:
        files = (self.output, self.directory / "background.txt")
        return "\n".join(path.read_text() for path in files if path.exists())


def without_server(directory: Path) -> dict[str, str]:
    """Give an environment in which this Python's commands come first and no server is named."""
    clean = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("TEMPORAL_", "REGROW_", "PYTEST_", "COV_"))
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{clean['PATH']}"
    return {**clean, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(directory)}


def steady(output: str) -> str:
    """Leave out what differs each time."""
    for pattern, word in VARYING:
        output = re.sub(pattern, word, output)
    return output.strip()


def agrees(step: Step, output: str) -> bool:
    """Tell whether a page shows this, but for times, and for what it leaves out.

    What runs side by side is told of in any order.
    """
    shown, output = steady(step.shown), steady(output)
    follows = any(f" {word} " in step.typed for word in FOLLOWS)
    return _matches(shown, output) or (follows and _matches(_in_order(shown), _in_order(output)))


def _matches(shown: str, output: str) -> bool:
    parts = [re.escape(part) for part in shown.split(ELIDED)]
    return re.fullmatch(".*".join(parts), output, re.DOTALL) is not None


def _in_order(text: str) -> str:
    return "\n".join(sorted(text.splitlines()))


def done(terminal: Terminal, step: Step) -> tuple[int, str]:
    """Type it, and type it again if one only looks and it isn't so yet."""
    deadline = time.monotonic() + PATIENCE
    code, output = terminal.type(step)
    looks = any(f" {word}" in step.typed for word in LOOKS)
    while looks and not agrees(step, output) and time.monotonic() < deadline:
        time.sleep(0.2)
        code, output = terminal.type(step)
    return code, output
