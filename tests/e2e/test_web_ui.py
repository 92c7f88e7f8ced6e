"""What people see of trees in the Temporal Web UI, looked at with a real Chromium.

Red is judged by the pixels that are drawn, not by class names, which change with every release of
the UI. Screenshots go to `test-artifacts/`, for people to look at.
"""

import asyncio
import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final
from urllib.parse import quote

import pytest
from playwright.async_api import Locator, Page, expect
from pydantic import BaseModel
from tests.e2e.browser import NEEDS_CHROMIUM, PATIENCE, badge, keep, open_tab

from regrow import TaskContext, TaskError, TreeClient, TreeFailed, executor_register
from regrow.embedded import EmbeddedServer
from regrow.testing import worker_env

pytestmark = [pytest.mark.browser, NEEDS_CHROMIUM]

RED_SHARE: Final = """async (png) => {
    const bytes = Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0));
    const image = await createImageBitmap(new Blob([bytes], {type: "image/png"}));
    const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
    canvas.drawImage(image, 0, 0);
    const {data} = canvas.getImageData(0, 0, image.width, image.height);
    let red = 0;
    for (let at = 0; at < data.length; at += 4) {
        const [r, g, b] = data.subarray(at, at + 3);
        if (r - Math.max(g, b) > 25 && Math.abs(g - b) < 25) red += 1;  // pink too, orange not
    }
    return red / (data.length / 4);
}"""


