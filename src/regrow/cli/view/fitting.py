"""Which rows are shown when not all of them fit: what failed first, what is done last."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from regrow.cli.view.rows import TOP, Row
from regrow.core.wire import SLEEP, Status

_QUIET: Final = (Status.COMPLETED, Status.SKIPPED)
_WAITS_FOR_PEOPLE, _LAST = 1, 5
_RANKS: Final = {
    Status.FAILED: 0,
    Status.IN_PROGRESS: 2,
    Status.CANCELLED: 3,
    Status.PENDING: 4,
    Status.SKIPPED: _LAST,
    Status.COMPLETED: _LAST,
}


def fitting(rows: Sequence[Row], height: int) -> tuple[Sequence[Row], Counter[Status]]:
    """Give what is shown in so many lines, and how many tasks of each status are not.

    Branches in which all is well are folded first. If that isn't enough, what matters most is
    chosen, with whatever it is in; a line is left for the rest.
    """
    if len(rows) <= height:
        return rows, Counter()
    rows = _folded(rows)
    if len(rows) <= height:
        return rows, Counter()
    chosen = _chosen(rows, max(height - 1, 1))
    hidden = Counter[Status]()
    for at, row in enumerate(rows):
        if at not in chosen:
            hidden[row.status] += 1
            hidden[Status.COMPLETED] += row.folded
    return [rows[at] for at in sorted(chosen)], hidden


def _folded(rows: Sequence[Row]) -> list[Row]:
    """Leave out what is below a row if all of it has ended well."""
    loud, sizes = _loud_and_sizes(rows)
    kept: list[Row] = []
    places: dict[int, int] = {}
    for at, row in enumerate(rows):
        over = row.above
        if over != TOP and (over not in places or not loud[over]):
            continue
        places[at] = len(kept)
        above, folded = places.get(over, TOP), 0 if loud[at] else sizes[at]
        is_same = above == over and not folded
        kept.append(row if is_same else row._replace(above=above, folded=folded))
    return kept


def _loud_and_sizes(rows: Sequence[Row]) -> tuple[list[bool], list[int]]:
    """Tell of each row whether something in it is not done, and how many rows are below it."""
    loud = [row.status not in _QUIET for row in rows]
    sizes = [0] * len(rows)
    for at in range(len(rows) - 1, 0, -1):
        over = rows[at].above
        if over != TOP:
            loud[over] = loud[over] or loud[at]
            sizes[over] += sizes[at] + 1
    return loud, sizes


def _chosen(rows: Sequence[Row], room: int) -> dict[int, bool]:
    """Choose by rank; of what is done, that which is next to what is to come."""
    chosen: dict[int, bool] = {}
    for at in sorted(range(len(rows)), key=lambda at: _order(rows[at], at)):
        wanted = [each for each in _with_what_it_is_in(rows, at) if each not in chosen]
        if len(chosen) + len(wanted) <= room:
            chosen |= dict.fromkeys(wanted, True)
        if len(chosen) == room:
            break
    return chosen


def _order(row: Row, at: int) -> tuple[int, int]:
    rank = _WAITS_FOR_PEOPLE if _waits_for_people(row) else _RANKS[row.status]
    return rank, -at if rank == _LAST else at


def _waits_for_people(row: Row) -> bool:
    wait = row.standing.wait_of(row.unit) if row.status is Status.IN_PROGRESS else None
    return wait is not None and wait.kind != SLEEP


def _with_what_it_is_in(rows: Sequence[Row], at: int) -> list[int]:
    found: list[int] = []
    while at != TOP:
        found.append(at)
        at = rows[at].above
    return found
