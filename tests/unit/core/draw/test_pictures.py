"""Pictures in each language, of trees that have not run and of runs."""

import re
import shutil
import subprocess
from datetime import timedelta
from xml.etree import ElementTree as ET

import pytest
from tests.unit.core.builders import (
    CANCELLED,
    approval,
    begin,
    begun,
    chain,
    clock,
    end,
    event,
    fails,
    group,
    settle,
    sleep,
    start_all,
    subtree,
    task,
    tree_of,
)

from regrow.core import by_hand
from regrow.core.draw import Mark, dot, marks_of, mermaid, picture_of, svg
from regrow.core.draw.marks import duration
from regrow.core.draw.picture import MOST_NODES, EdgeKind
from regrow.core.draw.svg import svg_within
from regrow.core.draw.text import text
from regrow.core.record import Record
from regrow.core.run import TreeRun
from regrow.core.wire import Status


def notes(run: TreeRun) -> dict[str, str]:
    return {task_id: mark.note for task_id, mark in marks_of(run).items()}


def reasons(run: TreeRun) -> dict[str, str]:
    return {task_id: mark.reason for task_id, mark in marks_of(run).items()}


DIAMOND = (
    task("fetch", name="Fetch it"),
    task("left", "fetch"),
    task("right", "fetch?", when="tasks.fetch.status == 'completed'"),
    task("join", "left", "right?"),
)


# --- how tasks stand


def test_a_map_says_how_many_items_stand_how() -> None:
    run = begun(task("load", for_each=[1, 2, 3, 4], tolerate=4, max_in_flight=2))
    end(run, "load[0]")
    end(run, "load[1]", fails())
    start_all(run)

    assert notes(run) == {"load": "✔1 ◐2 ✘1 of 4"}


def test_a_map_of_which_nothing_has_begun_says_so() -> None:
    run = begin(tree_of(task("a"), task("load", "a", for_each=[1, 2]), max_in_flight=1))
    start_all(run)
    settle(run, "a")
    run.paused = {"by": None}

    assert picture_of(run.plan.tree, marks_of(run)).nodes[1].note == "for each"


def test_waits_say_what_for() -> None:
    run = begun(approval("sign"), event("paid", event="paid"), sleep("nap", duration="1h"))

    assert notes(run) == {
        "sign": "approve?",
        "paid": "event paid",
        "nap": "until 01 Jan 01:00:00 UTC",
    }


def test_tasks_that_were_tried_again_say_how_often() -> None:
    run = begun(task("a"))
    end(run, "a", {"status": "completed", "result": 1, "metadata": {}})
    record = run.records["a"]
    assert record.outcome
    record.outcome = record.outcome.with_attempts(3)

    assert notes(run) == {"a": "3 attempts"}


def test_what_a_rerun_kept_says_so_and_took_no_time() -> None:
    run = begin(tree_of(task("a")))
    run.restore("a", Record(Status.COMPLETED, reused=True))

    assert marks_of(run)["a"] == Mark(Status.COMPLETED, "kept")


def test_what_did_not_complete_says_why() -> None:
    run = begun(
        task("a"), task("b", "a"), task("c", when="`false`"), task("d", allow_failure=True),
        on_failure="cancel",
    )  # fmt: skip
    end(run, "d", fails("no\nroute"))
    end(run, "a", fails("broken"))

    assert reasons(run) == {
        "a": "broken",
        "b": "because a failed",
        "c": "its condition is false",
        "d": "no route · tolerated",
    }


def test_a_cancelled_tree_and_a_cancelled_task_say_who_did_it() -> None:
    run = begun(task("a"), task("b", "a"), task("c"))
    by_hand.cancel(run, "b", {}, clock(run))
    run.cancel("", clock(run))
    end(run, "a", CANCELLED)
    end(run, "c", CANCELLED)

    assert reasons(run) == {"a": "cancelled", "b": "by hand", "c": "cancelled"}


def test_what_never_began_in_a_cancelled_tree_says_so() -> None:
    run = begun(task("a"), task("b", "a"))
    run.cancel("", clock(run))

    assert reasons(run) == {"a": "", "b": "the tree was cancelled"}


def test_what_fell_with_a_tree_that_gave_up_names_no_task() -> None:
    run = begun(task("a"), task("b", "a"))
    run.give_up("full", "history_full", clock(run))  # pyright: ignore[reportArgumentType]

    assert reasons(run)["b"] == "the tree gave up"


def test_a_sub_tree_that_has_begun_has_a_page() -> None:
    run = begun(subtree("inner", task("x")), task("first"), subtree("later", task("x")))

    links = {id_: mark.link for id_, mark in marks_of(run, lambda id_: f"/{id_}").items()}

    assert links == {"inner": "/run/inner", "first": None, "later": "/run/later"}


