"""Write the figures into docs/performance.md: `python -m benchmarks.page`.

The page's tables stand between `<!-- table: NAME -->` and `<!-- end -->`, and are made of what the
commands wrote into benchmarks/results. No figure there is typed by hand.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from docs.generate.markdown import code, table

from benchmarks.report import Record, target_cells
from benchmarks.targets import TARGETS, Target

_ROOT: Final = Path(__file__).parents[1]
PAGE: Final = _ROOT / "docs" / "performance.md"
RESULTS: Final = _ROOT / "benchmarks" / "results"

_TABLE: Final = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_TARGETS: Final = "targets"
_REPORTED: Final = "reported"
"""The table of rows that have no target."""
_HEADINGS: Final = ("what", "target", "result", "spread", "met", "command")
_MISSING: Final = "not measured"


def read(folder: Path = RESULTS) -> list[Record]:
    """Read what the commands wrote."""
    files = sorted(folder.glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def filled(page: str, records: Sequence[Record]) -> str:
    """Give the page with its tables made anew."""
    return _TABLE.sub(lambda found: f"{found[1]}{_made(found[2], records)}{found[3]}", page)


def _made(name: str, records: Sequence[Record]) -> str:
    rows = [record for record in records if "row" in record]
    if name == _TARGETS:
        judged = [row for row in rows if row["target"]]
        return _shown(_HEADINGS, _target_lines(judged), judged)
    if name == _REPORTED:
        found = [row for row in rows if not row["target"]]
        return _shown(_HEADINGS, map(_line, found), found)
    lines = [record for record in records if record.get("table") == name]
    headings = list(dict.fromkeys(heading for line in lines for heading in line["cells"]))
    cells = ([line["cells"].get(heading, "") for heading in headings] for line in lines)
    return _shown(headings, cells, lines)


def _shown(
    headings: Sequence[str], lines: Iterable[Sequence[str]], records: Sequence[Record]
) -> str:
    made = table(headings, lines) or "Not measured yet.\n"
    return f"\n{made}\n{_machines(records)}"


def _target_lines(rows: Sequence[Record]) -> Iterator[Sequence[str]]:
    """Give the lines of every target, then those of rows that answer none."""
    for target in TARGETS:
        answers = [row for row in rows if target.is_answered_by(row["row"])]
        yield from map(_line, answers)
        if not answers:
            yield (target.what, target.target, _MISSING, "", "", code(target.command))
    yield from (_line(row) for row in rows if not _answers_any(row, TARGETS))


def _answers_any(row: Record, targets: Iterable[Target]) -> bool:
    return any(target.is_answered_by(row["row"]) for target in targets)


def _line(row: Record) -> Sequence[str]:
    return (*target_cells(row).values(), code(row["command"]))


def _machines(records: Sequence[Record]) -> str:
    """Say on what it was measured, and how busy that was with other things."""
    said = dict.fromkeys(record["machine"] for record in records if "machine" in record)
    load = max((record.get("load", 0.0) for record in records), default=0.0)
    return f"Measured on {'; '.join(said)}; load average before: {load}.\n\n" if said else ""


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text("utf-8"), read()), "utf-8")
