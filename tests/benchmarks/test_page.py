"""How results get into the documentation."""

from typing import Any

from benchmarks.page import PAGE, filled, read
from benchmarks.targets import TARGETS

EMPTY = "Before.\n<!-- table: {} -->\n<!-- end -->\nAfter.\n"


def a_row(row: str, **given: Any) -> dict[str, Any]:
    figures = {"result": 1.01, "low": 1.0, "high": 1.02, "unit": "ratio"}
    about = {"row": row, "what": f"What {row} is", "target": "≤ 1.05", "command": "measure it"}
    return {**about, **figures, **given}


def test_the_page_shows_what_was_measured_last() -> None:
    assert filled(PAGE.read_text("utf-8"), read()) == PAGE.read_text("utf-8"), (
        "python -m benchmarks.page writes it anew"
    )


def test_every_target_is_shown_measured_or_not() -> None:
    page = filled(EMPTY.format("targets"), [a_row("stock.cpu")])

    assert "| What stock.cpu is | ≤ 1.05 | 1.01 | 1.00 to 1.02 | yes | `measure it` |" in page
    assert page.count("not measured") == len(TARGETS) - 1


def test_all_that_answers_a_target_stands_in_its_place() -> None:
    rows = [a_row("end_to_end.cpu.fan-9"), a_row("replay"), a_row("end_to_end.cpu.chain-9")]
    page = filled(EMPTY.format("targets"), rows)
    places = [page.index(f"What {row}") for row in ("replay", "end_to_end.cpu.fan-9")]

    assert places == sorted(places)
    assert "What end_to_end.cpu.chain-9" in page


def test_a_row_that_answers_no_target_is_not_lost() -> None:
    page = filled(EMPTY.format("targets"), [a_row("stocks")])

    assert "What stocks is" in page
    assert page.count("not measured") == len(TARGETS)


def test_what_has_no_target_is_reported_apart() -> None:
    rows = [a_row("replay"), a_row("replay-start", target="")]

    assert "What replay-start is" not in filled(EMPTY.format("targets"), rows)
    reported = filled(EMPTY.format("reported"), rows)
    assert "What replay-start is" in reported
    assert "What replay is" not in reported


def test_a_table_has_the_cells_of_its_lines_and_says_where_it_was_measured() -> None:
    lines = [
        {"table": "peers", "cells": {"system": "A", "fan": "1 s"}, "machine": "2 cores"},
        {"table": "peers", "cells": {"system": "B", "chain": "2 s"}, "load": 0.4},
        {"table": "others", "cells": {"system": "C"}, "machine": "4 cores"},
    ]
    page = filled(EMPTY.format("peers"), lines)

    assert "| system | fan | chain |" in page
    assert "| A | 1 s |  |" in page
    assert "| B |  | 2 s |" in page
    assert "Measured on 2 cores; load average before: 0.4." in page
    assert "4 cores" not in page


def test_what_is_not_measured_is_said_and_the_rest_of_the_page_stays() -> None:
    page = filled(EMPTY.format("peers"), [])

    assert "Not measured yet." in page
    assert page.startswith("Before.\n")
    assert page.endswith("After.\n")
    assert filled(page, []) == page
