"""How trees look: whole pictures beside this file, and the rules that they follow."""

import io
import re
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

import pytest
from rich.cells import cell_len
from rich.console import Console
from tests.unit.cli.redraw import PICTURES, drawn
from tests.unit.cli.scene import BEGAN, Scene
from tests.unit.cli.scenes import FIVE_RUNS, NIGHTLY, SCENES, failed, large, running
from tests.unit.core.builders import approval, event, fails, group, sleep, task

from regrow import Status
from regrow.cli.still import print_tree
from regrow.cli.view import Standing, tree_lines
from regrow.cli.view.hints import Place, next_lines, trouble_lines

COLOURS: Final = re.compile(r"\x1b\[[0-9;]*(3[0-9]|9[0-9]|4[0-9])[0-9;]*m")
CODES: Final = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


# --- pictures


def test_pictures_are_as_they_were() -> None:
    pictures = dict(drawn())

    assert {path.stem for path in PICTURES.iterdir()} == pictures.keys()
    for name, picture in pictures.items():
        assert picture == (PICTURES / f"{name}.txt").read_text(), name


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("width", [40, 53, 66, 79, 80, 133])
def test_no_line_is_wider_than_the_screen_and_no_picture_is_higher(name: str, width: int) -> None:
    for height in (8, 24, 60):
        lines = SCENES[name]().shown(width, height, estimate=FIVE_RUNS)

        assert max(map(cell_len, lines)) <= width
        assert len(lines) <= max(height, 12)


def test_wide_letters_take_their_room() -> None:
    title, error = "日本語の題名がここにある", "倉庫は一度に二十行しか受け付けません。" * 3
    scene = Scene(task("a", name=title), task("b", name=title)).at(1).ends("a", answer=fails(error))

    lines = scene.shown(60)

    assert max(map(cell_len, lines)) <= 60
    assert lines[2] == "  ◐ b · 日本語の題名… [work]  1.0s"
    assert lines[1].startswith("  ✘ a  1.0s  倉庫は一度に二十行しか")


@pytest.mark.parametrize("name", SCENES)
def test_colours_say_nothing_that_is_not_there_without_them(name: str) -> None:
    lines = SCENES[name]().shown(80, estimate=FIVE_RUNS)
    colourful, plain = (printed(SCENES[name](), no_color=off) for off in (False, True))

    assert COLOURS.search(colourful)
    assert not COLOURS.search(plain)
    assert CODES.sub("", colourful).splitlines() == CODES.sub("", plain).splitlines() == lines


def printed(scene: Scene, *, no_color: bool) -> str:
    file = io.StringIO()
    console = Console(
        file=file, force_terminal=True, color_system="standard", width=80, no_color=no_color
    )
    for line in scene.drawn(80, estimate=FIVE_RUNS):
        console.print(line, soft_wrap=True)
    return file.getvalue()


# --- what is shortened, and what is left out


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (90, "  ◐ load · Load it into the warehouse [save_rows]  1.0s  waits for a worker"),
        (70, "  ◐ load · Load it into the w… [save_rows]  1.0s  waits for a worker"),
        (60, "  ◐ load · Load it in… [save_rows]  1.0s  waits for a worker"),
        (50, "  ◐ load [save_rows]  1.0s  waits for a worker"),
        (44, "  ◐ load  1.0s  waits for a worker"),
        (36, "  ◐ load  1.0s  waits for a worker"),
        (30, "  ◐ load  1.0s  waits for a w…"),
    ],
)
def test_title_is_shortened_first_then_the_executor_then_the_note(width: int, line: str) -> None:
    scene = Scene(task("load", executor="save_rows", name="Load it into the warehouse"))

    assert scene.tries("load", is_running=False).at(1).shown(width)[-1] == line


def test_ids_are_whole_even_where_there_is_no_room_for_what_happened() -> None:
    name = "a-task-with-a-long-id-of-fourty-letters"
    scene = Scene(task(name)).at(1).ends(name, answer=fails("no disk"))

    assert scene.shown(50)[-1] == f"  ✘ {name}  1.0s…"
    assert scene.shown(44)[-1] == f"  ✘ {name}"
    assert scene.shown(30)[-1] == "  ✘ a-task-with-a-long-id-of-…"


