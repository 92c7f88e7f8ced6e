"""A tree of 14 tasks, driven in the Temporal Web UI alone: started, watched, approved.

Its executors wait until the test lets them go on, so that it is known what the page must show.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest
from playwright.async_api import FrameLocator, Locator, Page, expect
from tests.e2e.browser import ARTIFACTS, NEEDS_CHROMIUM, PATIENCE, badge, keep, open_tab

from regrow import TaskContext, TaskError, TreeClient, executor_register
from regrow.embedded import EmbeddedServer, temporal_binary
from regrow.testing import worker_env

pytestmark = [pytest.mark.browser, NEEDS_CHROMIUM]

GATES: Final = {name: threading.Event() for name in ("tests", "package", "upload")}


@executor_register(retry={"initial_interval": "100ms", "maximum_attempts": 3})
def work(inputs: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    if gate := inputs.get("gate"):
        GATES[gate].wait(3 * PATIENCE)
    if context.attempt <= inputs.get("outages", 0):
        raise TaskError("the mirror answered 503", error_type="http_error", retryable=True)
    if "refuse" in inputs:
        raise TaskError(inputs["refuse"], error_type="style")
    return {"did": context.task_id}


def task(task_id: str, *after: str, **inputs: Any) -> dict[str, Any]:
    return {"id": task_id, "executor": "work", "dependencies": after, "inputs": inputs}


RELEASE: Final[dict[str, Any]] = {
    "name": "release",
    "description": "Build, test and ship a release",
    "user_id": "acme",
    "tasks": [
        {**task("checkout"), "name": "Check out the source"},
        {**task("build", "checkout"), "name": "Build the wheels"},
        task("lint", "checkout", refuse="line 7 is too long"),
        task("docs", "checkout"),
        task("unit", "build", outages=2),
        task("browser", "build", gate="tests"),
        {**task("shards", "build"), "for_each": ["linux", "macos", "windows", "musl"]},
        {
            "id": "audit",
            "dependencies": ["build"],
            "tree": {"name": "audit", "tasks": [task("licences"), task("advisories", "licences")]},
        },
        {
            **task("package", gate="package"),
            "dependencies": ["unit", "browser", "shards", {"id": "lint", "required": False}],
        },
        {
            "id": "sign",
            "name": "Somebody signs it",
            "executor": "approval",
            "inputs": {"prompt": "Ship 1.4 to <everybody> & all?"},
            "dependencies": ["package", "audit"],
        },
        task("upload", "sign", gate="upload"),
        task("announce", "upload", "docs"),
        {**task("mirror", "upload"), "when": "`false`"},
        {
            **task("cleanup"),
            "dependencies": [{"id": name, "required": False} for name in ("announce", "mirror")],
        },
    ],
}

FILL_UNDER: Final = """(text) => {
    const box = text.getBBox(), svg = text.ownerSVGElement, point = svg.createSVGPoint();
    [point.x, point.y] = [box.x - 3, box.y + box.height / 2];
    const paths = [...svg.querySelectorAll("path[fill]")];
    return paths.find((path) => path.isPointInFill(point)).getAttribute("fill");
}"""
GREEN, BLUE, RED, GREY = "#d3f2dc", "#cfe5ff", "#ffd5cc", "#f6f8fa"


@pytest.fixture
async def client(server: EmbeddedServer) -> AsyncIterator[TreeClient]:
    async with worker_env(server.client, work) as connected:
        yield connected


@pytest.fixture(autouse=True)
def gates(client: TreeClient) -> Iterator[None]:
    """Closed; they open at the latest when the worker is to stop."""
    for gate in GATES.values():
        gate.clear()
    yield
    for gate in GATES.values():
        gate.set()


def details(page: Page) -> FrameLocator:
    """What the page shows of the tree."""
    return page.frame_locator('iframe[src*="text%0A"]')


def label(page: Page, text: str) -> Locator:
    """The label of a box."""
    return details(page).locator("svg text").filter(has_text=text)


async def refreshed_until(page: Page, text: str) -> None:
    """Press R, as the page says, until the graph shows a text."""
    for _ in range(10 * PATIENCE):
        await page.evaluate("document.activeElement.blur()")
        await page.keyboard.press("r")
        await page.wait_for_timeout(300)
        if await label(page, text).count():
            return
    await expect(label(page, text)).to_have_count(1)


async def fill_of(page: Page, text: str) -> Any:
    return await label(page, text).evaluate(FILL_UNDER)


async def start_in_the_form(page: Page, server: EmbeddedServer, client: TreeClient) -> str:
    namespace = f"{server.ui_url}/namespaces/{server.client.namespace}"
    await page.goto(f"{namespace}/workflows/start-workflow")
    await page.locator("#workflowId").fill("release-1.4")
    await page.locator("#taskQueue").fill(client.task_queue)
    await page.locator("#workflowType").fill("TaskTree")
    await page.get_by_role("textbox", name="Data").click()
    await page.keyboard.insert_text(json.dumps(RELEASE))
    await keep(page, "start")
    await page.get_by_test_id("start-workflow-button").click()
    await page.get_by_role("link", name="Workflow started successfully").click()
    return "release-1.4"


async def send_update(page: Page, name: str, data: dict[str, Any]) -> None:
    await page.get_by_role("button", name="More Actions").click()
    await page.locator(".menu-item-wrapper:visible").filter(has_text="Send an Update").click()
    form = page.get_by_role("dialog").filter(has_text="Send an Update")
    await form.get_by_test_id("update-select-button").click()
    await page.get_by_role("option").filter(has_text=name).first.click()
    await form.get_by_role("textbox", name="Data").click()
    await page.keyboard.insert_text(json.dumps(data))
    await form.locator("#update-id").focus()  # the form sets out what was pasted, and moves
    await keep(page, "approve")
    await form.get_by_test_id("confirm-modal-button").click()
    await expect(form).to_be_hidden()


async def test_a_tree_is_started_watched_and_approved_in_the_web_ui(
    page: Page, server: EmbeddedServer, client: TreeClient
) -> None:
    tree_id = await start_in_the_form(page, server, client)
    handle = client.get(tree_id)

    await expect(badge(page)).to_have_text("Running")
    await open_tab(page, "User Metadata")
    await refreshed_until(page, "✔ audit")
    await refreshed_until(page, "✔ unit · 3 attempts")
    assert await fill_of(page, "✔ build") == GREEN
    assert await fill_of(page, "◐ browser") == BLUE
    assert await fill_of(page, "✘ lint") == RED
    assert await fill_of(page, "○ package") == GREY
    await expect(label(page, "✔ shards · ✔4 of 4")).to_have_count(1)
    await keep(page, "graph-running")

    GATES["tests"].set()
    GATES["package"].set()
    await refreshed_until(page, "◐ sign · approve?")
    assert await fill_of(page, "✔ browser") == GREEN
    assert await fill_of(page, "✔ package") == GREEN
    assert await fill_of(page, "◐ sign") == BLUE
    await expect(details(page).locator("pre")).to_contain_text(
        f"Ship 1.4 to <everybody> & all? -> regrow approve sign -w {tree_id}"
    )
    await keep(page, "graph-waiting")

    async with page.context.expect_page() as opened:  # the sub-tree is a workflow of its own
        await details(page).locator("svg a").click()
    inner = await opened.value
    await expect(badge(inner)).to_have_text("Completed")
    assert f"{tree_id}%2Faudit" in inner.url
    await inner.close()

    await send_update(page, "approve", {"task_id": "sign", "by": "ann"})
    await open_tab(page, "User Metadata")
    await refreshed_until(page, "◐ upload")
    assert await fill_of(page, "✔ sign") == GREEN
    await page.get_by_test_id("user-menu-trigger").click()
    await page.get_by_test_id("night-mode").click()
    await page.get_by_test_id("user-menu-trigger").click()
    await page.wait_for_timeout(500)  # the page fades over
    await keep(page, "graph-night")

    GATES["upload"].set()
    result = await handle.result()
    assert result.counts["completed"] == 12
    await page.goto(server.page(tree_id))
    await expect(badge(page)).to_have_text("Completed")
    await open_tab(page, "User Metadata")
    await refreshed_until(page, "✔ cleanup")
    assert await fill_of(page, "✘ lint") == RED
    await expect(label(page, "‖ mirror")).to_have_count(1)
    await keep(page, "graph-completed")


async def test_its_details_line_up_in_a_terminal(
    server: EmbeddedServer, client: TreeClient
) -> None:
    for gate in GATES.values():
        gate.set()
    handle = await client.start(RELEASE)
    async for change in handle.watch():
        if change.task_id == "sign":
            break

    asking = await asyncio.create_subprocess_exec(
        temporal_binary(), "workflow", "metadata", "-w", handle.id, "--address", server.address,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed = (await asking.communicate())[0].decode()

    lines = printed.partition("```text\n")[2].partition("\n```")[0].splitlines()
    assert lines[0].startswith("◐ release running: ")
    assert "✘ lint      " in printed
    assert max(map(len, lines)) <= 80
    rows = [line for line in lines[2:] if line[:1] in "✔✘○◐⊘‖" and line]
    assert len(rows) == len(RELEASE["tasks"])
    names = max(len(each["id"]) for each in RELEASE["tasks"])
    assert all(row[2 : 2 + names].rstrip() == row.split()[1] for row in rows)
    assert all(row[2 + names : 4 + names].strip() == "" for row in rows)
    ARTIFACTS.mkdir(exist_ok=True)
    (ARTIFACTS / "web-ui-metadata.txt").write_text(printed)
