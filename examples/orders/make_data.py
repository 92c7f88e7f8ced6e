"""Writes orders.csv: a shop's export as exports are, with a seed so that it is always the same.

Roughly nine rows in ten are sound. The rest are what people and old systems leave behind:
blank lines, missing and impossible values, repeated rows, cancelled orders, stray whitespace and
countries in any case.

Run it with: python make_data.py
"""

import csv
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final, TypeVar

COLUMNS: Final = (
    "order_id", "customer", "country", "product", "quantity", "unit_price", "currency",
    "ordered_at", "status",
)  # fmt: skip
ORDERS: Final = 4_000
FIRST_ORDER: Final = datetime(2025, 1, 1, 8, tzinfo=UTC)

FIRST_NAMES: Final = ("Anna", "Björn", "Chiara", "Dylan", "Eszter", "Félix", "Greta", "Hugo")
LAST_NAMES: Final = ("Müller", "Novák", "O'Brien", "Rossi", "Šimić", "Smith", "van Dijk", "Żak")
PRODUCTS: Final = (
    ("Teapot", 3490), ("Cup", 890), ("Green tea, 100 g", 650), ("Black tea, 250 g", 1125),
    ("Kettle", 7999), ("Tea strainer", 475), ('Tray 12"', 2200), ("Gift box", 4950),
)  # fmt: skip
CURRENCIES: Final = {
    "AT": "EUR", "CH": "CHF", "CZ": "CZK", "DE": "EUR", "FR": "EUR", "GB": "GBP", "IT": "EUR",
    "PL": "PLN", "US": "USD",
}  # fmt: skip
STATUSES: Final = ("paid", "paid", "shipped", "shipped", "shipped", "delivered")
CANCELLED: Final = ("cancelled", "canceled", "Cancelled", "CANCELLED ")
WRONG: Final = (
    ("quantity", ("0", "-2", "two", "1.5", "1e3", "NaN")),
    ("unit_price", ("n/a", "12,50", "-8.90", "1.999", "Infinity", "€ 9")),
    ("ordered_at", ("yesterday", "2025-13-01T10:00:00", "0000-00-00")),
)

T = TypeVar("T")


class Dice:
    """Chances from `Random.random` alone, the one sequence Python promises never to change."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 - data for an example, not a secret

    def happens(self, chance: float) -> bool:
        """Tell whether something of this chance happens."""
        return self._random.random() < chance

    def below(self, most: int) -> int:
        """Give a number from 0 to below `most`."""
        return int(self._random.random() * most)

    def pick(self, items: Sequence[T]) -> T:
        """Give one of the items."""
        return items[self.below(len(items))]


def rows(dice: Dice) -> Iterator[list[str]]:
    """Give the rows of the export; an empty one is a blank line."""
    recent: list[dict[str, str]] = []
    for number in range(ORDERS):
        order = sound_order(dice, number)
        recent = [*recent[-20:], order]
        yield list(untidy(dice, damaged(dice, order)).values())
        if dice.happens(0.03):  # a row that the shop's system sent twice
            yield list(untidy(dice, dice.pick(recent)).values())
        if dice.happens(0.005):
            yield dice.pick(([], [""] * len(COLUMNS), ["  "]))


def sound_order(dice: Dice, number: int) -> dict[str, str]:
    """Give an order that is right; damage comes later."""
    country = dice.pick(tuple(CURRENCIES))
    product, cents = dice.pick(PRODUCTS)
    cents = cents * (90 + dice.below(21)) // 100
    ordered_at = FIRST_ORDER + timedelta(minutes=97 * number + dice.below(90))
    return {
        "order_id": f"SO-{10_001 + number}",
        "customer": f"{dice.pick(LAST_NAMES)}, {dice.pick(FIRST_NAMES)}",
        "country": country,
        "product": product,
        "quantity": str(1 + dice.below(4)),
        "unit_price": f"{cents // 100}.{cents % 100:02}",
        "currency": "USD" if dice.happens(0.08) else CURRENCIES[country],
        "ordered_at": ordered_at.strftime("%Y-%m-%dT%H:%M:%S"),
        "status": dice.pick(CANCELLED) if dice.happens(0.04) else dice.pick(STATUSES),
    }


def damaged(dice: Dice, order: dict[str, str]) -> dict[str, str]:
    """Spoil one value in a few orders."""
    if dice.happens(0.015):
        return {**order, dice.pick(COLUMNS): ""}
    if dice.happens(0.02):
        column, values = dice.pick(WRONG)
        return {**order, column: dice.pick(values)}
    return order


def untidy(dice: Dice, order: dict[str, str]) -> dict[str, str]:
    """Write an order as untidily as people do; what it means stays the same."""
    order = dict(order)
    if dice.happens(0.12):
        order["country"] = dice.pick((order["country"].lower(), order["country"].title()))
    if dice.happens(0.05):
        order["currency"] = order["currency"].lower()
    if dice.happens(0.06):
        column = dice.pick(COLUMNS)
        order[column] = dice.pick((f" {order[column]}", f"{order[column]}  ", f"\t{order[column]}"))
    if order["unit_price"].endswith("0") and dice.happens(0.1):
        order["unit_price"] = order["unit_price"].removesuffix("0").removesuffix(".0")
    return order


def write(path: Path) -> None:
    """Write the whole export."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows(Dice(seed=2025)))


if __name__ == "__main__":
    write(Path(__file__).with_name("orders.csv"))
