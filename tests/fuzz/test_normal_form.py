"""Whatever tree is written out in the normal form is the same when it is read back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hypothesis import given, settings
from tests.fuzz.strategies import cases, language_cases

from regrow.core.loading import load
from regrow.core.normal import read_normal

if TYPE_CHECKING:
    from tests.fuzz.oracle import Json
    from tests.fuzz.strategies import Case, LanguageCase

EXAMPLES = 200


def reads_back(document: dict[str, Json]) -> None:
    tree = load(document)
    written = json.loads(json.dumps(tree.as_document()))
    again = read_normal(written)

    assert again == tree == load(written)
    assert again.as_document() == written


@settings(max_examples=EXAMPLES, deadline=None)
@given(cases())
def test_plain_trees_read_back_as_they_were(case: Case) -> None:
    reads_back(case.document)


@settings(max_examples=EXAMPLES, deadline=None)
@given(language_cases())
def test_trees_of_the_whole_language_read_back_as_they_were(case: LanguageCase) -> None:
    reads_back(case.document)
