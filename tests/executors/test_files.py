"""`file_read` and `file_write` on real files; nothing outside the operator's folder is touched."""

import asyncio
import base64
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.executors.running import cancel_one, run_one

from regrow import Status, TreeClient
from regrow.activities.catalogue.content import MAX_CONTENT
from regrow.activities.catalogue.files import FileContent, FileWritten, file_read, file_write
from regrow.activities.threads import ExecutorThreads
from regrow.executors import Registry, TaskContext, TaskError

FILES = Registry(file_read, file_write)
SECRET = "s3cr3t-value-of-the-test"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the operator named."""
    folder = tmp_path / "root"
    folder.mkdir()
    monkeypatch.setenv("REGROW_FILE_ROOT", str(folder))
    return folder


def read(path: str, **inputs: Any) -> FileContent:
    """Call as the host does: with JSON."""
    return FILES["file_read"].call({"path": path, **inputs}, TaskContext())


def write(path: str, content: Any, **inputs: Any) -> FileWritten:
    return FILES["file_write"].call({"path": path, "content": content, **inputs}, TaskContext())


def refusal(executor: str, **inputs: Any) -> TaskError:
    with pytest.raises(TaskError) as raised:
        FILES[executor].call(inputs, TaskContext())
    return raised.value


def names(folder: Path) -> list[str]:
    """Give all that is there, hidden files too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# What is read


@pytest.mark.parametrize(
    ("name", "raw", "content", "encoding"),
    [
        ("a.json", b'{"n": [1, null]}', {"n": [1, None]}, "json"),
        ("a.JSON", b"\xef\xbb\xbfnull", None, "json"),
        ("a.json", b"{broken", "{broken", "text"),
        ("a.json", b"NaN", "NaN", "text"),
        ("a.txt", b"7", "7", "text"),
        ("a.txt", "Grüße\r\n".encode(), "Grüße\r\n", "text"),
        ("a.txt", b"", "", "text"),
        ("a.bin", b"a\0b", "YQBi", "base64"),
        ("a.bin", b"\xff\xfe", "//4=", "base64"),
    ],
)
def test_a_file_is_read_as_what_it_is(
    name: str, raw: bytes, content: Any, encoding: str, root: Path
) -> None:
    (root / name).write_bytes(raw)

    result = read(name)

    assert (result.content, result.encoding, result.size) == (content, encoding, len(raw))


@pytest.mark.parametrize(
    ("raw", "lines"),
    [(b"a\nb\n", ["a", "b"]), (b"a\r\n\nb", ["a", "", "b"]), (b"", []), (b"\n", [""])],
)
def test_lines_are_a_list(raw: bytes, lines: list[str], root: Path) -> None:
    (root / "list").write_bytes(raw)

    assert read("list", encoding="lines").content == lines


@pytest.mark.parametrize(
    ("encoding", "problem"),
    [
        ("json", "'x' isn't JSON"),
        ("text", "'x' isn't text in UTF-8; encoding: base64 reads any bytes"),
        ("lines", "'x' isn't text in UTF-8; encoding: base64 reads any bytes"),
    ],
)
def test_a_file_that_is_something_else_fails_for_good(
    encoding: str, problem: str, root: Path
) -> None:
    (root / "x").write_bytes(b"\xff")

    refused = refusal("file_read", path="x", encoding=encoding)

    assert (refused.error_type, refused.error) == ("content_error", problem)
    assert not refused.retryable


def test_a_part_is_read_by_offset_and_length(root: Path) -> None:
    (root / "large").write_bytes(b"0123456789" * 300_000)

    part = read("large", offset=2_999_995, length=100)

    assert (part.content, part.size) == ("56789", 3_000_000)
    assert read("large", length=3).content == "012"
    assert read("large", offset=5_000_000).content == ""


