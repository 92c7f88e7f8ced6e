"""Somebody who reads a page and does all that it says; and how what is not run is read."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any, Final, cast

import typer.main
from tests.docs.driver import compiled
from tests.docs.interpreter import Interpreter
from tests.docs.pages import Block, Step, parse_yaml, shell_code, steps_of
from tests.docs.terminal import Terminal, agrees, done, without_server
from tests.e2e.command import free_port

from regrow.cli.main import app
from regrow.client import read_document

FILES: Final = ("yaml", "json", "toml", "python", "sh", "dockerfile", "ini", "csv", "text")
LANGUAGES: Final = (*FILES, "console", "bash")
TROUBLE: Final = re.compile(r"(?i)error|fail|cancel|refuse|problem|invalid|✘|:\d+:\d+:|still runs")
"""What a command shows that may end with another code than 0."""

COMMAND: Final = typer.main.get_command(app)


class Reader:
    """Somebody who does all that a page says, in its order."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.env = without_server(directory)
        self.terminal = Terminal(directory, free_port(), self.env)
        self._python: Interpreter | None = None

    def do(self, block: Block) -> None:
        if block.reason:
            check(block, self.directory)
        elif block.title:
            path = self.directory / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.language == "console":
            for step in steps_of(block):
                self._type(step)
        elif block.language == "sh":
            self._source(block)
        elif block.language == "python":
            trouble = self._interpreter().run(block)
            assert trouble is None, f"{block.place}\n{trouble}"
        else:
            check(block, self.directory)

    def close(self) -> None:
        if self._python:
            self._python.close()
        self.terminal.close()

    def _type(self, step: Step) -> None:
        code, output = done(self.terminal, step)
        said = f"{step.place}: $ {step.typed}\n{output}\nthe page shows\n{step.shown}"
        assert agrees(step, output), said
        assert code == 0 or TROUBLE.search(step.shown), f"it ends with {code}\n{said}"

    def _source(self, block: Block) -> None:
        for part in re.split(r"(?m)^(.* &)$", block.text):
            if part.endswith(" &"):
                self.terminal.type(Step(part, ""))
            else:
                code, output = self.terminal.source(part)
                assert code == 0, f"{block.place}: ends with {code}\n{output}"

    def _interpreter(self) -> Interpreter:
        if self._python is None:
            env = {**self.env, "TEMPORAL_ADDRESS": self.terminal.address}
            self._python = Interpreter(self.directory, env)
        return self._python


def check(block: Block, directory: Path) -> None:
    """Look at a block without running it."""
    if block.language in ("yaml", "json"):
        check_data(block, directory)
    elif block.language == "toml":
        tomllib.loads(block.text)
    elif block.language == "python":
        compiled(block.page, block.line, block.text)
    elif code := shell_code(block):
        read = subprocess.run(
            ["bash", "-n"], input=code, capture_output=True, text=True, check=False
        )
        assert read.returncode == 0, f"{block.place}\n{read.stderr}"


def check_data(block: Block, directory: Path) -> None:
    documents = parse_yaml(block.text) if block.language == "yaml" else [json.loads(block.text)]
    for document in documents:
        if not isinstance(document, dict):
            continue
        if "tasks" in document and not block.title:
            path = directory / f".tree.{block.language}"
            path.write_text(block.text)
            read_document(path).tree()
        if "services" in document:
            check_compose(block, directory)


def check_compose(block: Block, directory: Path) -> None:
    program = shutil.which("docker-compose")
    if program is None:
        return
    path = directory / ".compose.yaml"
    path.write_text(block.text)
    read = subprocess.run(
        [program, "-f", str(path), "config", "-q"], capture_output=True, text=True, check=False
    )
    assert read.returncode == 0, f"{block.place}\n{read.stderr}"


def refusal_of(words: list[str]) -> str | None:
    """Say why `regrow` would not take these words, if it would not; nothing is run."""
    command = cast("Any", COMMAND)
    rest = list(words)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        if name not in command.commands:
            return f"there is no command '{name}'"
        command = command.commands[name]
    if any(option in rest for option in ("--help", "-h", "--version")):
        return None
    try:
        command.make_context(command.name, rest)
    except Exception as error:  # noqa: BLE001 - whatever it is, the command would end with it
        return str(error) or repr(error)
    return None