def test_times_are_as_short_as_they_are_exact_enough() -> None:
    spans = [0.0123, 1.26, 75, 3_725]

    assert [duration(timedelta(seconds=each)) for each in spans] == [
        "12ms",
        "1.3s",
        "1m15s",
        "1h02m05s",
    ]


# --- what is drawn


def test_edges_are_solid_or_dashed_and_members_belong_to_their_group() -> None:
    tree = tree_of(*DIAMOND, group("all"), task("m", parent_id="all"))

    kinds = {(edge.start, edge.end): edge.kind for edge in picture_of(tree).edges}

    assert kinds["fetch", "left"] is EdgeKind.REQUIRED
    assert kinds["fetch", "right"] is EdgeKind.OPTIONAL
    assert kinds["m", "all"] is EdgeKind.MEMBER


def test_a_parent_on_which_its_child_depends_is_no_group() -> None:
    tree = tree_of({"id": "above"}, task("below", "above", parent_id="above"))

    assert [edge.kind for edge in picture_of(tree).edges] == [EdgeKind.REQUIRED]


def test_a_large_tree_is_drawn_by_its_layers() -> None:
    fan = [task(f"leaf{at}", "root") for at in range(5_000)]
    picture = picture_of(tree_of(task("root"), *fan, task("end", *[t["id"] for t in fan])))

    assert [node.label for node in picture.nodes] == ["root", "5,000 tasks: leaf0 …", "end"]
    assert not picture.is_whole
    assert len(svg(picture)) < 2_000


def test_a_long_chain_is_drawn_in_a_bounded_size() -> None:
    picture = picture_of(tree_of(*chain(5_000)))

    assert len(picture.nodes) <= 60
    assert len(svg(picture)) < 20_000


def test_layers_say_how_many_tasks_stand_how_and_show_the_worst() -> None:
    fan = [task(f"leaf{at}", "root") for at in range(MOST_NODES)]
    tree = tree_of(task("root"), *fan)
    marks = {each.id: Mark(Status.COMPLETED) for each in tree.tasks} | {
        "root": Mark(Status.COMPLETED, "3 attempts"),
        "leaf3": Mark(Status.FAILED),
    }

    root, leaves = picture_of(tree, marks).nodes

    assert (root.note, root.status) == ("3 attempts", Status.COMPLETED)
    assert (leaves.note, leaves.status) == ("✔149 ✘1", Status.FAILED)


def test_between_layers_a_required_edge_outweighs_an_optional_one() -> None:
    fan = [task(f"leaf{at}", "root" if at == 7 else "root?") for at in range(MOST_NODES)]
    late = task("late", "root?", "leaf0?", "leaf1?")

    edges = picture_of(tree_of(task("root"), *fan, late)).edges

    assert [(edge.start, edge.end, edge.kind.value) for edge in edges] == [
        ("~0", "~1", "required"),
        ("~1", "~2", "optional"),
    ]


# --- SVG


def test_an_image_is_well_formed_whatever_stands_in_it() -> None:
    tree = tree_of(task("a", name="<script>&\"'</script>"), task("b", "a?"))
    marks = {
        "a": Mark(Status.FAILED, "<b>", 'x" onload="y', link='/x?a="&b'),
        "b": Mark(Status.PENDING),
    }

    image = svg(picture_of(tree, marks))

    texts = "".join(ET.fromstring(image).itertext())
    assert "<script>&\"'</script>" in texts
    assert "<script" not in image
    assert 'href="/x?a=&quot;&amp;b"' in image


def test_an_image_has_no_style_and_no_script() -> None:
    image = svg(picture_of(tree_of(*DIAMOND)))

    assert not re.search(r"style=|<style|<script|<image|url\(", image)


def test_a_status_shows_without_its_colour() -> None:
    tree = tree_of(*(task(status.value) for status in Status))
    image = svg(picture_of(tree, {status.value: Mark(status) for status in Status}))

    texts = [text.text for text in ET.fromstring(image).iter() if text.tag.endswith("text")]
    assert texts == [
        "○ pending",
        "◐ in_progress",
        "✔ completed",
        "✘ failed",
        "⊘ cancelled",
        "‖ skipped",
    ]


def test_long_names_and_notes_are_cut() -> None:
    tree = tree_of(task("x" * 60))

    image = svg(picture_of(tree, {"x" * 60: Mark(Status.PENDING, "n" * 60)}))

    assert f"{'x' * 29}… · {'n' * 23}…" in image


def test_where_there_is_less_room_less_is_drawn_and_at_last_nothing() -> None:
    picture = picture_of(tree_of(*DIAMOND))
    full = len(svg(picture).encode())

    smaller = svg_within(picture, full - 1, 1_000)

    assert svg_within(picture, full, 1_000) == svg(picture)
    assert smaller
    assert "<title>" not in smaller
    assert svg_within(picture, 100, 1_000) is None


