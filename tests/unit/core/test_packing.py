import base64
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.core import limits
from regrow.core.packing import packed, unpacked
from regrow.core.problems import InvalidTree

TEXTS = st.text(st.characters())
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)
DOCUMENTS = st.dictionaries(TEXTS, VALUES, max_size=5).filter(lambda each: list(each) != ["packed"])


def compressed(data: bytes) -> dict[str, Any]:
    return {"packed": base64.b64encode(zlib.compress(data)).decode()}


def refusal(value: object) -> str:
    with pytest.raises(InvalidTree) as refused:
        unpacked(value)
    (problem,) = refused.value.problems
    assert (problem.code, problem.path) == ("packed", ("packed",))
    return problem.message


@given(DOCUMENTS, st.sampled_from([0, 40, limits.PACK_ABOVE]))
def test_what_was_packed_comes_back_whole(document: dict[str, Any], above: int) -> None:
    assert unpacked(json.loads(json.dumps(packed(document, above)))) == document


def test_half_a_character_comes_back_too() -> None:
    document = {"\ud83d": ["\udc4d", "👍"]}

    assert unpacked(packed(document, 0)) == document


def test_only_what_is_large_is_packed() -> None:
    text = {"a": "ä" * 100}  # 208 bytes

    assert packed(text, 208) is text
    assert list(packed(text, 207)) == ["packed"]
    assert packed({"a": "x" * (limits.PACK_ABOVE - 8)}) == {"a": "x" * (limits.PACK_ABOVE - 8)}
    assert list(packed({"a": "x" * limits.PACK_ABOVE})) == ["packed"]


def test_tasks_that_resemble_each_other_take_few_bytes() -> None:
    tasks = [{"id": f"t{at}", "executor": "work", "inputs": {"at": at}} for at in range(10_000)]

    size = len(json.dumps(packed({"name": "tree", "tasks": tasks})))

    assert size < len(json.dumps(tasks)) / 8


@pytest.mark.parametrize("value", [None, 1, "text", ["packed"], {}, {"packed": "x", "name": "y"}])
def test_what_was_not_packed_is_left_as_it_is(value: object) -> None:
    assert unpacked(value) is value


@pytest.mark.parametrize(
    "data",
    [
        5,
        None,
        ["eA=="],
        {"a": 1},
        "not base64!",
        "!" + compressed(b"{}")["packed"],
        "größer",
        "",
        base64.b64encode(b"not compressed").decode(),
        base64.b64encode(zlib.compress(b'{"name": "tree"}')[:-6]).decode(),
        compressed(b"{")["packed"],
        compressed(b"\xff")["packed"],
        compressed(b"[" * 200_000)["packed"],
    ],
)
def test_garbage_is_refused(data: object) -> None:
    message = refusal({"packed": data})

    assert message.startswith("this key holds a compressed document, which cannot be read: ")


@given(st.text() | st.binary().map(lambda data: base64.b64encode(data).decode()))
def test_random_garbage_is_refused(data: str) -> None:
    refusal({"packed": data})


def test_what_is_cut_off_is_said_to_be() -> None:
    whole = zlib.compress(b'{"name": "tree"}')

    assert refusal({"packed": base64.b64encode(whole[:-1]).decode()}).endswith("it is cut off")


def test_bomb_is_refused_before_it_goes_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_UNPACKED", 1_000)

    assert unpacked(compressed(json.dumps("x" * 900).encode())) == "x" * 900
    refusal(compressed(json.dumps("x" * 1_001).encode()))
    message = refusal(compressed(json.dumps("x" * 100_000).encode()))
    assert message.endswith("it takes more than 1,000 bytes")


def test_bomb_inside_a_bomb_stays_packed() -> None:
    inner = compressed(b'{"name": "tree"}')

    assert unpacked(compressed(json.dumps(inner).encode())) == inner
