"""The comparison itself: both sides do the same, and what is told of them is there."""

from argparse import Namespace
from collections.abc import AsyncIterator
from typing import Any

import pytest
from benchmarks.bench import Bench, bench, hand_written
from benchmarks.end_to_end import compare_shapes
from benchmarks.report import Report
from benchmarks.shapes import Shape, chain, diamond, fan, layered
from google.protobuf.json_format import MessageToDict
from temporalio.api.history.v1 import HistoryEvent

DIFFERS = ("activityId", "workflowTaskCompletedEventId")


@pytest.fixture(scope="module")
async def place() -> AsyncIterator[Bench]:
    async with bench() as started:
        yield started


async def test_each_shape_is_run_both_ways_and_compared(place: Bench) -> None:
    report = Report("a test", "a machine", 0.0)
    shapes = [fan(3), chain(2), layered(2, 3), diamond(3)]
    await compare_shapes(place, report, Namespace(shapes=shapes, repetitions=1))

    rows = [record["row"] for record in report.records if "row" in record]
    assert [row for row in rows if row.endswith("fan-3")] == [
        "end_to_end.wall.fan-3",
        "end_to_end.cpu.fan-3",
    ]
    assert "events.chain.chain-2" in rows
    runs = [record["cells"]["run"] for record in report.records if "table" in record]
    assert runs == ["tree", "by hand", "tree ÷ by hand"] * len(shapes)
    assert all(record["result"] > 0 for record in report.records if "row" in record)


@pytest.mark.parametrize("shape", [fan(2), chain(2), layered(2, 3)], ids=lambda shape: shape.name)
async def test_both_sides_run_the_very_same_activities(place: Bench, shape: Shape) -> None:
    ids = [f"{shape.name}-{side}" for side in ("tree", "by-hand")]
    async with place.worker() as worker:
        await place.tree(worker, shape.document(), ids[0])
        results = await place.by_hand(worker, shape, ids[1])
    tree, hand = [await activities(place, id_) for id_ in ids]

    assert results == [*range(len(shape.dependencies))]
    assert tree == hand
    assert len(tree) == len(shape.dependencies)


def test_a_shape_has_the_workflow_that_suits_it() -> None:
    assert hand_written(fan(3)) == ("HandWrittenFan", 3)
    assert hand_written(chain(3)) == ("HandWrittenChain", 3)
    assert hand_written(diamond(3)) == ("HandWrittenGraph", [[], [0], [0]])


async def activities(place: Bench, id_: str) -> list[dict[str, Any]]:
    """What history says of the activities of a run, but for ids."""
    history = await place.client.get_workflow_handle(id_).fetch_history()
    scheduled = [
        said(event)
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    return sorted(scheduled, key=str)


def said(event: HistoryEvent) -> dict[str, Any]:
    attributes = MessageToDict(event.activity_task_scheduled_event_attributes)
    kept = {key: value for key, value in attributes.items() if key not in DIFFERS}
    return {**kept, "metadata": MessageToDict(event.user_metadata)}
