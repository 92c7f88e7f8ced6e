"""What a benchmark found: shown as tables, and kept as lines of JSON.

A line is one of three. A `row` answers a target: `{"row": "stock.cpu", "what": …, "target": "≤
0.45", "result": …, "low": …, "high": …, "unit": "ratio", "command": …}`; its id begins with that of
a target in `page.py`. A `table` is one line of a table, its cells by heading. A `run` is a single
measurement, for whoever wants to reckon anew.
"""

import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from temporalio.api.workflowservice.v1 import GetSystemInfoRequest
from temporalio.client import Client

from benchmarks.figures import Spread, meets, number

Record = dict[str, Any]
_UNITS: Final = {"ratio": "", "events": "", "bytes": " B", "items/s": " a second"}


class Report:
    """Collects what one command finds."""

    def __init__(self, command: str, machine: str, load: float) -> None:
        """`load` is the machine's load average before the first measurement."""
        self._about: Record = {"command": command, "machine": machine, "load": round(load, 1)}
        self.records: list[Record] = []

    def run(self, **what: Any) -> None:
        """Keep one measurement, and say it to whoever waits."""
        self.records.append({"run": what})
        words = (f"{key}={_plain(value)}" for key, value in what.items())
        print("  ", *words, file=sys.stderr, flush=True)

    def table(self, name: str, **cells: Any) -> None:
        """Keep one line of a table."""
        shown = {key.replace("_", " "): _plain(value) for key, value in cells.items()}
        self.records.append({"table": name, "cells": shown, **self._about})

    def row(self, row: str, what: str, target: str, found: Spread, unit: str = "ratio") -> None:
        """Keep the answer to a target."""
        figures = {"result": found.middle, "low": found.low, "high": found.high}
        rounded = {key: round(value, 4) for key, value in figures.items()}
        about = {"row": row, "what": what, "target": target, **rounded, "unit": unit}
        self.records.append({**about, **self._about})

    def show(self) -> None:
        """Print the tables, then how the targets were met."""
        console = Console(width=None if sys.stdout.isatty() else 160)
        about = "\n{command}\n{machine}, load average before {load}".format(**self._about)
        console.print(about, highlight=False)
        tables = [record for record in self.records if "table" in record]
        for name in dict.fromkeys(record["table"] for record in tables):
            lines = [record["cells"] for record in tables if record["table"] == name]
            console.print(_drawn(name, lines))
        rows = [record for record in self.records if "row" in record]
        if rows:
            console.print(_drawn("targets", [target_cells(row) for row in rows]))

    def write(self, path: Path) -> None:
        """Write the lines of JSON, in place of what was there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(record, ensure_ascii=False) for record in self.records]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def target_cells(row: Mapping[str, Any]) -> dict[str, str]:
    """Show a row: what was measured, its target, what came out."""
    unit, low, high = row["unit"], row["low"], row["high"]
    return {
        "what": row["what"],
        "target": row["target"],
        "result": with_unit(row["result"], unit),
        "spread": f"{number(low)} to {number(high)}" if low != high else "",
        "met": meets(row["target"], low, high),
    }


def with_unit(value: float, unit: str) -> str:
    """Write a figure with its unit; a ratio and a count have none."""
    return number(value) + _UNITS.get(unit, f" {unit}")


async def machine_line(client: Client) -> str:
    """Say on what it ran."""
    info = await client.workflow_service.get_system_info(GetSystemInfoRequest())
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()},"
        f" Python {platform.python_version()}, temporalio {version('temporalio')},"
        f" Temporal Server {info.server_version}"
    )


def command_line(arguments: Sequence[str]) -> str:
    """Give the command that measured, without where its figures went."""
    module = Path(sys.argv[0]).stem
    kept = [
        word
        for at, word in enumerate(arguments)
        if word != "--jsonl" and (at == 0 or arguments[at - 1] != "--jsonl")
    ]
    return " ".join(["python -m", f"benchmarks.{module}", *kept])


def _plain(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)


def _drawn(title: str, lines: Iterable[Mapping[str, str]]) -> Table:
    drawn = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for at, line in enumerate(lines):
        for heading in line if at == 0 else ():
            drawn.add_column(heading, overflow="fold")
        drawn.add_row(*line.values())
    return drawn
