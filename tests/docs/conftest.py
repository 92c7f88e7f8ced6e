"""What tests of the documentation share: somebody who reads it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.docs.reader import Reader


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    made = Reader(tmp_path)
    yield made
    made.close()