def test_a_large_file_is_refused_with_what_to_do(root: Path) -> None:
    (root / "large").write_bytes(b"x" * (MAX_CONTENT + 1))

    refused = refusal("file_read", path="large")

    assert (refused.error_type, refused.retryable) == ("payload_too_large", False)
    assert refused.error == (
        "'large' takes 1,048,577 bytes; at most 1,048,576 are read at once. Read it in parts, by"
        " offset and length"
    )
    assert len(str(read("large", offset=1).content)) == MAX_CONTENT


# What is written


@pytest.mark.parametrize(
    ("content", "encoding", "raw"),
    [
        ("Grüße", "auto", "Grüße".encode()),
        ({"ü": [1]}, "auto", '{\n  "ü": [\n    1\n  ]\n}\n'.encode()),
        (None, "auto", b"null\n"),
        ("text", "json", b'"text"\n'),
        (["a", ""], "lines", b"a\n\n"),
        (base64.b64encode(b"\0\xff").decode(), "base64", b"\0\xff"),
    ],
)
def test_content_is_written_as_its_encoding_says(
    content: Any, encoding: str, raw: bytes, root: Path
) -> None:
    result = write("new", content, encoding=encoding)

    assert (root / "new").read_bytes() == raw
    assert result.size == len(raw)
    assert result.sha256 == read("new").sha256


@pytest.mark.parametrize(
    ("content", "encoding", "needs"),
    [
        (7, "text", "it must be a text"),
        ("a", "lines", "it must be a list of texts without line breaks"),
        (["a\nb"], "lines", "it must be a list of texts without line breaks"),
        ("a*b", "base64", "it must be base64"),
        (["a"], "base64", "it must be base64"),
    ],
)
def test_content_that_does_not_fit_is_refused(
    content: Any, encoding: str, needs: str, root: Path
) -> None:
    refused = refusal("file_write", path="new", content=content, encoding=encoding)

    assert refused.error_type == "content_error"
    assert refused.error == f"the content cannot be written as {encoding}: {needs}"
    assert names(root) == []


def test_what_is_read_can_be_written_as_it_was(root: Path) -> None:
    for name, raw in {"a.json": b'"x"\n', "b.txt": b"x\r\n", "c": b"\0"}.items():
        (root / name).write_bytes(raw)
        result = read(name)
        write(f"copy-{name}", result.content, encoding=result.encoding)

        assert (root / f"copy-{name}").read_bytes() == raw


def test_folders_on_the_way_are_made(root: Path) -> None:
    write("a/b/c.txt", "x")
    write("a/b/d.txt", "y")

    assert names(root) == ["a", "a/b", "a/b/c.txt", "a/b/d.txt"]


def test_a_write_takes_the_place_of_a_file_and_may_be_repeated(root: Path) -> None:
    first, second, third = (write("a", text) for text in ("old", "new", "new"))

    assert (root / "a").read_text() == "new"
    assert first != second == third
    assert names(root) == ["a"]


def test_create_leaves_other_content_as_it_is_and_is_content_with_the_same(root: Path) -> None:
    write("a", "mine", mode="create")
    write("a", "mine", mode="create")
    refused = refusal("file_write", path="a", content="other", mode="create")

    assert (refused.error_type, refused.retryable) == ("already_exists", False)
    assert refused.error == (
        "there is a file 'a' with other content; mode: replace would replace it"
    )
    assert (root / "a").read_text() == "mine"
    assert names(root) == ["a"]


async def test_many_writers_of_one_file_leave_the_whole_of_one(root: Path) -> None:
    texts = [str(n) * 200_000 for n in range(8)]
    await asyncio.gather(*(asyncio.to_thread(write, "a", text) for text in texts))

    assert (root / "a").read_text() in texts
    assert names(root) == ["a"]


# Where it may not go


