"""Every cell of the truth table in docs/semantics.md, in memory."""

from itertools import product

import pytest
from tests.semantics.running import check_cell, seen_of
from tests.semantics.table import KINDS, Cell, cells, scenario

CELLS = cells()

UPSTREAM = (
    "completed",
    "completed with null",
    "failed",
    "timed out",
    "cancelled",
    "skipped by dependency",
    "skipped by condition",
)
EDGES = ("required", "optional")
WHEN = ("absent", "true", "false", "failing")


def test_no_cell_is_missing() -> None:
    found = [(cell.upstream, cell.edge, cell.when, cell.kind) for cell in CELLS]
    assert found == list(product(UPSTREAM, EDGES, WHEN, KINDS))


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.id)
async def test_cell(cell: Cell) -> None:
    check_cell(cell, await seen_of(scenario(cell.written)))
