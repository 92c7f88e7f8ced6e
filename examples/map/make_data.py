"""Writes 40 bank statements into a folder, some of them bad; the same ones every time.

Run it with: python make_data.py FOLDER [HOW_MANY_ARE_BAD]
"""

import csv
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Final

STATEMENTS: Final = 40
TEXTS: Final = ("rent", "salary", "tea", "books", "train", "gift")
Row = tuple[str, str]


def write(folder: Path, bad: int) -> None:
    """Write the statements; the bad ones lie evenly among them."""
    folder.mkdir(parents=True, exist_ok=True)
    random = Random(7)  # noqa: S311 - data, no secret
    bad_ones = [at * STATEMENTS // bad for at in range(bad)]
    for number in range(STATEMENTS):
        rows = _statement(random)
        if number in bad_ones:
            rows = _spoilt(rows, bad_ones.index(number))
        path = folder / f"statement-{number + 1:02}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


def _statement(random: Random) -> list[Row]:
    amounts = [Decimal(random.randrange(-50_000, 80_000)).scaleb(-2) for _ in range(12)]
    texts = ["opening", *(random.choice(TEXTS) for _ in amounts[1:]), "closing"]
    return list(zip(texts, map(str, [*amounts, sum(amounts)]), strict=True))


def _spoilt(rows: Sequence[Row], kind: int) -> list[Row]:
    """Lose a movement, the end, or an amount."""
    without_a_movement, cut_off = [*rows[:3], *rows[4:]], list(rows[:-2])
    without_an_amount = [*rows[:3], (rows[3][0], ""), *rows[4:]]
    return (without_a_movement, cut_off, without_an_amount)[kind % 3]


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 3)  # noqa: PLR2004
