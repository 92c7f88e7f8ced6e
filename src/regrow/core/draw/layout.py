"""Where the boxes of a graph stand: layer by layer, with room for the lines between them.

The steps are those of Sugiyama: every node gets the layer after the last one it waits for; a line
over several layers gets a bend in each, which takes room as a box does, so that no line crosses a
box; bends that come from one node share their way. Then each layer is put into an order with few
crossings, and moved to where its lines are short.

Everything is in declared order and without chance: the same graph is drawn alike each time.
"""

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

_SWEEPS: Final = 8
_MOVES: Final = 8
_BEND_WEIGHT: Final = 4.0
"""Long lines are to be straight, rather than short ones."""
_BEND: Final = 4.0
"""The room a line takes."""

Way = tuple[int, int, str]
"""An edge: from, to, and its kind; those of one kind from one node share their way."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Vertices are the nodes, in their order, and after them the bends."""

    layer_of: Sequence[int]
    middles: Sequence[float]
    """Across the layers."""
    hops: Sequence[Way]
    """The edges, cut into pieces from one layer to the next."""
    layers: Sequence[Sequence[int]]
    width: float
    """Of the widest layer."""


def ranks(count: int, edges: Iterable[tuple[int, int]]) -> list[int]:
    """Give each node's layer: one after the last that it waits for."""
    outgoing: list[list[int]] = [[] for _ in range(count)]
    missing = [0] * count
    for start, end in edges:
        outgoing[start].append(end)
        missing[end] += 1
    rank = [0] * count
    ready = [node for node in range(count) if not missing[node]]
    for node in ready:
        for end in outgoing[node]:
            rank[end] = max(rank[end], rank[node] + 1)
            missing[end] -= 1
            if not missing[end]:
                ready.append(end)
    for node in range(count):  # what waits for nothing stands just before what waits for it
        if not rank[node] and outgoing[node]:
            rank[node] = min(rank[end] for end in outgoing[node]) - 1
    return rank


def lay_out(sizes: Sequence[float], edges: Sequence[Way], gap: float) -> Layout:
    """Lay out nodes of these sizes, which are their extents across the layers."""
    layer_of = ranks(len(sizes), ((start, end) for start, end, _ in edges))
    hops = _cut(edges, layer_of)
    extents = [*sizes, *[_BEND] * (len(layer_of) - len(sizes))]
    layers: list[list[int]] = [[] for _ in range(max(layer_of, default=-1) + 1)]
    for vertex, layer in enumerate(layer_of):
        layers[layer].append(vertex)
    before, after = _neighbours(len(layer_of), hops)
    layers = _ordered(layers, before, after)
    weights = [*[1.0] * len(sizes), *[_BEND_WEIGHT] * (len(layer_of) - len(sizes))]
    middles = _placed(layers, extents, weights, gap, before, after)
    first = min((at - size / 2 for at, size in zip(middles, extents, strict=True)), default=0)
    middles = [at - first for at in middles]
    width = max((at + size / 2 for at, size in zip(middles, extents, strict=True)), default=0)
    return Layout(layer_of, middles, hops, layers, width)


def _cut(edges: Sequence[Way], layer_of: list[int]) -> list[Way]:
    """Cut edges into hops, adding bends to the vertices."""
    bends: dict[tuple[int, str, int], int] = {}
    hops: dict[Way, None] = {}
    for start, end, kind in edges:
        last = start
        for layer in range(layer_of[start] + 1, layer_of[end]):
            key = (start, kind, layer)
            if key not in bends:
                bends[key] = len(layer_of)
                layer_of.append(layer)
            hops[last, bends[key], kind] = None
            last = bends[key]
        hops[last, end, kind] = None
    return list(hops)


def _neighbours(count: int, hops: Sequence[Way]) -> tuple[list[list[int]], list[list[int]]]:
    before: list[list[int]] = [[] for _ in range(count)]
    after: list[list[int]] = [[] for _ in range(count)]
    for start, end, _ in hops:
        before[end].append(start)
        after[start].append(end)
    return before, after


