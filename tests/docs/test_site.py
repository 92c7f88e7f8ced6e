"""The site builds without a warning, its links lead somewhere, and it fetches nothing."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import pytest

ROOT: Final = Path(__file__).parents[2]
OUTSIDE: Final = ("http", "https", "mailto", "data")


class Page(HTMLParser):
    """What a page refers to, and what can be referred to in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: list[str] = [""]
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value is not None}
        self.anchors += [given[name] for name in ("id", "name") if name in given]
        target = given.get("href") if tag in ("a", "link") else given.get("src")
        if target and tag == "a":
            self.links.append(target)
        elif target and given.get("rel") != "canonical":
            self.fetched.append(target)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does, where every warning is an error."""
    directory = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(directory)],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return directory


def test_every_link_leads_somewhere(site: Path) -> None:
    pages = {path: Page(path) for path in site.rglob("*.html")}
    read = {path for path in pages if path.name != "404.html"}  # its links begin at the root

    assert len(read) > 1
    assert [broken for path in sorted(read) for broken in broken_links(site, path, pages)] == []


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    pages = [Page(path) for path in site.rglob("*.html")]
    sheets = [path.read_text() for path in site.rglob("*.css")]

    assert [link for page in pages for link in page.fetched if urlsplit(link).netloc] == []
    assert [found for sheet in sheets for found in re.findall(r"url\(['\"]?https?://", sheet)] == []


def test_the_generator_is_no_part_of_the_site(site: Path) -> None:
    assert not list(site.rglob("*.py"))


def broken_links(site: Path, path: Path, pages: dict[Path, Page]) -> Iterator[str]:
    for link in [*pages[path].links, *pages[path].fetched]:
        parts = urlsplit(link)
        if parts.scheme in OUTSIDE:
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        target = target / "index.html" if target.is_dir() else target
        is_there = target.exists() and target.is_relative_to(site.resolve())
        anchors = pages[target].anchors if target in pages else [unquote(parts.fragment)]
        if not is_there or unquote(parts.fragment) not in anchors:
            yield f"{path.relative_to(site)}: {link}"
