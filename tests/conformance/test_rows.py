"""Each row of the conformance table has a test that is named after it."""

import re
from pathlib import Path
from typing import Final

ROWS: Final = {
    "td": 5,  # task design
    "op": 5,  # orchestration patterns
    "eh": 4,  # error handling
    "po": 4,  # performance optimisation
    "co": 4,  # code organisation
    "ts": 3,  # testing strategies
    "pr": 4,  # production readiness
    "cc": 15,  # what the protocol publishes besides
}


def test_no_row_is_without_a_test() -> None:
    files = Path(__file__).parent.glob("test_*.py")
    names = [name for file in files for name in re.findall(r"def test_(\w+?)_", file.read_text())]
    wanted = [f"{part}{row}" for part, rows in ROWS.items() for row in range(1, rows + 1)]

    assert [row for row in wanted if row not in names] == []
