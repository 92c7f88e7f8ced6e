"""Every further rule of docs/semantics.md, in memory."""

import re
from typing import Any

import pytest
from tests.semantics.running import check_rule
from tests.semantics.table import Row, rules, tables

RULES = rules()


def name_of(text: str) -> str:
    return re.sub(r"\W+", "_", text).strip("_")


def test_every_table_is_read_by_a_test() -> None:
    """All but two that only explain: how trees are written, and the rule of the edges in short."""
    read = [("rule", "written"), ("edge", "when")]
    read += [(part, "written") for part in ("upstream", "edge", "when", "kind")]
    others = [table.header for table in tables() if table.header[:2] not in read]
    assert others == [
        ("short", "means"),
        ("the upstream is", "a required edge", "an optional edge"),
    ]


def case_of(title: str, row: Row) -> Any:
    return pytest.param(title, row, id=f"{name_of(title)}-{name_of(row['rule'])}")


def test_every_rule_has_a_name_of_its_own() -> None:
    names = [row["rule"] for _, row in RULES]
    assert sorted(dict.fromkeys(names)) == sorted(names)


@pytest.mark.parametrize(("title", "row"), [case_of(*rule) for rule in RULES])
async def test_rule(title: str, row: Row) -> None:
    await check_rule(row, in_every_order=title == "Whatever the order")
