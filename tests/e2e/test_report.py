"""The report of a real run, opened from a disk with a real Chromium.

Screenshots go to `test-artifacts/`, for people to look at.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import Browser, Page
from tests.e2e.browser import ARTIFACTS, NEEDS_CHROMIUM
from tests.e2e.command import Shell
from tests.unit.client.report.histories import bars_of

from regrow import TaskContext, TaskError, TreeClient, TreeFailed, executor_register
from regrow.client import TreeHandle
from regrow.client.report import report_of
from regrow.core.problems import InvalidTree
from regrow.embedded import EmbeddedServer
from regrow.testing import worker_env

Document = dict[str, Any]
PASSWORD: Final = "correct-horse-battery"
HOSTILE: Final = '</style></script><script>alert(1)</script><img src=x onerror="alert(2)">'


@executor_register(retry={"initial_interval": "0.2s", "maximum_attempts": 5})
async def fetch(inputs: Document, context: TaskContext) -> Document:
    await asyncio.sleep(0.2)
    if context.attempt <= inputs.get("outages", 0):
        raise TaskError(
            f"the shop answered 503 to {inputs.get('url')}", error_type="http", retryable=True
        )
    return {"orders": [3, 5, 8, 13, 21, 34], "url": inputs.get("url")}


@executor_register()
async def work(inputs: Document) -> Document:
    await asyncio.sleep(inputs.get("seconds", 0.1))
    return {"done": True, **inputs}


@executor_register()
async def check(inputs: Document) -> Document:
    await asyncio.sleep(0.05 * inputs["order"] / 5)
    if inputs["order"] == 13:
        return {"status": "failed", "error": "order 13 has no address", "error_type": "no_address"}
    return {"ok": inputs["order"]}


@executor_register()
async def charge(inputs: Document) -> Document:
    await asyncio.sleep(0.1)
    return {
        "status": "failed",
        "error": f"card declined: insufficient funds (key {inputs['api_key']})",
        "error_type": "card_declined",
    }


EXECUTORS: Final = (fetch, work, check, charge)
RUN: Final[Document] = {
    "name": "nightly-orders",
    "description": "Take last night's orders from the shop, check them and charge the customers",
    "user_id": "acme",
    "inputs": {"shop": "https://shop.example", "db_password": PASSWORD},
    "tasks": [
        {
            "id": "fetch",
            "name": "Fetch the shop's export",
            "inputs": {
                "url": "https://reader:hunter22@shop.example/orders",
                "outages": 2,
                "headers": {"Authorization": "Bearer abc.def-ghi", "Accept": "application/json"},
            },
        },
        {
            "id": "rates",
            "name": "Look up exchange rates",
            "executor": "charge",
            "inputs": {"api_key": "rates-key-2030-xyz"},
        },
        {
            "id": "each",
            "name": "Check every order",
            "executor": "check",
            "dependencies": ["fetch"],
            "for_each": "tasks.fetch.result.orders",
            "inputs": {"order": "${{ item }}"},
            "max_in_flight": 3,
            "tolerate": 1,
        },
        {
            "id": "stock",
            "name": "Reserve what is in stock",
            "dependencies": ["fetch"],
            "executor": "work",
            "inputs": {"seconds": 0.3, "from": "${{ inputs.shop }}"},
            "compensate": {"executor": "work", "inputs": {"seconds": 0.2, "release": True}},
        },
        {
            "id": "labels",
            "name": "Print the labels",
            "dependencies": ["stock"],
            "tree": {
                "name": "labels",
                "tasks": [
                    {"id": "layout", "executor": "work"},
                    {"id": "print", "executor": "work", "dependencies": ["layout"]},
                ],
            },
        },
        {
            "id": "review",
            "name": "Somebody looks at it",
            "executor": "approval",
            "dependencies": ["each", {"id": "rates", "required": False}],
            "inputs": {"prompt": "charge them?", "timeout": "1h"},
        },
        {
            "id": "log-in",
            "executor": "work",
            "inputs": {"user": "clerk", "password": "${{ inputs.db_password }}"},
        },
        {
            "id": "charge",
            "name": "Charge the customers",
            "dependencies": ["review", "labels"],
            "inputs": {"api_key": "live-key-2030-abcdef"},
        },
        {"id": "mail", "name": f"Tell them {HOSTILE}", "executor": "work",
         "dependencies": ["charge"]},
        {"id": "books", "executor": "work", "dependencies": ["mail"]},
    ],
}  # fmt: skip


@pytest.fixture
async def client(server: EmbeddedServer) -> AsyncIterator[TreeClient]:
    async with worker_env(server.client, *EXECUTORS) as connected:
        yield connected


async def run_of_all_kinds(client: TreeClient) -> TreeHandle:
    """A run with retries, failures of all weights, a map, a sub-tree, an answer and an undoing."""
    handle = await client.start(RUN)
    await answered(handle)
    return handle


async def answered(handle: TreeHandle) -> None:
    """Follow a run to its end, and answer its question after a while."""
    async for change in handle.watch():
        if (change.task_id, change.status) == ("review", "in_progress"):
            await asyncio.sleep(0.5)
            await handle.approve("review", by="ann", note="looks good")
    with pytest.raises(TreeFailed):
        await handle.result()


async def history(handle: TreeHandle) -> list[Document]:
    """The events as every other tool gets them."""
    found = await handle.workflow_handle.fetch_history()
    return json.loads(found.to_json())["events"]


async def drawn_bars(page: Page) -> dict[str, tuple[str, str]]:
    code = "all => all.map(bar => [bar.dataset.task, bar.dataset.start, bar.dataset.end])"
    bars = await page.locator("[data-task]").evaluate_all(code)
    return {task: (start, end) for task, start, end in bars}


async def opened(browser: Browser, path: Path, scheme: Any, width: int = 1280) -> Page:
    """A page from the disk; whatever it asks for, says or lets pop up fails the test."""
    context = await browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 900}
    )
    page = await context.new_page()
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("dialog", lambda dialog: troubles.append(dialog.message))
    page.on("request", lambda request: troubles.append(request.url))
    await page.goto(path.as_uri())
    assert troubles == [path.as_uri()]
    assert await page.locator("script").count() == 0
    return page


@pytest.mark.browser
@NEEDS_CHROMIUM
async def test_the_report_of_a_real_run_opens_in_light_and_dark_and_agrees_with_history(
    browser: Browser, client: TreeClient, tmp_path: Path
) -> None:
    handle = await run_of_all_kinds(client)
    file = tmp_path / "run.html"
    file.write_text(await report_of(handle))
    events = await history(handle)

    grounds: list[str] = []
    for scheme, width in (("light", 1280), ("dark", 1280), ("light", 420)):
        page = await opened(browser, file, scheme, width)
        await page.screenshot(path=ARTIFACTS / f"report-{scheme}-{width}.png", full_page=True)
        grounds.append(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
        wide = await page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width
    assert grounds[0] != grounds[1]

    drawn, told = await drawn_bars(page), bars_of(events)
    each = [times for unit, times in told.items() if unit.startswith("each[")]
    assert drawn.pop("each") == (min(start for start, _ in each), max(end for _, end in each))
    del drawn["review"]  # a wait: its timer's events
    assert drawn == {unit: times for unit, times in told.items() if not unit.startswith("each[")}
    assert len(each) == 6
    assert {"fetch", "rates", "stock", "labels", "charge", "stock~compensate"} <= drawn.keys()


@pytest.mark.browser
@NEEDS_CHROMIUM
async def test_a_run_of_200_tasks_is_one_small_file(
    browser: Browser, client: TreeClient, tmp_path: Path
) -> None:
    handle = await client.start(many(200))
    with pytest.raises(TreeFailed):
        await handle.result()
    file = tmp_path / "large.html"
    file.write_text(await report_of(handle))

    page = await opened(browser, file, "light")
    await page.screenshot(path=ARTIFACTS / "report-200-tasks.png", full_page=True)

    assert file.stat().st_size < 200_000
    assert len(await drawn_bars(page)) == 200 - 1  # the one that was skipped
    assert await drawn_bars(page) == bars_of(await history(handle))


def many(number: int) -> Document:
    """Layers of ten, each task with an input that is worth a look, and one failure."""
    rows = [{"sku": f"A-{at:04}", "stock": at * 7 % 13, "place": "Hamburg"} for at in range(12)]

    def task(at: int) -> Document:
        above = [f"step-{at - 10 + shift}" for shift in (0, 1) if at >= 10 and at % 10 + shift < 10]
        fails = at == number - 20
        return {
            "id": f"step-{at}",
            "name": f"Step {at} of the inventory",
            "executor": "charge" if fails else "work",
            "dependencies": [{"id": each, "into": None} for each in above],
            "inputs": {"api_key": "none"} if fails else {"seconds": at % 7 / 20, "rows": rows},
        }

    tasks = [task(at) for at in range(number)]
    return {"name": "inventory", "max_in_flight": 12, "tasks": tasks}


@pytest.mark.browser
@NEEDS_CHROMIUM
async def test_a_report_prints(browser: Browser, client: TreeClient, tmp_path: Path) -> None:
    handle = await run_of_all_kinds(client)
    file = tmp_path / "run.html"
    file.write_text(await report_of(handle))
    page = await opened(browser, file, "dark")

    await page.emulate_media(media="print")
    await page.screenshot(path=ARTIFACTS / "report-print.png", full_page=True)
    pdf = await page.pdf(format="A4")

    assert pdf.startswith(b"%PDF")
    ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(255, 255, 255)"
    hidden = await page.locator(".tasks summary + pre").evaluate_all(
        "all => all.filter(each => !each.checkVisibility()).length"
    )
    assert hidden == 0


# --- the command


@pytest.fixture
def shell(server: EmbeddedServer, tmp_path: Path) -> Shell:
    return Shell(tmp_path, TEMPORAL_ADDRESS=server.address)


async def test_the_command_writes_a_file_and_says_where(client: TreeClient, shell: Shell) -> None:
    handle = await client.start({"name": "small", "tasks": [{"id": "work"}]})
    await handle.result()

    done = await asyncio.to_thread(shell.run, "report", "-w", handle.id)
    file = shell.directory / f"{handle.id}.html"
    first = file.read_text()
    again = await asyncio.to_thread(shell.run, "report", "-w", handle.id, "-O", file)
    piped = await asyncio.to_thread(shell.run, "report", "-w", handle.id, "-O", "-")

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"{handle.id}.html: {file.stat().st_size / 1024:.0f} KB\n"
    assert again.returncode == 0
    assert first == file.read_text() == piped.stdout
    assert piped.stderr.startswith("standard output: ")


async def test_a_downloaded_history_gives_the_same_report(client: TreeClient, shell: Shell) -> None:
    handle = await client.start({"name": "small", "tasks": [{"id": "work"}]})
    await handle.result()
    downloaded = await handle.workflow_handle.fetch_history()
    shell.write("history.json", downloaded.to_json())

    done = await asyncio.to_thread(
        shell.run, "report", "-w", handle.id, "--history", "history.json", "-O", "run.html"
    )

    assert done.returncode == 0, done.stderr
    assert (shell.directory / "run.html").read_text() == await report_of(handle)


async def test_a_tree_that_was_refused_is_reported_too(client: TreeClient, shell: Shell) -> None:
    unknown = await client.start({"name": "small", "tasks": [{"id": "wrok"}]})
    with pytest.raises(InvalidTree):
        await unknown.result()

    done = await asyncio.to_thread(shell.run, "report", "-w", unknown.id, "-O", "-")

    assert done.returncode == 0, done.stderr
    assert "wrok" in done.stdout
    assert "did you mean 'work'?" in done.stdout


async def test_what_a_rerun_kept_is_on_its_report(client: TreeClient) -> None:
    handle = await run_of_all_kinds(client)
    again = await handle.rerun(failed=True)
    await answered(again)

    page = await report_of(again)

    assert f"{handle.id}</code>" in page
    assert "kept from before" in page
    assert "order 13 has no address" in page


async def test_wrong_uses_are_said_in_a_line(shell: Shell) -> None:
    none = await asyncio.to_thread(shell.run, "report")
    unknown = await asyncio.to_thread(shell.run, "report", "-w", "nobody", "-O", "x.html")
    nowhere = await asyncio.to_thread(shell.run, "report", "--history", "missing.json")

    assert (none.returncode, unknown.returncode, nowhere.returncode) == (2, 1, 1)
    assert none.stderr == "error: say which tree: -w ID, or --history FILE\n"
    assert "nobody" in unknown.stderr
    assert "missing.json: No such file" in nowhere.stderr
    assert not (shell.directory / "x.html").exists()
