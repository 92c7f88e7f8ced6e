"""The lines above a tree: how it stands as a whole, for how long, and for how much longer."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.cells import cell_len
from rich.text import Text

from regrow.cli.view.columns import cut
from regrow.cli.view.endings import counted, summary_line
from regrow.cli.view.estimate import Estimate, told
from regrow.cli.view.standing import Standing
from regrow.cli.view.words import STYLES, said_by, whole_seconds
from regrow.core.draw.marks import GLYPHS, WORDS, duration
from regrow.core.result import TreeResult

Phrase = tuple[str, str, str]
"""What joins it to the one before, what it says, its style."""
_DEMO = "a demo: no executor was called"
_HELD = "held until what failed is retried or skipped"


def header_line(standing: Standing) -> Text:
    """Say it in one line, however long."""
    result = standing.result
    line = Text(summary_line(result))
    line.append(f"  {result.tree_id}")
    line.append(f", a rerun of {result.rerun_of}" if result.rerun_of else "")
    line.append(f", {_HELD}" if standing.is_held else "")
    return line


def header_lines(
    standing: Standing,
    width: int,
    *,
    now: datetime,
    began: datetime | None = None,
    ended: datetime | None = None,
    estimate: Estimate | None = None,
) -> list[Text]:
    """Say it in as many lines as it takes."""
    result = standing.result
    phrases = [*_stands(result), *_lasts(standing, now, began, ended, estimate), *_more(standing)]
    return _flowing(phrases, width)


def _stands(result: TreeResult) -> Iterator[Phrase]:
    style = STYLES[result.status]
    yield "", f"{GLYPHS[result.status]} {result.name} {WORDS[result.status]}", style
    joint = ": "
    for status, text in counted(result):
        yield joint, text, STYLES[status]
        joint = ", "


def _lasts(
    standing: Standing,
    now: datetime,
    began: datetime | None,
    ended: datetime | None,
    estimate: Estimate | None,
) -> Iterator[Phrase]:
    if began is None:
        return
    span = (ended or now) - began
    yield " · ", duration(span) if ended else whole_seconds(span), ""
    if estimate and ended is None and standing.goes_on:
        left, why = told(estimate, span)
        yield " · ", left, ""
        yield " ", why, "dim"


def _more(standing: Standing) -> Iterator[Phrase]:
    result = standing.result
    if result.paused:
        yield " · ", f"paused{said_by(result.paused)}", "bold yellow"
    if standing.is_held:
        yield " · ", _HELD, "bold red"
    yield " · ", result.tree_id, "dim"
    if result.rerun_of:
        yield ", ", f"a rerun of {result.rerun_of}", "dim"
    if result.demo:
        yield ", ", _DEMO, "dim"


def _flowing(phrases: Sequence[Phrase], width: int) -> list[Text]:
    """Fill lines with phrases, none of which is broken."""
    lines = [Text()]
    for joint, phrase, style in phrases:
        if lines[-1].cell_len + cell_len(joint + phrase) >= width and lines[-1]:
            lines[-1].append("," if joint == ", " else "")
            lines.append(Text("  "))
        else:
            lines[-1].append(joint, style="" if joint == ": " else "dim")
        lines[-1].append(phrase, style=style)
    return [cut(line, width) for line in lines]
