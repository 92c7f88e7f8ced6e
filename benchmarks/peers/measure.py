"""Run the program of a peer once, in a process of its own, and take its answer.

What stays of a peer that broke off is ended with its process group; its state is thrown away.
"""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.peers.contract import ANSWER
from benchmarks.peers.environments import Place
from benchmarks.peers.field import Course, Peer

_SET_UP_SECONDS: Final = 300
_TAIL: Final = 160


@dataclass(frozen=True, slots=True)
class Finding:
    """What one run gave: a figure, or words in its place."""

    seconds: float | None = None
    """The median, where the work was done several times."""
    cpu: float | None = None
    """The processor time of the peer with its servers, for the work done once."""
    said: str = ""


def measure(peer: Peer, course: Course, place: Place, *, limit: float) -> Finding:
    """Run the work of a course with a peer."""
    work = {
        "dependencies": [list(others) for others in course.shape.dependencies],
        "times": course.times,
        "limit": limit,
    }
    program = str(Path(__file__).with_name(f"{peer.program}_peer.py"))
    command = [place.python, program, *peer.arguments]
    with tempfile.TemporaryDirectory(prefix="peers-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "asked.json").write_text(json.dumps(work), encoding="utf-8")
        code = _run(command, folder, place.variables(), _SET_UP_SECONDS + limit * course.times)
        return _finding(folder, code, limit)


def _run(command: list[str], folder: Path, env: Mapping[str, str], patience: float) -> int:
    with (folder / "asked.json").open() as asked, (folder / "said.txt").open("w") as said:
        process = subprocess.Popen(  # noqa: S603 - a program of this folder
            command,
            stdin=asked,
            stdout=said,
            stderr=said,
            cwd=folder,
            env=env,
            start_new_session=True,
        )
        try:
            return process.wait(patience)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _finding(folder: Path, code: int, limit: float) -> Finding:
    if code == -signal.SIGALRM:
        return Finding(said=f"> {limit:g} s")
    if code:
        lines = (folder / "said.txt").read_text(errors="replace").strip().splitlines()
        return Finding(said=f"failed: {lines[-1][:_TAIL] if lines else f'exit code {code}'}")
    told: dict[str, Any] = json.loads((folder / ANSWER).read_text(encoding="utf-8"))
    if "unavailable" in told:
        return Finding(said=f"skipped: {told['unavailable']}")
    return Finding(median(told["seconds"]), told["cpu"])
