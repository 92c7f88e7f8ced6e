"""`regrow convert`: what it writes is the same tree, and reads well."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.e2e.command import COMMAND, Shell

from regrow.client import read_document
from regrow.client.convert import as_yaml
from regrow.client.yaml_text import parse_yaml
from regrow.core.hashing import document_hash

ARRAY: Final = [
    {
        "id": "fetch",
        "name": "Fetch the user",
        "user_id": "acme",
        "priority": 1,
        "schemas": {"method": "user_fetcher"},
        "inputs": {"user_id": "7", "prompt": "Be brief.\nBe kind.\n"},
    },
    {
        "id": "weather",
        "user_id": "acme",
        "parent_id": "fetch",
        "params": {"executor_id": "weather_lookup"},
        "dependencies": [{"id": "fetch", "required": True}],
    },
    {
        "id": "greet",
        "name": "Greet",
        "user_id": "acme",
        "parent_id": "fetch",
        "schemas": {"method": "greeter"},
        "dependencies": [{"id": "fetch", "required": True}, {"id": "weather", "required": False}],
    },
]
NATIVE: Final = """\
version: 1
name: users
user_id: acme
tasks:
  - id: fetch
    name: Fetch the user
    executor: user_fetcher
    inputs:
      user_id: '7'
      prompt: |
        Be brief.
        Be kind.
    priority: 1
  - id: weather
    executor: weather_lookup
    parent_id: fetch
    dependencies: [fetch]
  - id: greet
    name: Greet
    executor: greeter
    parent_id: fetch
    dependencies: [fetch, {id: weather, required: false}]
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_an_array_becomes_yaml_that_reads_well(shell: Shell) -> None:
    done = shell.run("convert", shell.write("users.json", ARRAY))

    assert (done.returncode, done.stdout, done.stderr) == (0, NATIVE, "")


def test_it_is_the_same_tree_in_a_file_of_either_form(shell: Shell) -> None:
    old = shell.write("users.json", ARRAY)
    for name in ("users.yaml", "native.json"):
        done = shell.run("convert", "users.json", "-O", name)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", f"wrote {name}\n")

    trees = [read_document(shell.directory / name).tree() for name in ("users.yaml", "native.json")]

    assert {document_hash(tree) for tree in trees} == {document_hash(read_document(old).tree())}


def test_it_writes_json_if_told_to_and_reads_standard_input() -> None:
    done = subprocess.run(
        [*COMMAND, "convert", "-", "-o", "json"],
        input=json.dumps(ARRAY),
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(done.stdout)["name"] == "tree"
    assert json.loads(done.stdout)["tasks"][1] == {
        "id": "weather",
        "executor": "weather_lookup",
        "parent_id": "fetch",
        "dependencies": ["fetch"],
    }


def test_what_is_left_out_is_said_beside_the_document(shell: Shell) -> None:
    row = {**ARRAY[0], "status": "completed", "result": {"name": "Ann"}, "max_attempts": 5}
    shell.write("dump.json", {"task": row, "children": []})

    done = shell.run("convert", "dump.json")

    assert done.returncode == 0
    assert "status" not in done.stdout
    assert done.stderr.splitlines() == [
        "dump.json: left out: status, result (what happened there; here every task begins anew)",
        "dump.json: left out: max_attempts (write it as `retry` of the task)",
    ]


def test_what_is_wrong_is_shown_at_its_place(shell: Shell) -> None:
    array = '[\n {"id": "a"},\n {"id": "b", "dependencies": [{"id": "c"}]}\n]'
    shell.write("bad.json", array)

    done = shell.run("convert", "bad.json", "-O", "bad.yaml")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("bad.json:3:")
    assert "'c'" in done.stderr
    assert not (shell.directory / "bad.yaml").exists()


def test_a_file_that_is_not_there_is_named(shell: Shell) -> None:
    done = shell.run("convert", "nothing.json")

    assert (done.returncode, done.stderr) == (1, "error: nothing.json: No such file or directory\n")


def test_what_would_be_too_large_as_yaml_is_json(shell: Shell) -> None:
    large = [{"id": f"t{at}", "inputs": {"text": "x" * 60_000}} for at in range(20)]
    shell.write("large.json", large)

    as_text = shell.run("convert", "large.json")
    as_json = shell.run("convert", "large.json", "-o", "json")

    assert (as_text.returncode, as_text.stdout) == (2, "")
    assert "use JSON" in as_text.stderr
    assert (as_json.returncode, len(json.loads(as_json.stdout)["tasks"])) == (0, 20)


WORDS: Final = ["no", "null", "~", "1e3", "0x1f", "1_000", "2026-01-01", "=", "<<", "'", '"', "\\"]
LINES: Final = ["a\nb", "a\n", "\na", " a\nb", "a \nb", "\ta\n", "a\n\n\n", "\n", "a\r\nb", "\x85"]
SIGNS: Final = ["{a", "[b", "&a", "*a", "!a", "|", ">", "%a", "@a", "`a", "a\ta", "- a"]
MORE: Final = ["a: b", "# a", "a #b", "${{ inputs.a }}", " a", "a ", "\u2028", "\ufeff", ""]
TEXT: Final = st.text(max_size=30) | st.sampled_from([*WORDS, *LINES, *SIGNS, *MORE])
VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(TEXT, VALUES, max_size=4))
def test_any_value_is_read_as_it_was_written(inputs: dict[str, Any]) -> None:
    document = {"name": "a", "tasks": [{"id": "a", "inputs": inputs}]}

    assert parse_yaml(as_yaml(document)) == document
