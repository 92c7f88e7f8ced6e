"""The executors of the nightly example, but for `save_sales`: that one is broken, then fixed."""

import asyncio
import json
import urllib.request
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from shops import SHOPS, Row, sold

from regrow import TaskError, executor_register


class Shop(BaseModel):
    """One shop's day."""

    shop: str
    date: str


class Question(BaseModel):
    """Whom to ask, as HOST:PORT, and what about."""

    address: str
    about: str


class Count(BaseModel):
    """A file in which somebody has written down what was counted."""

    file: Path


class Filing(BaseModel):
    """For how long receipts are filed."""

    hours: float


class Report(BaseModel):
    """A title, and whatever is to stand below it."""

    model_config = ConfigDict(extra="allow")
    title: str


@executor_register()
def list_shops(inputs: dict[str, Any]) -> list[str]:
    """List the shops that were open."""
    del inputs
    return list(SHOPS)


@executor_register()
def read_sales(inputs: Shop) -> list[Row]:
    """Read what one shop sold."""
    return sold(inputs.shop, inputs.date)


@executor_register()
def add_up(inputs: dict[str, list[list[Row]]]) -> int:
    """Add up, in cents, what all shops sold."""
    return sum(row.cents for rows in inputs["sales"] for row in map(Row.model_validate, rows))


@executor_register(retry={"maximum_attempts": 1})
def ask_service(inputs: Question) -> dict[str, Any]:
    """Ask a service on the web."""
    try:
        with urllib.request.urlopen(f"http://{inputs.address}/{inputs.about}", timeout=5) as answer:
            return json.load(answer)
    except OSError as error:
        message = f"nobody answers at {inputs.address}"
        raise TaskError(message, error_type="unavailable") from error


@executor_register()
def read_count(inputs: Count) -> dict[str, Any]:
    """Read what was counted; without the file there is no use in trying again."""
    if not inputs.file.exists():
        raise TaskError(f"there is no {inputs.file}", error_type="file_not_found")
    return json.loads(inputs.file.read_text())


@executor_register(heartbeat_timeout="2s")
async def file_receipts(inputs: Filing) -> None:
    """File receipts, one by one, for hours."""
    await asyncio.sleep(inputs.hours * 3600)


@executor_register()
def write_report(inputs: Report) -> dict[str, Any]:
    """Write down what is given."""
    return inputs.model_dump()
