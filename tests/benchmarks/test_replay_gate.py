"""The interpreter stays nearly as cheap as a workflow that somebody wrote for the same work.

The figures themselves come from `python -m benchmarks.replay`; these limits are what it holds with
room for a busy machine.
"""

import pytest
from benchmarks.replay import CASES, measure, ratio_of

LIMITS = {"fan-1000": 1.7, "chain-300": 1.5, "layered-10x100": 1.7, "diamond-300": 1.5}


def test_every_shape_has_its_limit() -> None:
    assert [*LIMITS] == [*CASES]


@pytest.mark.parametrize("shape", CASES)
async def test_a_replay_costs_little_more_than_by_hand(shape: str) -> None:
    pairs = await measure(CASES[shape], 3)
    if ratio_of(pairs) > LIMITS[shape]:
        pairs += await measure(CASES[shape], 9)

    assert ratio_of(pairs) <= LIMITS[shape]
