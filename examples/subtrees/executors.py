"""The executors of the sub-trees example: count, divide, score, sort, write."""

import csv
import re
from collections import Counter
from pathlib import Path
from typing import Final

from pydantic import BaseModel, PositiveInt

from regrow import TaskError, executor_register

HERE: Final = Path(__file__).resolve().parent
COMMON: Final = 3


class Folder(BaseModel):
    """Where the texts lie; a relative path begins at this example."""

    folder: Path


class Text(BaseModel):
    """One text."""

    text: Path


class Counts(BaseModel):
    """How long a text is; syllables are groups of vowels, which is nearly right for English."""

    words: int
    sentences: int
    syllables: int


class Division(BaseModel):
    """Two numbers."""

    dividend: int
    divisor: PositiveInt


class Averages(BaseModel):
    """Words in a sentence, syllables in a word."""

    sentence: float
    word: float


class Features(BaseModel):
    """What was measured of a text."""

    text: str
    words: int
    common: list[str]
    ease: float


class Texts(BaseModel):
    """The texts to sort."""

    texts: list[Features]


class Table(Texts):
    """The texts to write, and where."""

    table: Path


@executor_register()
def find_texts(inputs: Folder) -> list[str]:
    """List the texts in a folder, in the order of their names."""
    files = sorted(str(path) for path in (HERE / inputs.folder).glob("*.txt"))
    if not files:
        raise TaskError(f"no texts in {HERE / inputs.folder}", error_type="file_not_found")
    return files


@executor_register()
def count_text(inputs: Text) -> Counts:
    """Count what readability is made of."""
    text, words = inputs.text.read_text(encoding="utf-8"), _words(inputs.text)
    return Counts(
        words=len(words),
        sentences=len(re.findall(r"[.!?]+", text)),
        syllables=sum(max(1, len(re.findall("[aeiouy]+", word))) for word in words),
    )


@executor_register()
def common_words(inputs: Text) -> list[str]:
    """Give the most common words; of equally common ones the first in the alphabet."""
    counted = Counter(sorted(_words(inputs.text)))
    return [word for word, _ in counted.most_common(COMMON)]


@executor_register()
def divide(inputs: Division) -> float:
    """Divide."""
    return inputs.dividend / inputs.divisor


@executor_register()
def reading_ease(inputs: Averages) -> float:
    """Apply Flesch's formula."""
    return round(206.835 - 1.015 * inputs.sentence - 84.6 * inputs.word, 1)


@executor_register()
def sort_texts(inputs: Texts) -> list[Features]:
    """Put the easiest text first."""
    named = [text.model_copy(update={"text": Path(text.text).stem}) for text in inputs.texts]
    return sorted(named, key=lambda text: -text.ease)


@executor_register()
def write_table(inputs: Table) -> Path:
    """Write a line for every text."""
    part = inputs.table.with_name(f"{inputs.table.name}.part")
    with part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("text", "words", "ease", "common"))
        for text in inputs.texts:
            writer.writerow((text.text, text.words, text.ease, " ".join(text.common)))
    part.replace(inputs.table)
    return inputs.table


def _words(text: Path) -> list[str]:
    return re.findall(r"[a-z']+", text.read_text(encoding="utf-8").lower())
