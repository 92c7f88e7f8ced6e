import random
import re
from itertools import pairwise

import pytest

from regrow.core.draw.layout import Way, lay_out, ranks
from regrow.core.draw.picture import Edge, EdgeKind, Node, Picture
from regrow.core.draw.svg import STYLES, Style, svg
from regrow.core.wire import Status

GAP = 10.0
SEEDS = range(40)


def random_edges(seed: int) -> tuple[int, list[Way]]:
    rng = random.Random(seed)
    count = rng.randrange(1, 40)
    edges: dict[tuple[int, int], str] = {}
    for end in range(count):
        for start in rng.sample(range(end), min(end, rng.choice([0, 1, 1, 2, 3]))):
            edges[start, end] = rng.choice(["required", "optional"])
    return count, [(start, end, kind) for (start, end), kind in edges.items()]


def random_picture(seed: int) -> Picture:
    count, edges = random_edges(seed)
    rng = random.Random(seed)
    nodes = [Node(f"n{at}", "x" * rng.randrange(1, 20), Status.PENDING) for at in range(count)]
    return Picture("p", nodes, [Edge(f"n{a}", f"n{b}", EdgeKind(kind)) for a, b, kind in edges])


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_is_waited_for_stands_in_an_earlier_layer(seed: int) -> None:
    count, edges = random_edges(seed)

    rank = ranks(count, [(start, end) for start, end, _ in edges])

    assert all(rank[start] < rank[end] for start, end, _ in edges)


def test_what_waits_for_nothing_stands_just_before_what_waits_for_it() -> None:
    assert ranks(4, [(0, 1), (1, 2), (3, 2)]) == [0, 1, 2, 1]


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_in_a_layer_overlaps_and_lines_have_room_of_their_own(seed: int) -> None:
    count, edges = random_edges(seed)
    sizes = [float(20 + 7 * (at % 5)) for at in range(count)]

    layout = lay_out(sizes, edges, GAP)

    for layer in layout.layers:
        for upper, lower in pairwise(layer):
            half = sum(sizes[v] / 2 if v < count else 2 for v in (upper, lower))
            assert layout.middles[lower] - layout.middles[upper] >= half + GAP - 1e-6


@pytest.mark.parametrize("seed", SEEDS)
def test_every_edge_leads_from_layer_to_layer(seed: int) -> None:
    count, edges = random_edges(seed)

    layout = lay_out([24.0] * count, edges, GAP)

    after: dict[tuple[int, str], list[int]] = {}
    for start, end, kind in layout.hops:
        assert layout.layer_of[end] == layout.layer_of[start] + 1
        after.setdefault((start, kind), []).append(end)
    for start, end, kind in edges:
        reached, rest = set[int](), [start]
        while rest:
            for other in after.get((rest.pop(), kind), []):
                reached.add(other)
                rest += [other] if other >= count else []
        assert end in reached


def test_lines_of_one_kind_from_one_task_share_their_way() -> None:
    edges = [(0, 1, "r"), (1, 2, "r"), (2, 3, "r"), (2, 4, "r"), (0, 3, "r"), (0, 4, "r")]

    layout = lay_out([24.0] * 5, edges, GAP)

    assert len(layout.layer_of) == 5 + 2  # two layers are passed, by one line


def test_crossings_that_can_be_avoided_are() -> None:
    layout = lay_out([24.0] * 4, [(0, 3, "r"), (1, 2, "r")], GAP)

    assert [list(layer) for layer in layout.layers] in ([[0, 1], [3, 2]], [[1, 0], [2, 3]])


def test_crossings_that_cannot_be_avoided_are_lived_with() -> None:
    every = [(start, end, "r") for start in (0, 1) for end in (2, 3)]

    layout = lay_out([24.0] * 4, every, GAP)

    assert sorted(len(layer) for layer in layout.layers) == [2, 2]


def test_nothing_is_laid_out_as_nothing() -> None:
    layout = lay_out([], [], GAP)

    assert (list(layout.layers), layout.width) == ([], 0)


# --- the drawing itself, judged by its own geometry


def boxes_of(image: str) -> list[tuple[float, float, float, float]]:
    found = re.findall(r"M(\d+) (\d+)h(\d+)v(\d+)h-\d+z", image)
    return [(x, y, x + w, y + h) for x, y, w, h in (map(float, each) for each in found)]


def points_of(image: str) -> list[tuple[float, float]]:
    """Follow the lines of a drawing in small steps."""
    lines = re.search(r'<g fill="none".*?</g>', image)
    points: list[tuple[float, float]] = []
    for way in re.findall(r' d="([^"]*)"', lines[0] if lines else ""):
        at = (0.0, 0.0)
        for letter, written in re.findall(r"([MLHVC])([^MLHVC]*)", way):
            numbers = [float(number) for number in written.split()]
            stops = _stops(letter, numbers, at)
            points += stops
            at = stops[-1]
    return points


def _stops(letter: str, numbers: list[float], at: tuple[float, float]) -> list[tuple[float, float]]:
    if letter == "M":
        return [(numbers[0], numbers[1])]
    if letter == "H":
        ends = [at, (numbers[0], at[1])]
    elif letter == "V":
        ends = [at, (at[0], numbers[0])]
    else:
        ends = [at, *zip(numbers[::2], numbers[1::2], strict=True)]
    return [_bezier(ends, step / 50) for step in range(51)]


def _bezier(ends: list[tuple[float, float]], share: float) -> tuple[float, float]:
    while len(ends) > 1:
        ends = [
            (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share) for a, b in pairwise(ends)
        ]
    return ends[0]


@pytest.mark.parametrize("wide", [10_000, 1], ids=["to the right", "downwards"])
@pytest.mark.parametrize("style", STYLES, ids=["full", "no tips", "plain"])
@pytest.mark.parametrize("seed", SEEDS[:12])
def test_no_line_crosses_a_box_and_no_box_another(seed: int, style: Style, wide: int) -> None:
    image = svg(random_picture(seed), style, wide=wide)

    boxes = boxes_of(image)
    for at, (x1, y1, x2, y2) in enumerate(boxes):
        for other in boxes[at + 1 :]:
            assert other[0] >= x2 or other[2] <= x1 or other[1] >= y2 or other[3] <= y1
        inside = [p for p in points_of(image) if x1 < p[0] < x2 and y1 < p[1] < y2]
        assert not inside


@pytest.mark.parametrize("seed", SEEDS)
def test_everything_is_within_the_image(seed: int) -> None:
    image = svg(random_picture(seed))

    size = re.search(r'viewBox="0 0 (\d+) (\d+)"', image)
    assert size
    for x, y in [*points_of(image), *((x2, y2) for _, _, x2, y2 in boxes_of(image))]:
        assert 0 <= x <= float(size[1])
        assert 0 <= y <= float(size[2])


def test_the_same_picture_is_drawn_alike() -> None:
    assert svg(random_picture(7)) == svg(random_picture(7))