def test_titles_give_way_to_errors() -> None:
    lines = failed().shown(100)

    assert lines[3].startswith("  ✘ save  1.1s  the warehouse takes at most 20 rows at once")
    assert lines[3].endswith("split them, or ask for more")


def test_what_has_ended_well_is_folded_before_anything_is_left_out() -> None:
    members = [task(f"m{at}", parent_id="done") for at in range(9)]
    scene = Scene(group("done"), *members, task("last", "done"))
    for member in members:
        scene.at(1).ends(member["id"])

    assert scene.shown(80, 30)[2].lstrip().startswith("✔ m0")
    assert scene.shown(80, 8)[1:] == [
        "  ✔ done [group]       9 tasks",
        "  ◐ last [work]   0ms",
    ]


def test_failures_are_seen_however_many_tasks_there_are() -> None:
    scene = large()

    for height in (8, 10, 24):
        lines = scene.shown(80, height)
        assert any(line.startswith("  ✘ t7 ") for line in lines)
        assert len(lines) == height
    assert lines[-1] == "  … 80 more pending, 4,899 completed"


def test_what_a_shown_task_is_in_is_shown_too() -> None:
    members = [task(f"m{at}", parent_id="days") for at in range(50)]
    before = [task(f"b{at}") for at in range(50)]
    scene = Scene(*before, group("days"), *members)
    scene.at(1).ends("m49", answer=fails("no disk"))

    lines = scene.shown(80, 6)

    at = next(at for at, line in enumerate(lines) if "✘ m49" in line)
    assert lines[at - 1].startswith("  ○ days")
    assert lines[at].startswith("    ✘ m49")


def test_five_thousand_tasks_are_drawn_many_times_a_second() -> None:
    scene = large()

    began = time.perf_counter()
    scene.shown(80)

    assert time.perf_counter() - began < 1  # 0.02 on an idle machine


# --- what is said


def test_waits_say_for_what_and_for_how_long() -> None:
    waits = (sleep("nap", duration="2h"), event("paid", timeout="5m"), approval("sign"))
    scene = Scene(*waits, task("after", "nap")).at(10)

    assert [re.split(r"  +", line)[-1] for line in scene.shown(100)[1:5]] == [
        "sleeps, 2h00m left",
        "waits for an event 'paid', 5m left",
        "waits for an answer",
        "waits for nap",
    ]
    assert [line.plain for line in whole(scene)[1:5]] == [
        "  ◐ nap [sleep]  10.0s · sleeps until 05:00:00",
        "  ◐ paid [wait_for_event]  10.0s · waits for an event 'paid' until 03:05:00",
        "  ◐ sign [approval]  10.0s · waits for an answer",
        "  ○ after [work]  waits for nap",
    ]


def whole(scene: Scene) -> list[Any]:
    scene.fold._open = dict.fromkeys(scene.seen.attempts, True)  # pyright: ignore[reportPrivateUsage]
    result = scene.fold.result()
    return tree_lines(scene.tree, result, height=99, seen=scene.seen, now=scene.now)


def test_files_get_whole_lines_without_bars() -> None:
    lines = [line.plain for line in whole(running())]

    assert lines[0] == "◐ nightly running: 2 pending, 4 running, 2 completed  nightly-7"
    assert (
        "  ◐ load · Load it into the warehouse [save_rows]  13.3s · 62 of 100 rows of January"
        " · ↻ attempt 2 of 5 · last error: no disk (OSError)"
    ) in lines
    assert "  ◐ sales · What each of them sold [read_sales]  1m14s · 25 of 40 items" in lines
    assert "    ◐ clean [work]  1m12s · ↻ attempt 3 of 5, next at 03:01:30" in lines


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"done": 3, "total": 4, "note": "rows"}, "██████░░ 3 of 4 · rows"),
        ({"done": 9, "total": 4}, "████████ 9 of 4"),
        ({"done": 0, "total": 0}, "░░░░░░░░ 0 of 0"),
        ({"done": 7}, "7"),
        ({"done": 7, "note": "rows\n\x1b[2J"}, "7 · rows [2J"),
        ({"done": "most", "total": "all"}, "most of all"),
        ({"cursor": 7}, ""),
        ([7], ""),
        (None, ""),
    ],
)
def test_heartbeats_that_tell_progress_are_drawn(said: Any, shown: str) -> None:
    scene = Scene(task("a")).at(1).tries("a", progress=said)

    assert re.sub(r"^  ◐ a \[work\]  1\.0s *", "", scene.shown(80)[1]) == shown