@pytest.mark.parametrize("executor", ["file_read", "file_write"])
def test_without_a_folder_of_the_operator_there_are_no_files(
    executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REGROW_FILE_ROOT")

    refused = refusal(executor, path="a", content="")

    assert (refused.error_type, refused.retryable) == ("not_allowed", False)
    assert refused.error == (
        "this worker reads and writes no files; its operator names a folder for them by"
        " REGROW_FILE_ROOT"
    )


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../outside", "a/../../outside", "a/..", "", ".", "a//b", "a/", "a\0b"]
)
@pytest.mark.parametrize("executor", ["file_read", "file_write"])
def test_a_path_that_leads_elsewhere_is_refused(executor: str, path: str, root: Path) -> None:
    refused = refusal(executor, path=path, content="")

    assert refused.error_type == "validation_error"
    assert refused.error == (
        f"{executor} was given invalid inputs: path: write a path like reports/may.json: no slash"
        " at its ends, no '.' or '..'"
    )
    assert names(root.parent) == ["root"]


@pytest.mark.parametrize("executor", ["file_read", "file_write"])
@pytest.mark.parametrize("path", ["link", "folder/secret", "inner/secret"])
def test_symbolic_links_are_not_followed(executor: str, path: str, root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "secret").write_text(SECRET)
    (root / "link").symlink_to(outside / "secret")
    (root / "folder").symlink_to(outside)
    (root / "inner").symlink_to(root)

    refused = refusal(executor, path=path, content="changed")

    assert (refused.error_type, refused.retryable) == ("not_allowed", False)
    assert refused.error == (
        f"'{path.partition('/')[0]}' is a symbolic link, which is not followed here; name what it"
        " leads to"
    )
    assert (outside / "secret").read_text() == SECRET
    assert names(outside) == ["secret"]


def test_a_link_that_is_made_in_between_leads_nowhere(root: Path) -> None:
    outside, inside, kept = root.parent / "outside", root / "folder", root / "kept"
    for folder in (outside, inside):
        folder.mkdir()
        (folder / "a").write_text(folder.name)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            inside.rename(kept)
            inside.symlink_to(outside)
            inside.unlink()
            kept.rename(inside)

    swapping = threading.Thread(target=swap)
    swapping.start()
    seen = {_content_or_error("folder/a") for _ in range(1_000)}
    stop.set()
    swapping.join()

    assert seen <= {"folder", "not_allowed", "not_found", "file_error"}
    assert "folder" in seen


def _content_or_error(path: str) -> Any:
    try:
        return read(path).content
    except TaskError as error:
        return error.error_type


