"""The shops, what they sell, and the warehouse that wants to know about it."""

from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel

SHOPS: Final = ("north", "south", "west")
_ROWS: Final = 15
_MOST: Final = 20


class Row(BaseModel):
    """One sale."""

    key: str
    cents: int


def sold(shop: str, date: str) -> list[Row]:
    """Give a shop's sales; a stand-in for its till."""
    return [Row(key=f"{date}/{shop}/{n}", cents=n * len(shop)) for n in range(1, _ROWS + 1)]


def send_to_warehouse(rows: Sequence[Row]) -> None:
    """Save rows by their keys, so that sending them again changes nothing; a stand-in, too."""
    if len(rows) > _MOST:
        raise ValueError(f"the warehouse takes at most {_MOST} rows at once, not {len(rows)}")
