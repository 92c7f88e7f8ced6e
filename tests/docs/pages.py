"""Pages as their readers see them: blocks of code in their order, each with its place."""

import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from ruamel.yaml import YAML

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"

_BLOCK: Final = re.compile(
    r"(?:^<!-- not run: (?P<reason>.+?) -->\n)?"
    r"^(?P<indent> *)(?P<fence>```+)(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
_TITLE: Final = re.compile(r'title="([^"]+)"')
_SEPARATORS: Final = frozenset("|&;()<>")


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is that of its first line of code."""

    page: str
    line: int
    language: str
    text: str
    title: str | None = None
    reason: str | None = None
    """Why it is not run."""

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Step:
    """A command that a page types, and what it shows there."""

    typed: str
    shown: str
    place: str = ""

    @property
    def goes_on(self) -> bool:
        return self.typed.endswith(" &")


def blocks_of(path: Path) -> list[Block]:
    """Read every block of a page, in its order."""
    text, page = path.read_text(), str(path.relative_to(ROOT))
    return [_block(found, text, page) for found in _BLOCK.finditer(text)]


def _block(found: re.Match[str], text: str, page: str) -> Block:
    language, _, options = found["info"].strip().partition(" ")
    title = _TITLE.search(options)
    indent = len(found["indent"])
    return Block(
        page,
        text.count("\n", 0, found.start("text")) + 1,
        language,
        "".join(line[indent:] or "\n" for line in found["text"].splitlines(keepends=True)),
        title[1] if title else None,
        found["reason"],
    )


def steps_of(block: Block) -> list[Step]:
    """Read a console block: `$ ` begins a command, a backslash goes on with it."""
    steps: list[Step] = []
    lines = iter(enumerate(block.text.splitlines(), block.line))
    typed, shown, place = "", list[str](), ""
    for number, line in lines:
        if line.startswith("$ "):
            if typed:
                steps.append(Step(typed, "\n".join(shown), place))
            typed, shown, place = line[2:], [], f"{block.page}:{number}"
            while typed.endswith("\\"):
                typed += f"\n{next(lines)[1]}"
        else:
            shown.append(line)
    return [*steps, Step(typed, "\n".join(shown), place)] if typed else steps


def shell_code(block: Block) -> str:
    """Give what a block would type into a shell, if it is one that does."""
    if block.language == "console":
        return "\n".join(step.typed for step in steps_of(block))
    return block.text if block.language in ("sh", "bash") else ""


def commands_of(block: Block) -> Iterator[list[str]]:
    """Give the words of every `regrow …` that a block types."""
    for line in shell_code(block).replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for token in [*lexer, ";"]:
            if set(token) <= _SEPARATORS:
                if token[0] == ">" and words and words[-1].isdigit():
                    words.pop()  # 2>&1
                if words and Path(words[0]).name == "regrow":
                    yield words[1:]
                words = []
            elif words or "=" not in token:
                words.append(token)


def parse_yaml(text: str) -> list[object]:
    """Read every document of a YAML text; JSON is one."""
    yaml = YAML(typ="safe", pure=True)
    loaded = yaml.load_all(io.StringIO(text))  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - ruamel leaves it untyped
    return list(cast("Iterator[object]", loaded))