def test_texts_of_others_do_not_steer_the_terminal() -> None:
    nasty = "\x1b[2Jgone\nover\x07"
    scene = Scene(approval("a", prompt=nasty), task("b", name=nasty)).at(1)
    scene.ends("b", answer=fails(nasty))

    assert not set("\x1b\x07\n") & set("".join(scene.shown(120)))


def test_paths_lead_to_what_waits_in_sub_trees() -> None:
    scene, inner = Scene(*NIGHTLY), Scene(approval("check"), tree_id="nightly-7/features")
    scene.at(1).ends("fetch")
    scene.seen.inside["features"] = inner.seen

    lines = scene.shown(80)

    at = lines.index("  features/check waits for an answer · since 03:00:00")
    assert lines[at + 1].startswith("    regrow approve check -w nightly-7/features   (or")


# --- below the picture


def test_errors_come_in_full_and_then_what_to_type() -> None:
    result = failed().fold.result()

    error, *commands = [*trouble_lines(result), *next_lines(result, Place())]
    assert error.startswith("  save: the warehouse takes at most 20 rows at once, not 45; split")
    assert error.endswith(", or ask for more (ValueError)")
    assert commands == [
        "  regrow explain save -w nightly-7",
        "  regrow rerun -w nightly-7 --failed --plan",
    ]


def test_many_failures_are_counted() -> None:
    scene = Scene(*(task(f"t{at}") for at in range(12)))
    for at in range(12):
        scene.ends(f"t{at}", answer=fails("no disk"))

    assert list(trouble_lines(scene.fold.result()))[-1] == "  … 4 more failed"


def test_commands_name_the_place_and_can_be_typed_as_they_are() -> None:
    place = Place("host:7", "team")

    assert place.options("it's") == """-w 'it'"'"'s' --address host:7 -n team"""


def test_commands_are_broken_but_never_cut_off() -> None:
    tree_id = "nightly-" + "7" * 60
    lines = Scene(approval("sign"), tree_id=tree_id).shown(40)

    at = next(at for at, line in enumerate(lines) if "regrow approve" in line)
    assert "".join(lines[at:]).strip() == f"regrow approve sign -w {tree_id}   (or --reject)"
    assert max(map(len, lines)) <= 40


# --- printed once


def test_tree_is_printed_in_columns_on_a_screen_and_whole_elsewhere() -> None:
    scene = running()
    screen, file = (printed_once(scene, is_screen=each) for each in (True, False))

    assert "  ◐ sign [approval]                      1m14s" not in file
    assert re.search(r"\n  ◐ load · .*… \[save_rows\] .* ████░░░░ 62 of 100", screen)
    assert "[save_rows]  " in file
    assert 'asks: "Ship the numbers of January?"' in screen
    assert '\n  "Ship the numbers of January?"  answer: regrow approve sign -w nightly-7' in file


def printed_once(scene: Scene, *, is_screen: bool) -> str:
    file = io.StringIO()
    screen = Console(
        file=file, force_terminal=is_screen, width=80, _environ={"TERM": "xterm"}, no_color=True
    )
    print_tree(screen, scene.tree, scene.fold.result(), scene.seen, Place())
    return CODES.sub("", file.getvalue())


def test_elapsed_time_is_that_of_the_tasks_when_printed_once() -> None:
    scene = Scene(task("a"), task("b", "a")).at(1).ends("a").at(3).ends("b")
    scene.fold.ended = Status.COMPLETED

    assert "2 completed · 3.0s · nightly-7" in printed_once(scene, is_screen=True)


def test_tasks_that_a_result_leaves_out_completed() -> None:
    result = running().fold.result().model_copy(update={"tasks": {}})

    assert Standing(running().tree, result).task("fetch").status is Status.COMPLETED


def test_times_of_another_day_have_their_date() -> None:
    scene = Scene(approval("a", timeout="3d"))

    assert f"until {BEGAN + timedelta(days=3):%Y-%m-%d %H:%M}" in whole(scene)[1].plain
