"""The executors of the map example: find bank statements, check one, report on all."""

import csv
from decimal import Decimal, InvalidOperation
from pathlib import Path

from pydantic import BaseModel

from regrow import TaskError, executor_register


class Folder(BaseModel):
    """Where the statements lie."""

    folder: Path


class Statement(BaseModel):
    """One CSV file: lines of text and amount, the first `opening`, the last `closing`."""

    file: Path


class Checked(BaseModel):
    """A statement that adds up."""

    movements: int
    closing: Decimal


class Report(BaseModel):
    """The files, what was found in each, and where to write it."""

    files: list[Path]
    checked: list[Checked | None]
    report: Path


class Written(BaseModel):
    """The report, how many statements are sound, which are bad, and what lies in the sound ones."""

    report: Path
    sound: int
    bad: list[str]
    total: Decimal


@executor_register()
def find_statements(inputs: Folder) -> list[str]:
    """List the statements in a folder, in the order of their names."""
    files = sorted(str(path) for path in inputs.folder.glob("*.csv"))
    if not files:
        raise TaskError(f"no statements in {inputs.folder.resolve()}", error_type="file_not_found")
    return files


@executor_register()
def check_statement(inputs: Statement) -> Checked:
    """Check that opening balance and movements give the closing balance."""
    with inputs.file.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    try:
        texts, amounts = [row[0] for row in rows], [Decimal(row[1]) for row in rows]
    except (IndexError, InvalidOperation):
        raise TaskError(f"{inputs.file}: an amount is missing", error_type="unreadable") from None
    if texts[:1] != ["opening"] or texts[-1:] != ["closing"]:
        raise TaskError(f"{inputs.file}: it is cut off", error_type="incomplete")
    *parts, closing = amounts
    if sum(parts) != closing:
        raise TaskError(
            f"{inputs.file}: gives {sum(parts)}, says {closing}", error_type="does_not_add_up"
        )
    return Checked(movements=len(parts) - 1, closing=closing)


@executor_register()
def write_report(inputs: Report) -> Written:
    """Write a line for every statement."""
    pairs = list(zip(inputs.files, inputs.checked, strict=True))
    part = inputs.report.with_name(f"{inputs.report.name}.part")
    with part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("statement", "movements", "closing"))
        for path, checked in pairs:
            found = (checked.movements, checked.closing) if checked else ("bad", "")
            writer.writerow((path.name, *found))
    part.replace(inputs.report)
    return Written(
        report=inputs.report,
        sound=sum(checked is not None for checked in inputs.checked),
        bad=[path.name for path, checked in pairs if checked is None],
        total=sum((checked.closing for checked in inputs.checked if checked), Decimal(0)),
    )
