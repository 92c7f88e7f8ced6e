"""The page: from the histories of everything that trees do, and from trees that mean no good."""

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import pytest
from temporalio.api.history.v1 import HistoryEvent
from tests.unit.client.report.histories import RECORDED, History, layered, recorded, runs_of

from regrow.client.report import report_from_events

Document = dict[str, Any]
VOID: Final = ("br", "hr", "meta")
HOSTILE: Final = '</style></script><script>alert(1)</script><img src=x onerror="alert(2)">'


class Reader(HTMLParser):
    """Reads a page, and refuses one that is not well formed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names))
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]


def read(events: Sequence[HistoryEvent]) -> Reader:
    return Reader(report_from_events("recorded-1", events))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_every_recorded_behaviour_gives_a_page(path: Path) -> None:
    page = read(recorded(path.stem))

    assert "script" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert not [link for link in page.all("href") if not link.startswith("#t")]
    assert "src" not in [name for name, _ in page.attributes]
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in page.all("href")} <= set(ids)
    assert "What went wrong" in page.text


@pytest.mark.parametrize(
    "name",
    [
        "a_long_tree_continues_as_new",
        "waits_and_maps_are_carried_on",
        "what_people_did_is_carried_on",
    ],
)
def test_runs_that_continue_each_other_are_one_page(name: str) -> None:
    page = read(runs_of(name))

    assert "each continuing the one before" in page.text
    assert "left out of this history" not in page.text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a_required_failure_skips_dependents", "d, e were not run because of it"),
        ("a_required_failure_skips_dependents", "because d did not complete, since p failed"),
        ("an_optional_failure_is_tolerated", "broken · 1 attempt · tolerated"),
        ("a_false_condition_skips", "its condition is false"),
        ("a_false_condition_skips", "Nothing failed."),
        ("a_task_is_tried_again", "before: not yet"),
        ("what_was_done_is_undone", "a undone (give)"),
        ("what_was_done_is_undone", "c NOT undone: it broke (fail)"),
        ("an_approval_is_given", "bob rejected ask_too : too dear"),
        ("a_tree_is_paused_and_resumed", "ann paused the tree : lunch"),
        ("failed_tasks_are_retried_by_hand", "ann let run again all that failed"),
        ("an_event_satisfies_every_wait", "somebody sent the event paid"),
        ("a_bad_document_fails_at_once", "nowhere"),
        ("an_unknown_executor_fails_at_once", "giv"),
        ("a_sub_tree_fails_by_path", "regrow report -w recorded-1/outer"),
        ("a_map_stops_beyond_what_it_tolerates", "item 0: 1 is odd (odd)"),
        ("a_map_stops_beyond_what_it_tolerates", "1 of 3 items failed, which is tolerated"),
        ("a_failing_output_fails_the_tree", "null"),
    ],
)
def test_what_happened_is_said(name: str, said: str) -> None:
    assert said in read(recorded(name)).text


def test_what_was_kept_has_no_bar() -> None:
    page = read(recorded("a_rerun_keeps_what_completed"))

    assert "kept from before" in page.text
    assert "a" not in page.all("data-task")


def test_open_tree_is_drawn_up_to_its_last_event() -> None:
    history = History([{"id": "a"}, {"id": "b", "dependencies": ["a"]}])
    history.turn()
    begun = history.begin("a")
    history.at = 1500
    history.end(begun, 1)
    history.turn()
    history.begin("b")
    history.at = 4000
    history.add("WORKFLOW_TASK_SCHEDULED")

    page = read(history.events)

    assert "4.0s so far" in page.text
    assert "The tree had not ended" in page.text
    assert dict(zip(page.all("data-task"), page.all("data-end"), strict=True)) == {
        "a": "2030-01-01T00:00:01.500Z",
        "b": "2030-01-01T00:00:04.000Z",
    }


def test_time_spent_waiting_for_a_slot_is_named() -> None:
    history = History(
        [{"id": "a"}, {"id": "long"}, {"id": "b", "dependencies": ["a"]}], max_in_flight=1
    )
    history.turn()
    first = history.begin("a")
    history.at = 1000
    history.end(first)
    history.turn()
    long = history.begin("long")
    history.at = 6000
    history.end(long)
    history.turn()
    last = history.begin("b")
    history.at = 7000
    history.end(last)

    text = read(history.events).text

    assert "7.0s from the start until the last task had settled" in text
    assert "5.0s · max_in_flight" in text


# --- nothing gets out, nothing gets in


def test_hostile_document_is_text() -> None:
    tasks: list[Document] = [
        {
            "id": "a",
            "name": f"a {HOSTILE}",
            "inputs": {f"k{HOSTILE}": HOSTILE, "u": "\u202e\x00\ud800"},
        },
        {"id": "b", "dependencies": ["a"], "when": f"'{HOSTILE}'"},
        {"id": "c", "dependencies": ["a"]},
    ]
    tasks[0]["inputs"]["u"] = "\u202e\x01"
    history = History(tasks, description=HOSTILE, user_id="<b>")
    history.turn()
    begun = history.begin("a", {"text": HOSTILE})
    history.at = 5
    history.fail(begun, HOSTILE)
    history.answered("cancel_task", {"task_id": "a", "by": HOSTILE, "reason": HOSTILE})
    history.turn()

    page = report_from_events(f"id{HOSTILE}", history.events)
    read = Reader(page)

    assert not {"script", "img", "b>"} & read.tags.keys()
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert page.count("</style>") == 1
    assert "\x01" not in page
    assert "\u202e" not in page


def test_secrets_are_on_no_part_of_the_page() -> None:
    password, key, user = "correct-horse", "live-key-2030", "p4ss-of-ann"
    tasks: list[Document] = [
        {
            "id": "in",
            "name": f"As https://ann:{user}@x.test",
            "inputs": {"password": password, "headers": {"X-Api-Key": key}},
            "when": f"'{key}' != ''",
            "compensate": {"executor": "in", "inputs": {"token": "undo-token-1"}},
        },
        {"id": "next", "dependencies": ["in"], "inputs": {"auth": "${{ tasks.in.result.said }}"}},
        {"id": "map", "for_each": [{"secret": "item-secret-1"}], "inputs": {"x": "${{ item }}"}},
    ]
    history = History(tasks, inputs={"db_password": "input-secret-1"}, description=f"with {key}")
    history.turn()
    begun = history.begin("in", tasks[0]["inputs"])
    history.begin("map[0]", {"x": {"secret": "item-secret-1"}})
    history.at = 5
    history.end(begun, {"token": "result-token-1", "said": f"welcome, {key}"})
    history.answered("send_event", {"event": "paid", "payload": {"api_key": "event-key-1"}})
    history.turn()
    other = history.begin("next", {"auth": "resolved-1", "in": {"token": "result-token-1"}})
    history.fail(other, f"401 for {key}, https://ann:{user}@x.test, Bearer zzz.yyy")
    history.turn()

    page = report_from_events("secrets-1", history.events)

    for secret in (
        password, key, user, "undo-token-1", "input-secret-1", "result-token-1", "event-key-1",
        "resolved-1", "zzz.yyy", "item-secret-1",
    ):  # fmt: skip
        assert secret not in page
    assert "${{ tasks.in.result.said }}" in page
    assert page.count("•••••") > 10


def test_page_allows_itself_nothing_but_its_own_style() -> None:
    page = report_from_events("recorded-1", recorded("a_sleep_waits"))

    assert (
        '<meta http-equiv="Content-Security-Policy" content="default-src &#x27;none&#x27;;'
        ' style-src &#x27;unsafe-inline&#x27;; img-src data:">'
    ) in page
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", page)


# --- size


@pytest.mark.parametrize("filling", [20, 400, 3000])
def test_page_of_200_tasks_takes_less_than_200_kb(filling: int) -> None:
    page = report_from_events("made-1", layered(200, filling=filling))

    Reader(page)
    assert len(page.encode()) < 200_000


@pytest.mark.parametrize("number", [100, 150, 200])
@pytest.mark.parametrize("failing", [(), range(0, 200, 3)])
def test_page_stays_small_whatever_is_on_it(number: int, failing: Sequence[int]) -> None:
    tasks: list[Document] = [
        {
            "id": f"{'x' * 59}{at:05}",
            "name": "Ü" * 180,
            "executor": "y" * 64,
            "dependencies": [{"id": f"{'x' * 59}{at // 3:05}", "into": None}] if at else [],
            "inputs": {"text": "<Größe> " * 200},
            "when": f"'{'q' * 80}' != 'a'",
        }
        for at in range(number)
    ]
    history = History(tasks)
    for at, task in enumerate(tasks):
        history.turn()
        begun = history.begin(task["id"], {"text": "other <>& " * 300})
        history.at += 100
        if at in failing:
            history.fail(begun, "<é>" * 900)
        else:
            history.end(begun, {"text": "<&>" * 900}, attempt=3, taken=5)

    page = report_from_events(f"tree-{'z' * 60}", history.events)

    assert len(page.encode()) < 200_000


def test_page_of_5_000_tasks_takes_less_than_2_mb() -> None:
    page = report_from_events("made-1", layered(5000, width=50))

    assert len(page.encode()) < 2_000_000
    assert len(re.findall("data-task", page)) <= 300
    assert "rows left out" in page


def test_values_are_whole_where_there_is_room_and_say_so_where_not() -> None:
    small = report_from_events("made-1", layered(3, filling=1500))
    large = report_from_events("made-1", layered(3, filling=9000))

    assert "… the first" not in small.split("<h2>Tasks")[1].split("<h2>Document")[0]
    assert "… the first 2 KB of " in large
