"""Measure each peer once in every round, and print what was found."""

import argparse
import json
import os
import platform
import shlex
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.peers.environments import HERE, NotInstallable, Place
from benchmarks.peers.field import COURSES, PEERS, Course, Peer
from benchmarks.peers.measure import Finding, measure
from benchmarks.peers.table import markdown, records

_CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
_SYNCS: Final = 50

Places = Mapping[str, Place | str]
"""Where each peer runs, by its name; or why it cannot."""


def main() -> None:
    """Do what the command line says."""
    options = _options()
    peers = [peer for peer in PEERS if peer.name in options.peers]
    courses = [course for course in COURSES if course.name in options.courses]
    places = {peer.name: _place(peer, options.envs) for peer in peers}
    _say(machine := _machine())
    findings: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    with suppress(KeyboardInterrupt):  # what was found until then is shown
        for course, peer, finding in _runs(peers, courses, places, options.repeat, options.limit):
            findings[course.name, peer.name].append(finding)
            _say(f"{course.name} {peer.name}: {finding.said or f'{finding.seconds:.4f} s'}")
    times, cpu = (markdown(peers, courses, findings, cpu=each) for each in (False, True))
    wall = "Time from the start of the work to its results"
    _print(machine, f"{wall}:", times, "Processor time of the same, servers included:", cpu)
    if options.jsonl:
        command = shlex.join(["python", "-m", "benchmarks.peers", *sys.argv[1:]])
        lines = map(json.dumps, records(peers, courses, findings, command))
        options.jsonl.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _runs(
    peers: Sequence[Peer], courses: Sequence[Course], places: Places, repeat: int, limit: float
) -> Iterator[tuple[Course, Peer, Finding]]:
    """Run every peer once in each round, each round from another peer on.

    One that gave no figure is not asked again.
    """
    done: set[tuple[str, str]] = set()
    for turn in range(repeat):
        start = turn % len(peers)
        for course in courses:
            for peer in (*peers[start:], *peers[:start]):
                key, place = (course.name, peer.name), places[peer.name]
                if key in done or (peer.most is not None and turn >= peer.most):
                    continue
                if isinstance(place, str):
                    finding = Finding(said=place)
                else:
                    finding = measure(peer, course, place, limit=limit)
                if finding.said:
                    done.add(key)
                yield course, peer, finding


def _place(peer: Peer, envs: Path) -> Place | str:
    """Make the environment of a peer; give the reason if that fails."""
    if peer.environment is None:
        return HERE
    _say(f"environment of {peer.title}")
    try:
        return peer.environment.made(envs)
    except NotInstallable as reason:
        return f"not installable here: {reason}"


def _machine() -> str:
    """Say what the figures hang on: the cores, who else is at work, the disk."""
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python"
        f" {platform.python_version()}, load {load:.1f} at the start; state in"
        f" {tempfile.gettempdir()} ({_file_system()}), where a sync takes"
        f" {_sync_seconds() * 1000:.2f} ms (median)"
    )


def _file_system() -> str:
    """Give the type of the file system that holds temporary files, where /proc tells."""
    folder, mounts = Path(tempfile.gettempdir()).resolve(), Path("/proc/mounts")
    if not mounts.is_file():
        return "unknown"
    found = [line.split()[1:3] for line in mounts.read_text(encoding="utf-8").splitlines()]
    holding = [each for each in found if folder.is_relative_to(each[0])]
    return max(holding, key=lambda each: len(each[0]))[1]


def _sync_seconds() -> float:
    """Tell how long the disk takes to have a small write for good."""
    seconds: list[float] = []
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(_SYNCS):
            start = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - start)
    return median(seconds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    add = parser.add_argument
    peers, courses = [peer.name for peer in PEERS], [course.name for course in COURSES]
    add("--peers", nargs="+", choices=peers, default=peers, metavar="PEER", help=", ".join(peers))
    add("--courses", nargs="+", choices=courses, default=courses, metavar="COURSE",
        help=", ".join(courses))  # fmt: skip
    add("--repeat", type=int, default=5, help="rounds (default: %(default)s)")
    add("--limit", type=float, default=180, help="seconds that work may take (%(default)s)")
    add("--envs", type=Path, default=_CACHE / "regrow-peers", help="folder of the environments")
    add("--jsonl", type=Path, help="file to write a record for each course and peer to")
    return parser.parse_args()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _print(*parts: str) -> None:
    sys.stdout.write("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
