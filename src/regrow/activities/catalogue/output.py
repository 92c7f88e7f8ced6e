"""What a program writes, within bounds: the beginning for the result, the end for an error.

All of it is read, so that no program waits for a reader; most of it is forgotten at once.
"""

import codecs
from dataclasses import dataclass
from typing import Final

from regrow.core.limits import KIB, MAX_PAYLOAD
from regrow.core.result import json_size

_TAIL = 2_000
_LAST_LINE = 200
_MAX_JSON: Final = MAX_PAYLOAD - 8 * KIB
"""What both outputs may take as JSON, so that a program that has run isn't failed by its output."""


class Capture:
    """The beginning of an output, and its last bytes for an error."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = bytearray()
        self._tail = b""
        self.size = 0

    def take(self, data: bytes) -> None:
        """Take in what comes next."""
        self._kept += data[: self._most - len(self._kept)]
        self._tail = (self._tail + data)[-_TAIL:]
        self.size += len(data)

    @property
    def truncated(self) -> bool:
        """Whether its end was dropped."""
        return self.size > self._most

    @property
    def text(self) -> str:
        """What was kept; no half character stands at the cut."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return decoder.decode(self._kept, final=not self.truncated)

    @property
    def tail(self) -> str:
        """Its last 2,000 bytes."""
        return self._tail.decode(errors="replace")


@dataclass(frozen=True)
class Outputs:
    """Both outputs of one program."""

    stdout: Capture
    stderr: Capture

    @property
    def size(self) -> int:
        """All the bytes that came."""
        return self.stdout.size + self.stderr.size

    @property
    def last_line(self) -> str:
        """What it wrote last to its standard error, for the text of an error."""
        return self.stderr.tail.strip().rpartition("\n")[2][:_LAST_LINE]

    def fitting(self) -> tuple[str, str, bool]:
        """Give both as texts that fit into history together, and whether anything was cut."""
        stderr = _fitting(self.stderr.text, _MAX_JSON // 2)
        stdout = _fitting(self.stdout.text, _MAX_JSON - json_size(stderr))
        cut = len(stdout) < len(self.stdout.text) or len(stderr) < len(self.stderr.text)
        return stdout, stderr, cut or self.stdout.truncated or self.stderr.truncated


def outputs(most: int) -> Outputs:
    """Give both outputs of a program that has written nothing yet; `most` is kept of each."""
    return Outputs(Capture(most), Capture(most))


def _fitting(text: str, most: int) -> str:
    """Shorten until the JSON fits; escapes and replaced bytes take more than they did."""
    while (size := json_size(text)) > most:
        text = text[: len(text) * most // size]
    return text