class UserService:
    """What `fetch_user` asks: it is down for two attempts and answers the third when told to."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.answers = threading.Event()


SERVICE: Final = UserService()


class UserRequest(BaseModel):
    user: int
    outages: int = 0


@executor_register()
def fetch_user(inputs: UserRequest, context: TaskContext) -> dict[str, Any]:
    if context.attempt <= inputs.outages:
        raise TaskError("user-service answered 503", error_type="http_error", retryable=True)
    if inputs.outages:
        SERVICE.asked.set()
        SERVICE.answers.wait(3 * PATIENCE)
    return {"id": inputs.user, "name": "Ada"}


@executor_register()
async def send_mail(inputs: dict[str, Any]) -> str:
    return "sent"


@executor_register()
async def charge_card(inputs: dict[str, Any]) -> str:
    raise TaskError("card declined: insufficient funds", error_type="card_declined")


def welcome(*, outages: int = 0) -> dict[str, Any]:
    return {
        "name": "welcome",
        "tasks": [
            {
                "id": "fetch",
                "name": "Fetch the user",
                "executor": "fetch_user",
                "inputs": {"user": 7, "outages": outages},
                "retry": {"initial_interval": "100ms", "maximum_attempts": 5},
            },
            {
                "id": "greet",
                "name": "Send the greeting",
                "executor": "send_mail",
                "dependencies": ["fetch"],
            },
        ],
    }


ORDER: Final[dict[str, Any]] = {
    "name": "order",
    "tasks": [
        {"id": "fetch", "name": "Fetch the user", "executor": "fetch_user", "inputs": {"user": 7}},
        {"id": "charge", "name": "Charge the card", "executor": "charge_card",
         "dependencies": ["fetch"]},
        {"id": "ship", "name": "Ship the parcel", "executor": "send_mail",
         "dependencies": ["charge"]},
        {"id": "notify", "name": "Tell the customer", "executor": "send_mail",
         "dependencies": ["ship"]},
    ],
}  # fmt: skip


@pytest.fixture
async def client(server: EmbeddedServer) -> AsyncIterator[TreeClient]:
    async with worker_env(server.client, fetch_user, send_mail, charge_card) as connected:
        yield connected


@pytest.fixture
def service(client: TreeClient) -> Iterator[UserService]:
    """The service, down; it answers at the latest when the worker is to stop."""
    SERVICE.asked.clear()
    SERVICE.answers.clear()
    yield SERVICE
    SERVICE.answers.set()


def bar(page: Page, summary: str) -> Locator:
    """A task in the timeline."""
    return page.get_by_role("button").filter(has_text=summary)


def row(page: Page, *texts: str) -> Locator:
    """The line of a table in which all these texts stand."""
    found = page.get_by_role("row")
    for text in texts:
        found = found.filter(has_text=text)
    return found


def json_box(page: Page, title: str) -> Locator:
    return page.get_by_role("textbox", name=title, exact=True)


async def scroll_to(box: Locator, text: str) -> None:
    """Turn the wheel until a long text shows its part; boxes hold only what is near the view."""
    wanted = box.get_by_text(text).first
    await box.hover()
    async with asyncio.timeout(PATIENCE):
        while not await wanted.is_visible():
            await box.page.mouse.wheel(0, 150)
            await asyncio.sleep(0.1)
    await wanted.scroll_into_view_if_needed()
    await expect(wanted).to_be_in_viewport()


async def red_share(place: Locator) -> float:
    """How much of what is drawn there is red, from 0 to 1."""
    png = await place.screenshot(animations="disabled")
    return float(await place.page.evaluate(RED_SHARE, b64encode(png).decode()))


async def listed_as_closed(client: TreeClient, query: str, count: int) -> None:
    """The list is a little behind the trees."""
    async with asyncio.timeout(PATIENCE):
        closed = 0
        while closed < count:
            await asyncio.sleep(0.1)
            closed = len([tree async for tree in client.list(query) if tree.finished_at])


async def test_a_task_on_its_third_attempt_shows_the_attempt_and_its_last_failure(
    page: Page, server: EmbeddedServer, client: TreeClient, service: UserService
) -> None:
    handle = await client.start(welcome(outages=2))
    assert await asyncio.to_thread(service.asked.wait, PATIENCE)

    await page.goto(server.page(handle.id))
    await expect(badge(page)).to_have_text("Running")
    fetch = bar(page, "fetch · Fetch the user")
    await expect(fetch).to_contain_text("Attempt 3 / 5 • fetch_user • fetch · Fetch the user")
    await keep(page, "retrying-timeline")

    await open_tab(page, "Pending Activities")
    await expect(json_box(page, "Last Failure")).to_contain_text("user-service answered 503")
    await expect(json_box(page, "Last Failure")).to_contain_text('"type": "http_error"')
    await expect(page.get_by_text("2 remaining")).to_be_visible()
    await keep(page, "retrying-pending")

    await open_tab(page, "Event History")
    pending = row(page, "Pending Activity", "fetch_user")
    await expect(pending).to_contain_text("Attempt 3 / 5")
    await keep(page, "retrying-history")
    assert await red_share(pending.get_by_text("Attempt 3 / 5")) > 0.5

    service.answers.set()
    await handle.result()

    await page.goto(server.page(handle.id))
    await expect(badge(page)).to_have_text("Completed")
    await expect(json_box(page, "Input")).to_contain_text('"executor": "fetch_user"')
    await expect(json_box(page, "Result")).to_contain_text('"status": "completed"')
    await expect(fetch).to_contain_text("3 • fetch_user • fetch · Fetch the user")
    greet = bar(page, "greet · Send the greeting")
    await expect(greet).to_contain_text("send_mail • greet · Send the greeting")
    await keep(page, "retried")
    assert await red_share(fetch) > 0.01  # it begins red and turns green
    assert await red_share(greet) < 0.01
    assert await red_share(badge(page)) < 0.01


async def test_a_failed_tree_is_failed_and_red_where_it_failed(
    page: Page, server: EmbeddedServer, client: TreeClient
) -> None:
    handle = await client.start(ORDER)
    with pytest.raises(TreeFailed):
        await handle.result()
    failure = "tree 'order' failed: charge: card declined: insufficient funds"

    await page.goto(server.page(handle.id))
    await expect(badge(page)).to_have_text("Failed")
    charge, fetch = bar(page, "charge · Charge the card"), bar(page, "fetch · Fetch the user")
    await expect(charge).to_contain_text("charge_card • charge · Charge the card")
    await expect(fetch).to_contain_text("fetch_user • fetch · Fetch the user")
    await expect(json_box(page, "Input")).to_contain_text('"executor": "charge_card"')
    await expect(json_box(page, "Result")).to_contain_text(failure)
    await keep(page, "failed-timeline")
    assert await red_share(badge(page)) > 0.5
    assert await red_share(charge) > 0.03  # its label may lie on it
    assert await red_share(fetch) < 0.01

    # Skipped tasks never were activities: the details of the failure name them, further down.
    await expect(bar(page, "Ship the parcel")).to_have_count(0)
    await scroll_to(json_box(page, "Result"), '"status": "skipped"')
    await keep(page, "failed-result")

    await open_tab(page, "Event History")
    ended, failed = row(page, "Workflow Execution Failed"), row(page, "Activity Task Failed")
    await expect(ended).to_contain_text(failure)
    await expect(failed).to_contain_text("card declined: insufficient funds")
    scheduled = row(page, "Activity Task Scheduled", "charge_card", "charge · Charge the card")
    await keep(page, "failed-history")
    assert await red_share(ended) > 0.4
    assert await red_share(failed) > 0.4
    assert await red_share(scheduled) < 0.01

    await page.get_by_role("button", name="Compact").click()
    charge, fetch = row(page, "charge · Charge the card"), row(page, "fetch · Fetch the user")
    await expect(charge).to_contain_text("charge_card")
    await expect(fetch).to_contain_text("fetch_user")
    await keep(page, "failed-compact")
    assert await red_share(charge) > 0.4
    assert await red_share(fetch) < 0.01


async def test_the_list_tells_completed_trees_from_failed_ones(
    page: Page, server: EmbeddedServer, client: TreeClient
) -> None:
    good, bad = await client.start(welcome()), await client.start(ORDER)
    query = f'TaskQueue="{client.task_queue}"'
    await listed_as_closed(client, query, 2)

    namespace = f"{server.ui_url}/namespaces/{server.client.namespace}"
    await page.goto(f"{namespace}/workflows?query={quote(query)}")

    completed, failed = badge(row(page, good.id)), badge(row(page, bad.id))
    await expect(completed).to_have_text("Completed")
    await expect(failed).to_have_text("Failed")
    await keep(page, "list")
    assert await red_share(failed) > 0.5
    assert await red_share(completed) < 0.01
