"""What the Web UI shows of a tree, kept small enough to travel in a URL."""

import re

import pytest
from tests.unit.core.builders import (
    approval,
    begun,
    chain,
    clock,
    end,
    event,
    fails,
    sleep,
    task,
    tree_of,
)

from regrow.core.draw.details import MOST_BYTES, MOST_TEXT, details, static_details


def fenced(written: str) -> list[str]:
    found = re.match(r"```text\n(.*?)\n```\n", written, re.DOTALL)
    assert found
    return found[1].splitlines()


def test_the_text_comes_first_then_the_graph() -> None:
    run = begun(task("a"), task("b", "a"), approval("sign", prompt="Ship\nit?"))
    end(run, "a", fails("no route"))

    written = details(run)

    assert fenced(written) == [
        "◐ tree running: 1 running, 1 failed, 1 skipped",
        "",
        "✘ a     1.0s · no route",
        "‖ b     skipped · because a failed",
        "◐ sign  running · approve?",
        "",
        "Ship it? -> regrow approve sign -w run",
    ]
    assert "<svg " in written


def test_who_waits_for_an_event_is_told_how_to_send_it() -> None:
    run = begun(event("pay", event="paid"), sleep("nap", duration="1h"), approval("sign"))

    assert fenced(details(run))[-2:] == [
        "pay -> regrow event paid -w run",
        "-> regrow approve sign -w run",
    ]


def test_a_paused_tree_a_held_one_and_one_that_gave_up_say_so() -> None:
    paused, held = begun(task("a"), task("b")), begun(task("a"), on_failure="wait")
    paused.paused = {"by": "ann"}
    end(held, "a", fails())
    held.next_start(clock(held))
    anonymous = begun(task("a"))
    anonymous.paused = {"by": None}
    full = begun(task("a"))
    full.give_up("the history is full", "history_full", clock(full))  # pyright: ignore[reportArgumentType]

    assert fenced(details(paused))[0].startswith("◐ tree running, paused by ann: ")
    assert fenced(details(anonymous))[0].startswith("◐ tree running, paused: ")
    assert "held until what failed is retried or skipped" in fenced(details(held))[0]
    assert fenced(details(full))[1] == "the history is full"


@pytest.mark.parametrize("count", [1, 14, 40, 60, 61, 3_000])
def test_it_is_always_small(count: int) -> None:
    long = [{**task(f"{'long' * 10}-{at}"), "name": "é" * 100} for at in range(count)]
    edges = [
        {**each, "dependencies": [{"id": long[at - 1]["id"]}] if at % 3 else []}
        for at, each in enumerate(long)
    ]
    run = begun(*edges)
    for unit in [record for record in run.records if run.units_of(record)][:20]:
        end(run, unit, fails("ö" * 500))

    written = details(run)

    assert len(written.encode()) <= MOST_BYTES
    assert sum(len(line.encode()) + 1 for line in fenced(written)) <= MOST_TEXT
    assert max(map(len, fenced(written))) <= 81


def test_without_room_for_the_graph_it_is_said_how_to_draw_it() -> None:
    run = begun(*chain(61))

    assert "Its graph: `regrow graph -w run --format svg`" in details(run)
    assert "<svg" not in details(run)


def test_a_graph_of_forty_tasks_fits() -> None:
    fans = [task(f"step-{at}", *([f"step-{at - 4}"] if at > 3 else [])) for at in range(40)]

    assert "<svg " in details(begun(*fans))


def test_of_a_large_tree_what_failed_and_what_runs_is_named() -> None:
    run = begun(*[task(f"t{at}") for at in range(3_000)], max_in_flight=10)
    end(run, "t3", fails("no route"))
    end(run, "t4")

    lines = fenced(details(run))

    assert lines[0] == "◐ tree running: 2,990 pending, 8 running, 1 completed, 1 failed"
    assert "✘ t3  no route" in lines
    assert "◐ t0" in lines
    assert lines[-1] == "… 2,991 more"


def test_when_there_is_no_room_what_failed_stays() -> None:
    run = begun(*[task(f"{'t' * 30}{at}") for at in range(50)])
    end(run, f"{'t' * 30}47", fails("no route"))

    lines = fenced(details(run))

    assert any("no route" in line for line in lines)
    assert re.match(r"… \d+ more", lines[-1])


def test_nothing_ends_the_fence() -> None:
    run = begun(task("a"), approval("sign", prompt="```\n<script>"))
    end(run, "a", fails("``` <b>"))

    written = details(run)

    assert written.count("```") == 2
    assert "<script" not in written.partition("\n```\n")[2]


def test_sub_trees_are_linked() -> None:
    tree = {"name": "inner", "tasks": [task("x")]}
    run = begun({"id": "inner", "tree": tree})

    assert '<a href="/workflows/run/inner"' in details(run, lambda id_: f"/workflows/{id_}")


def test_what_a_tree_is_is_said_in_markdown_in_which_nothing_is_markup() -> None:
    tree = tree_of(task("a"), description="Fetch *all*\n<b>", user_id="acme")

    assert static_details(tree, "abc") == (
        "**tree**\n\nFetch \\*all\\* \\<b\\>\n\nOwner: acme  \nTasks: 1  \nDocument: `abc`"
    )
    assert static_details(tree_of(task("a"))) == "**tree**\n\nTasks: 1  "
