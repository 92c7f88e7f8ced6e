"""The environments of the peers: a folder each, made once with pinned versions, then reused."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

_MADE: Final = "made.json"
_MAKING_SECONDS: Final = 1800
_TAIL: Final = 200
_ROOT: Final = Path(__file__).parents[2]


class NotInstallable(Exception):  # noqa: N818 - no error, but a finding
    """An environment cannot be made here; the text says why."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What pip, and npm where a server comes from there, is asked for."""

    name: str
    python: tuple[str, ...]
    node: tuple[str, ...] = ()

    def made(self, envs: Path) -> "Place":
        """Give the environment in this folder, made if it is missing or has other versions."""
        folder = envs / self.name
        pins = json.dumps(asdict(self))
        made = folder / _MADE
        if not made.is_file() or made.read_text(encoding="utf-8") != pins:
            shutil.rmtree(folder, ignore_errors=True)
            self._make(folder)
            made.write_text(pins, encoding="utf-8")
        return Place(str(folder / "bin" / "python"), (folder / "node_modules" / ".bin",), ())

    def _make(self, folder: Path) -> None:
        _call(sys.executable, "-m", "venv", str(folder))
        _call(str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *self.python)
        if self.node:
            quiet = ("--ignore-scripts", "--no-audit", "--no-fund")
            _call("npm", "install", "--prefix", str(folder), *quiet, *self.node)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a program runs: an interpreter, folders of commands, folders to import from."""

    python: str
    commands: tuple[Path, ...]
    imports: tuple[Path, ...]

    def variables(self) -> dict[str, str]:
        """Give the environment's variables: ours, without what leads back to us."""
        return {
            **os.environ,
            "PATH": os.pathsep.join([*map(str, self.commands), os.environ.get("PATH", "")]),
            "PYTHONPATH": os.pathsep.join(map(str, self.imports)),
        }


HERE: Final = Place(sys.executable, (), (_ROOT, _ROOT / "src"))
"""This interpreter, with the Regrow of this checkout."""


def _call(*command: str) -> None:
    """Run an installer; raises `NotInstallable` with its last words."""
    try:
        done = subprocess.run(  # noqa: S603 - the installers of the table
            command, capture_output=True, text=True, check=False, timeout=_MAKING_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstallable(str(error)) from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise NotInstallable(said[-1][-_TAIL:] if said else f"{command[0]} failed")
