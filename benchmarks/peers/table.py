"""The findings as people and as other programs read them."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any, Final

from benchmarks.peers.field import Course, Peer
from benchmarks.peers.measure import Finding

Findings = Mapping[tuple[str, str], Sequence[Finding]]
"""By the names of course and peer, in the order of the runs."""

_NOTHING: Final = "-"
_MILLISECONDS_BELOW: Final = 0.5


def markdown(
    peers: Sequence[Peer], courses: Sequence[Course], findings: Findings, *, cpu: bool = False
) -> str:
    """Give the table of peers and courses: the median, and the lowest and highest if several."""
    figure = _cpu if cpu else _seconds
    heads = ["Peer", *(course.title for course in courses), "Storage", "Finished tasks survive"]
    rows = [
        [
            peer.title,
            *_cells([findings.get((course.name, peer.name), ()) for course in courses], figure),
            peer.storage,
            peer.survives,
        ]
        for peer in peers
    ]
    lines = [heads, ["---", *["---:"] * len(courses), "---", "---"], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def records(
    peers: Sequence[Peer], courses: Sequence[Course], findings: Findings, command: str
) -> list[dict[str, Any]]:
    """Give one record for each course and peer; its result is null where there is no figure."""
    return [
        _record(peer, course, found, command)
        for course in courses
        for peer in peers
        if (found := findings.get((course.name, peer.name)))
    ]


def _record(peer: Peer, course: Course, found: Sequence[Finding], command: str) -> dict[str, Any]:
    figures = [each.seconds for each in found if each.seconds is not None]
    said = "".join(f"; {each}" for each in _said(found))
    return {
        "row": f"peers-{course.name}-{peer.name}",
        "what": f"{course.title}: {peer.title} ({peer.storage}){said}",
        "target": "reported",
        "result": median(figures) if figures else None,
        "low": min(figures, default=None),
        "high": max(figures, default=None),
        "unit": "s",
        "command": command,
    }


def _cells(
    found: Sequence[Sequence[Finding]], figure: Callable[[Finding], float | None]
) -> list[str]:
    """Give a cell for each course; words that hold for all of them are said once."""
    cells = [_cell(each, figure) for each in found]
    said = [_said(each) for each in found]
    if len(cells) > 1 and said[0] and all(each == said[0] for each in said):
        return [cells[0], *[_NOTHING] * (len(cells) - 1)]
    return cells


def _cell(found: Sequence[Finding], figure: Callable[[Finding], float | None]) -> str:
    figures = [value for each in found if (value := figure(each)) is not None]
    shown = [_shown(figures)] if figures else []
    return "; ".join([*shown, *_said(found)]) or _NOTHING


def _said(found: Sequence[Finding]) -> list[str]:
    return list(dict.fromkeys(each.said.replace("|", "\\|") for each in found if each.said))


def _shown(figures: Sequence[float]) -> str:
    middle = _amount(median(figures))
    if len(figures) == 1:
        return middle
    return f"{middle} ({_amount(min(figures))} to {_amount(max(figures))})"


def _amount(seconds: float) -> str:
    if seconds < _MILLISECONDS_BELOW:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds:.2f} s"


def _seconds(finding: Finding) -> float | None:
    return finding.seconds


def _cpu(finding: Finding) -> float | None:
    return finding.cpu
