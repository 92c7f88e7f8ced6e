"""Every block of code in the documentation is true: it is run as a reader would, in its order.

A page is typed into one shell, in a directory of its own. A block with a title is a file, one that
is `console` a session with what it shows, `sh` commands that succeed, `python` a prompt. Before a
block that cannot run here stands `<!-- not run: REASON -->`; it is checked all the same.
"""

import re
from pathlib import Path
from typing import Final

import pytest
from tests.docs.pages import DOCS, ROOT, Block, Step, blocks_of, commands_of
from tests.docs.reader import LANGUAGES, Reader, check, refusal_of

PARSED: Final = ("operate.md", "semantics.md", "schedules.md", "lists.md", "README.md")
"""Read, but not run: the walk-through and the README have tests of their own, semantics is run from
its tables, and the others show commands out of their order."""

NOT_RUN: Final = {
    "docs/crew.md": {"needs an environment with CrewAI": 1},
    "docs/deploy.md": {
        "needs a Docker engine": 4,
        "needs a Kubernetes cluster": 1,
        "needs a Kubernetes cluster with KEDA": 1,
        "needs an account of Temporal Cloud": 3,
    },
    "docs/start.md": {"the tests run where it is installed": 1},
    "docs/testing.md": {"the tests run where it is installed": 1},
}
"""How many blocks of a page are not run, and why. To add one is a decision."""

SPEAKS: Final = re.compile(
    r"TreeClient\.connect|\bregrow (start|list|schedule|setup|worker)\b"
    r"|\btemporal (workflow|activity|schedule|operator|task-queue)\b"
)
"""What needs a server to speak to."""

PAGES: Final = (*sorted(DOCS.rglob("*.md")), ROOT / "README.md")
TYPED: Final = [page for page in sorted(DOCS.glob("*.md")) if page.name not in PARSED]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", TYPED, ids=named)
def test_a_page_does_what_it_shows(page: Path, reader: Reader) -> None:
    blocks = blocks_of(page)
    if needs_a_server(blocks):
        reader.terminal.type(Step("regrow dev &", ""))
    for block in blocks:
        assert block.language in LANGUAGES, f"{block.place}: what language is {block.language!r}?"
        reader.do(block)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_blocks_can_be_read(page: Path, tmp_path: Path) -> None:
    for block in blocks_of(page):
        check(block, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_the_commands_of_a_page_exist_with_their_options(page: Path) -> None:
    for block in blocks_of(page):
        for words in commands_of(block):
            refusal = refusal_of(words)
            assert refusal is None, f"{block.place}: regrow {' '.join(words)}\n{refusal}"


def test_what_is_not_run_is_known() -> None:
    found: dict[str, dict[str, int]] = {}
    for block in (block for page in PAGES for block in blocks_of(page)):
        if block.reason:
            reasons = found.setdefault(block.page, {})
            reasons[block.reason] = reasons.get(block.reason, 0) + 1

    count = sum(sum(reasons.values()) for reasons in found.values())
    print(f"{count} blocks of the documentation are not run: {found}")  # noqa: T201
    assert found == NOT_RUN


def needs_a_server(blocks: list[Block]) -> bool:
    """Tell whether a page speaks to a server that it doesn't start."""
    run = "\n".join(block.text for block in blocks if not (block.reason or block.title))
    return bool(SPEAKS.search(run)) and "regrow dev" not in run
