"""Python at the side of a page's shell: one namespace for all its blocks."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.docs.pages import Block

_DRIVER: Final = Path(__file__).with_name("driver.py")


class Interpreter:
    """A Python process in a page's directory."""

    def __init__(self, directory: Path, env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(_DRIVER)], cwd=directory, env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def run(self, block: Block) -> str | None:
        """Run a block; gives its traceback if it fails."""
        assert self._process.stdin
        assert self._process.stdout
        sent = json.dumps([block.page, block.line, block.text])
        self._process.stdin.write(f"{sent}\n")
        self._process.stdin.flush()
        reply = self._process.stdout.readline()
        return json.loads(reply) if reply else "the interpreter has died"

    def close(self) -> None:
        self._process.communicate(timeout=30)
