"""What the commands of benchmarks have in common: their options, and where their figures go."""

import argparse
import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from benchmarks.bench import Bench, bench
from benchmarks.report import Report, command_line

Measure = Callable[[Bench, Report, argparse.Namespace], Awaitable[None]]


def parser(about: str | None, repetitions: int) -> argparse.ArgumentParser:
    """Give a parser with the options of all commands."""
    made = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--repetitions", type=int, default=repetitions, help="default: %(default)s")
    made.add_argument(
        "--storage",
        choices=("memory", "file"),
        default="memory",
        help="where the server keeps its state; default: %(default)s",
    )
    made.add_argument("--jsonl", type=Path, help="write the figures to this file, too")
    return made


def run(options: argparse.Namespace, *measures: Measure) -> Report:
    """Measure on one server, show what was found, and write it."""
    return asyncio.run(_run(options, measures, sys.argv[1:]))


async def _run(
    options: argparse.Namespace, measures: Sequence[Measure], arguments: Sequence[str]
) -> Report:
    load = os.getloadavg()[0]
    async with bench(options.storage) as place:
        report = Report(command_line(arguments), place.machine, load)
        for measure in measures:
            await measure(place, report, options)
    report.show()
    if options.jsonl:
        report.write(options.jsonl)
    return report
