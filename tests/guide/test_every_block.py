"""Every block of code in the guide has its test; the guide itself is not in this repository.

A test is named by chapter, heading and kind: `test_2_1_bad_…` runs the bad example of 2.1. A block
that shows both at once is counted as good, and its test shows both.
"""

import re
from pathlib import Path
from typing import Final

BLOCKS: Final = {
    "1.1 single responsibility": ("good", "bad"),
    "1.2 idempotent tasks": ("good",),
    "1.3 inputs validated early": ("good",),
    "1.4 consistent results": ("good", "bad"),
    "1.5 async used properly": ("good", "bad"),
    "2.1 dependencies for the order": ("good", "bad"),
    "2.2 manageable trees": ("good", "bad"),
    "2.3 parallel when possible": ("good",),
    "2.4 optional dependencies as fallbacks": ("good",),
    "2.5 priorities": ("good",),
    "3.1 errors returned": ("good",),
    "3.2 failures of dependencies": ("good",),
    "3.3 optional dependencies for resilience": ("good",),
    "3.4 retries in an executor": ("good",),
    "4.1 parallel against sequential": ("good",),
    "4.2 batches": ("good", "bad"),
    "4.3 cached results": ("good",),
    "4.4 queries of a database": ("good",),
    "5.1 executors by domain": ("good",),
    "5.2 shared utilities": ("good",),
    "5.3 configuration": ("good",),
    "5.4 documentation": ("good",),
    "6.1 unit tests of executors": ("good",),
    "6.2 integration tests of trees": ("good",),
    "6.3 dependencies mocked": ("good",),
    "7.1 logging": ("good",),
    "7.2 monitoring": ("good",),
    "7.3 timeouts": ("good",),
    "7.4 configuration validated": ("good",),
}
"""The guide's headings, in our words, with the kinds of the blocks below each."""


def test_every_block_of_the_guide_has_its_test_and_every_test_its_block() -> None:
    blocks = {f"{heading.split()[0]} {kind}" for heading, kinds in BLOCKS.items() for kind in kinds}
    tested: set[str] = set()
    for file in sorted(Path(__file__).parent.glob("test_[1-7]_*.py")):
        names = re.findall(r"^async def test_(\d)_(\d)_(good|bad)_", file.read_text(), re.MULTILINE)
        assert {chapter for chapter, *_ in names} == {file.name[len("test_")]}
        tested |= {f"{chapter}.{heading} {kind}" for chapter, heading, kind in names}

    assert tested == blocks