@pytest.mark.parametrize("executor", ["file_read", "file_write"])
def test_pipes_sockets_and_folders_are_no_files(
    executor: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(root / "pipe")
    (root / "folder").mkdir()
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        refused = {
            name: refusal(executor, path=name, content="") for name in ("pipe", "socket", "folder")
        }

    assert {each.error_type for each in refused.values()} == {"not_allowed"}
    assert refused["pipe"].error == (
        "'pipe' is a device, a pipe or a socket; only plain files are read and written here"
    )
    assert refused["folder"].error.startswith("'folder' is a folder; ")
    assert names(root) == ["folder", "pipe", "socket"]


# Failures


def test_a_file_that_is_not_there_fails_for_good() -> None:
    refused = refusal("file_read", path="a/b.txt")

    assert (refused.error_type, refused.retryable) == ("not_found", False)
    assert refused.error == "there is no file 'a/b.txt'"


@pytest.mark.parametrize("path", ["file/inner", "x" * 256])
def test_a_name_that_cannot_be_fails_for_good(path: str, root: Path) -> None:
    (root / "file").write_text("")

    refused = refusal("file_write", path=path, content="")

    assert (refused.error_type, refused.retryable) == ("file_error", False)
    assert refused.error.startswith(f"cannot use the file '{path}': ")
    assert names(root) == ["file"]


def test_a_folder_of_the_operator_that_is_not_there_is_said_without_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REGROW_FILE_ROOT", "/no/such/folder")

    refused = refusal("file_read", path="a")

    assert (refused.error_type, refused.retryable) == ("file_error", False)
    assert refused.error == (
        "this worker cannot use the folder of REGROW_FILE_ROOT: No such file or directory"
    )


def test_a_system_that_is_short_of_something_is_worth_another_attempt(root: Path) -> None:
    code = (
        "import resource\n"
        "from regrow.activities.catalogue.files import *\n"
        "from regrow.executors import TaskError\n"
        "from regrow.settings import load_settings\n"
        "load_settings()\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4))\n"
        "try:\n"
        "    file_write(FileWrite(path='a', content='x'))\n"
        "except TaskError as error:\n"
        "    print(error.error_type, error.retryable, error.error)\n"
    )

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout == "file_error True cannot use the file 'a': Too many open files\n"
    assert names(root) == []


# Cancels


# One that comes between the opening of a file and its `with` leaves closing it to the interpreter.
@pytest.mark.filterwarnings("ignore:.*unclosed file.*", "ignore:Exception ignored")
async def test_a_cancel_at_any_moment_leaves_the_old_file_or_the_new_one(root: Path) -> None:
    old, new = "old" * 100_000, "new" * 300_000
    async with ExecutorThreads(4) as threads:
        for n in range(100):
            write("a", old)
            execution = threads.call_sync(lambda: write("a", new))
            running = asyncio.create_task(execution.result(20, "file_write"))
            await asyncio.sleep(n / 20_000)
            running.cancel()
            await asyncio.wait([running])

            assert (root / "a").read_text() in (old, new)
            assert names(root) == ["a"]


# Through a tree


async def test_a_tree_writes_and_reads(client: TreeClient) -> None:
    written = await run_one(client, "file_write", {"path": "x/a.json", "content": {"n": 1}})
    ended = await run_one(client, "file_read", {"path": "x/a.json"})

    assert ended.result["content"] == {"n": 1}
    assert ended.result["sha256"] == written.result["sha256"]


async def test_what_is_not_allowed_is_tried_once(client: TreeClient, root: Path) -> None:
    (root / "link").symlink_to("/etc/hostname")

    ended = await run_one(client, "file_read", {"path": "link"})
    written = await run_one(client, "file_write", {"path": "link", "content": ""})

    assert ended.failure == written.failure == ("not_allowed", 1)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that gives EIO")
async def test_a_failing_device_is_tried_again(
    client: TreeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_FILE_ROOT", "/proc/self")

    ended = await run_one(client, "file_read", {"path": "mem"})

    assert ended.failure == ("file_error", 3)
    assert ended.task.error == "cannot use the file 'mem': Input/output error"


async def test_a_cancelled_write_leaves_nothing_half_done(client: TreeClient, root: Path) -> None:
    async def begun() -> None:
        await asyncio.sleep(0.01)

    inputs = {"path": "a", "content": "x" * 1_000_000}
    ended = await cancel_one(client, "file_write", inputs, when=begun)

    assert ended.task.status in (Status.CANCELLED, Status.COMPLETED)
    assert await asyncio.to_thread(_settled, root) in ([], [1_000_000])


def _settled(folder: Path) -> list[int]:
    """Give the sizes of the files once no temporary one is left; a thread may clean up late."""
    until = time.monotonic() + 10
    while any(name.endswith(".tmp") for name in names(folder)) and time.monotonic() < until:
        time.sleep(0.05)
    return [path.stat().st_size for path in folder.iterdir()]


async def test_a_secret_is_written_and_stays_out_of_history_and_logs(
    client: TreeClient, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_SECRET_TOKEN", SECRET)

    inputs = {"path": "a", "content": "${{ secrets.TOKEN }}"}
    ended = await run_one(client, "file_write", inputs)

    assert ended.task.status is Status.COMPLETED
    assert (root / "a").read_text() == SECRET
    assert SECRET not in ended.traces
