"""A real Chromium that looks at the Temporal Web UI, and what tests of pages share."""

import os
import shutil
from pathlib import Path
from typing import Final

import pytest
from playwright.async_api import Locator, Page

CHROMIUM: Final = os.environ.get("REGROW_CHROMIUM") or shutil.which("chromium")
OPTIONS: Final = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
ARTIFACTS: Final = Path(__file__).parents[2] / "test-artifacts"
"""Where screenshots go, for people to look at."""
PATIENCE: Final = 20  # seconds; the machine may be busy

NEEDS_CHROMIUM: Final = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: install `chromium`, or name one in REGROW_CHROMIUM"
)


def badge(place: Page | Locator) -> Locator:
    """The status of a tree, on its page or in its line of the list."""
    return place.get_by_test_id("execution-status")


async def open_tab(page: Page, title: str) -> None:
    await page.get_by_role("tab", name=title).click()


async def keep(page: Page, name: str) -> None:
    await page.screenshot(path=ARTIFACTS / f"web-ui-{name}.png")
