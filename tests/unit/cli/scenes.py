"""What the pictures show: trees as they stand at night, at work, and after an accident."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

from tests.unit.cli.scene import BEGAN, Scene
from tests.unit.core.builders import (
    CANCELLED,
    approval,
    event,
    fails,
    group,
    subtree,
    task,
    undone,
)

from regrow import Status
from regrow.cli.view import Estimate
from regrow.core.requests import Pause

FIVE_RUNS: Final = Estimate(timedelta(minutes=4), 5)
NIGHTLY: Final = (
    task("fetch", name="Fetch the shop's export", executor="http_request"),
    task("shops", name="Which shops were open", executor="list_shops"),
    task(
        "sales", "shops", name="What each of them sold", executor="read_sales",
        for_each=[*range(40)], max_in_flight=3,
    ),
    task("load", "fetch", name="Load it into the warehouse", executor="save_rows"),
    approval("sign", "shops", prompt="Ship the numbers of January?", timeout="1h"),
    {
        **subtree("features", task("raw", executor="load"), task("clean", "raw")),
        "dependencies": ["fetch"],
        "name": "Prepare the features",
    },
    task("report", "load", "sales", "sign", name="Write the day's report and mail it to all"),
    task("archive", "report", executor="store"),
)  # fmt: skip


def running() -> Scene:
    """A retry, progress, an approval, a map and a sub-tree."""
    scene = Scene(*NIGHTLY).at(1.25).ends("shops")
    for item in range(25):
        scene.at(2 + item).ends(f"sales[{item}]")
    scene.at(62).ends("fetch")
    progress = {"done": 62, "total": 100, "note": "rows of January"}
    scene.tries("load", 2, progress=progress, error="no disk (OSError)")
    inner = Scene(task("raw", executor="load"), task("clean", "raw"), tree_id="nightly-7/features")
    inner.at(3).ends("raw")
    inner.tries("clean", 3, is_running=False, next_attempt_at=BEGAN + timedelta(seconds=90))
    scene.seen.inside["features"] = inner.at(13).seen
    return scene.at(75.3)


def failed() -> Scene:
    """An own failure, one that is tolerated, and what was skipped."""
    scene = Scene(
        task("shops", name="Which shops were open", executor="list_shops"),
        task("weather", name="What the weather was", executor="ask_service"),
        task("save", "shops", name="Save it to the warehouse", executor="save_sales"),
        group("after", "save"),
        task("report", "weather?", parent_id="after", name="Write the day's report"),
        task("bill", when="`false`", parent_id="after", executor="bill"),
    )
    scene.at(0.2).ends("weather", answer=fails("nobody answers at 127.0.0.1:9", "unavailable"))
    scene.at(0.3).ends("shops")
    error = "the warehouse takes at most 20 rows at once, not 45; split them, or ask for more"
    scene.at(1.4).ends("report").ends("save", answer=fails(error, "ValueError"))
    scene.fold.ended = Status.FAILED
    return scene


def paused() -> Scene:
    """Nothing starts; a map goes on."""
    scene = Scene(*NIGHTLY).at(30).ends("shops")
    Pause(by="ann", reason="have a look at it").do(scene.run, scene.now)
    return scene.at(31).ends("fetch").at(1800)


def held() -> Scene:
    """Two failures keep the tree open."""
    scene = Scene(
        task("sales", executor="read_sales", name="What each shop sold"),
        task("stock", executor="read_count", name="What is in stock"),
        event("paid", "stock", event="bill paid"),
        task("report", "sales", "paid", executor="write_report", name="Write the report"),
        on_failure="wait",
        name="month-end",
        tree_id="january",
    )
    scene.at(2).ends("sales", answer=fails("there is no january.json"))
    return scene.at(2.5).ends("stock", answer=fails("the shelf is empty")).at(600)


def large() -> Scene:
    """Five thousand tasks, some of them in groups that are done."""
    days = [f"day{at}" for at in range(20)]
    members = [task(f"{day}.t{n}", parent_id=day) for day in days for n in range(49)]
    rest = [task(f"t{at}", name=f"Count what was sold in shop {at}") for at in range(4000)]
    scene = Scene(
        *map(group, days), *members, *rest, max_in_flight=5, name="year", tree_id="year-30"
    )
    for at, member in enumerate(members):
        scene.at(at).ends(member["id"])
    for at in range(3900):
        scene.at(1000 + at / 10).ends(f"t{at}", answer=fails("no disk") if at == 7 else None)
    return scene.at(1391.3)


def cancelled() -> Scene:
    """What was done is undone, as far as that goes."""
    scene = Scene(
        undone("flight", executor="book", name="Book the flight"),
        undone("hotel", "flight", executor="book", name="Book the hotel"),
        undone("car", "hotel", executor="book", name="Book the car"),
        task("mail", "car", name="Send the tickets"),
        name="journey",
        tree_id="journey-7",
    )
    scene.at(1).ends("flight", answer=1).at(2).ends("hotel", answer=2).at(3)
    scene.run.cancel("the customer changed her mind", scene.now)
    scene.ends("car", answer=CANCELLED)
    scene.at(4).ends("hotel~compensate", answer=fails("the hotel takes nothing back"))
    return scene.at(4.5)


SCENES: Final[Mapping[str, Callable[[], Scene]]] = {
    "running": running,
    "failed": failed,
    "paused": paused,
    "held": held,
    "large": large,
    "cancelled": cancelled,
}