def test_what_is_too_wide_is_drawn_downwards_if_that_is_narrower() -> None:
    def width(image: str) -> int:
        return int(re.findall(r'viewBox="0 0 (\d+)', image)[0])

    long, broad = (
        picture_of(tree_of(*chain(20))),
        picture_of(tree_of(*map(task, map(str, range(40))))),
    )

    assert width(svg(long)) < 100
    assert width(svg(broad, wide=10)) == width(svg(broad))


def test_a_tree_without_edges_has_no_lines() -> None:
    assert "<g fill" not in svg(picture_of(tree_of(task("a")))).partition("<g stroke")[0]


# --- Mermaid and DOT


def test_mermaid_has_nodes_edges_and_classes() -> None:
    tree = tree_of(*DIAMOND, group("all"), task("m", parent_id="all"))
    marks = {each.id: Mark(Status.COMPLETED) for each in tree.tasks} | {
        "left": Mark(Status.FAILED, "3 attempts")
    }

    written = mermaid(picture_of(tree, marks))

    assert written.startswith("flowchart LR\n")
    for line in (
        '  t0["✔ fetch"]:::completed',
        '  t1["✘ left<br/>3 attempts"]:::failed',
        "  t0 --> t1",
        "  t0 -.-> t2",
        "  t5 --o t4",
    ):
        assert f"{line}\n" in written
    assert "classDef completed" in written


def test_nothing_that_stands_in_a_node_is_mermaid() -> None:
    tree = tree_of(task("end"))

    written = mermaid(picture_of(tree, {"end": Mark(Status.FAILED, '"];<b>')}))

    assert '["✘ end<br/>#34;#93;#59;#60;b#62;"]' in written


def test_before_anything_runs_nodes_have_no_status() -> None:
    assert mermaid(picture_of(tree_of(task("a")))) == 'flowchart LR\n  t0["a"]\n'
    assert '"a" [label="a", tooltip="work"]' in dot(picture_of(tree_of(task("a"))))
    assert '"work" [label="work"]' in dot(picture_of(tree_of(task("work"))))


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_draws_what_is_written() -> None:
    tree = tree_of(*DIAMOND, group("all"), task("m", parent_id="all", name='a "name" \\ of'))
    marks = {each.id: Mark(status) for each, status in zip(tree.tasks, Status, strict=True)}

    drawn = subprocess.run(
        ["dot", "-Tsvg"], input=dot(picture_of(tree, marks)), capture_output=True, text=True,
        check=True,
    )  # fmt: skip

    assert drawn.stdout.count('class="node"') == len(tree.tasks)


def test_dot_has_nodes_and_edges() -> None:
    written = dot(picture_of(tree_of(*DIAMOND), {"left": Mark(Status.FAILED, "3 attempts")}))

    assert '"left" [label="✘ left\\n3 attempts"' in written
    assert '"fetch" -> "right" [style=dashed]' in written


# --- text


def test_a_tree_that_has_not_run_says_what_is_after_what() -> None:
    many = task("many", *[f"m{at}" for at in range(8)])
    others = [task(f"m{at}", parent_id="all") for at in range(8)]

    assert text(tree_of(*DIAMOND, group("all"), *others, many)).splitlines()[:7] == [
        "tree: 14 tasks",
        "fetch  [work]",
        "left   [work]   after fetch",
        "right  [work]   after fetch?  when tasks.fetch.status == 'completed'",
        "join   [work]   after left, right?",
        "all    [group]",
        "  m0   [work]",
    ]


def test_a_run_says_how_its_tasks_stand() -> None:
    run = begun(*DIAMOND, approval("sign"), task("load", for_each=[1, 2]))
    end(run, "fetch", fails("no route to host"))
    start_all(run)

    assert text(run.plan.tree, marks_of(run)) == (
        "tree: 2 running, 1 failed, 3 skipped\n"
        "✘ fetch  2.0s · no route to host\n"
        "‖ left   skipped · because fetch failed\n"
        "‖ right  skipped · its condition is false\n"
        "‖ join   skipped · because left did not complete, since fetch failed\n"
        "◐ sign   running · approve?\n"
        "◐ load   running · ◐2 of 2\n"
    )


def test_no_line_is_wider_than_a_terminal() -> None:
    tree = tree_of(task("x" * 60), task("b", "x" * 60))

    assert max(map(len, text(tree).splitlines())) <= 80


def test_of_a_large_tree_the_rest_is_counted() -> None:
    written = text(tree_of(*chain(300)), most=3).splitlines()

    assert (len(written), written[-1]) == (5, "… 297 more tasks")


def test_a_single_task_is_one_task() -> None:
    assert text(tree_of(task("a"))).startswith("tree: 1 task\n")