# --- the order in each layer


def _ordered(
    layers: list[list[int]], before: list[list[int]], after: list[list[int]]
) -> list[list[int]]:
    """Sweep down and up, each layer in the order of its neighbours' middles; keep the best."""
    best, fewest = layers, _crossings(layers, after)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        layers = _swept(layers if down else layers[::-1], before if down else after)
        layers = layers if down else layers[::-1]
        count = _crossings(layers, after)
        if count < fewest:
            best, fewest = layers, count
    return best


def _swept(layers: list[list[int]], toward: list[list[int]]) -> list[list[int]]:
    place = {vertex: float(at) for at, vertex in enumerate(layers[0])} if layers else {}
    swept = layers[:1]
    for layer in layers[1:]:
        now = {vertex: at for at, vertex in enumerate(layer)}
        wanted = {
            vertex: _mean([place[other] for other in toward[vertex]], now[vertex])
            for vertex in layer
        }
        swept.append(sorted(layer, key=lambda vertex: (wanted[vertex], now[vertex])))
        place |= {vertex: float(at) for at, vertex in enumerate(swept[-1])}
    return swept


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _crossings(layers: list[list[int]], after: list[list[int]]) -> int:
    """Count how many hops cross others."""
    count = 0
    for upper, lower in pairwise(layers):
        place = {vertex: at for at, vertex in enumerate(lower)}
        seen: list[int] = []
        for vertex in upper:
            ends = sorted(place[end] for end in after[vertex])
            count += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return count


# --- the places in each layer


def _placed(  # noqa: PLR0913, PLR0917 - all of them are the graph
    layers: list[list[int]],
    sizes: Sequence[float],
    weights: Sequence[float],
    gap: float,
    before: list[list[int]],
    after: list[list[int]],
) -> list[float]:
    """Move every layer to where its neighbours are, as far as there is room, again and again."""
    middles = [0.0] * len(sizes)
    offsets = [_offsets(layer, sizes, gap) for layer in layers]
    for layer, offset in zip(layers, offsets, strict=True):
        for vertex, at in zip(layer, offset, strict=True):
            middles[vertex] = at - offset[-1] / 2
    for at, toward in _moves(len(layers), before, after):
        layer = layers[at]
        wanted = [_mean([middles[n] for n in toward[v]], middles[v]) for v in layer]
        fitted = _fitted(wanted, offsets[at], [weights[vertex] for vertex in layer])
        for vertex, middle in zip(layer, fitted, strict=True):
            middles[vertex] = middle
    return middles


def _moves(
    count: int, before: list[list[int]], after: list[list[int]]
) -> Iterator[tuple[int, list[list[int]]]]:
    both = [[*up, *down] for up, down in zip(before, after, strict=True)]
    for _ in range(_MOVES):
        yield from ((at, before) for at in range(1, count))
        yield from ((at, after) for at in reversed(range(count - 1)))
    yield from ((at, both) for at in range(count))


def _offsets(layer: Sequence[int], sizes: Sequence[float], gap: float) -> list[float]:
    """Give the middles of a layer without a place to spare, the first one at 0."""
    steps = ((sizes[a] + sizes[b]) / 2 + gap for a, b in pairwise(layer))
    return list(accumulate(steps, initial=0.0))


def _fitted(
    wanted: Sequence[float], offsets: Sequence[float], weights: Sequence[float]
) -> list[float]:
    """Give the places nearest to the wanted ones that keep the order and the gaps.

    Without the gaps that is isotonic regression: neighbours that want to pass each other are
    pooled at their mean.
    """
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many
    for want, offset, heavy in zip(wanted, offsets, weights, strict=True):
        mean, weight, many = want - offset, heavy, 1
        while pools and pools[-1][0] > mean:
            other, other_weight, others = pools.pop()
            both = weight + other_weight
            mean, weight, many = (mean * weight + other * other_weight) / both, both, many + others
        pools.append((mean, weight, many))
    means = [mean for mean, _, many in pools for _ in range(many)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]
