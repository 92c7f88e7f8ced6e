"""The executors of the approval example: package a site, publish it."""

from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from pydantic import BaseModel

from regrow import TaskContext, TaskError, executor_register

HERE: Final = Path(__file__).resolve().parent


class Site(BaseModel):
    """A folder, relative to this example, and the archive it goes into."""

    folder: Path
    archive: Path


class Package(BaseModel):
    """An archive and what identifies it."""

    archive: Path
    files: int
    sha256: str


class Tests(BaseModel):
    """What the tests said."""

    passed: int
    failed: int


class Release(BaseModel):
    """What is published, where, and on whose word."""

    archive: Path
    sha256: str
    public: Path
    tests: Tests
    approved_by: str | None = None


class Published(BaseModel):
    """Where the release lies; `public/current` points to it."""

    folder: Path


@executor_register()
def package_site(inputs: Site) -> Package:
    """Put every file of a folder into an archive; the same files give the same bytes."""
    source = HERE / inputs.folder
    files = sorted(path for path in source.rglob("*") if path.is_file())
    if not files:
        raise TaskError(f"{source} has no files", error_type="nothing_to_publish")
    part = inputs.archive.with_name(f"{inputs.archive.name}.part")
    with ZipFile(part, "w", ZIP_DEFLATED) as archive:
        for path in files:  # without their dates, which would change the bytes
            archive.writestr(ZipInfo(path.relative_to(source).as_posix()), path.read_bytes())
    part.replace(inputs.archive)
    return Package(archive=inputs.archive, files=len(files), sha256=_digest(inputs.archive))


@executor_register()
def publish_site(inputs: Release, context: TaskContext) -> Published:
    """Unpack what was approved, and nothing else, then point `current` to it in one step."""
    if _digest(inputs.archive) != inputs.sha256:
        raise TaskError(f"{inputs.archive} isn't what was approved", error_type="archive_changed")
    folder = inputs.public / sha256(context.idempotency_key.encode()).hexdigest()[:12]
    inputs.public.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=inputs.public, prefix=".part-") as part:
        unpacked = Path(part, "site")
        with ZipFile(inputs.archive) as archive:
            archive.extractall(unpacked)
        (unpacked / "release.json").write_text(inputs.model_dump_json(indent=2), encoding="utf-8")
        if not folder.exists():  # else an earlier attempt came this far
            unpacked.replace(folder)
        link = Path(part, "current")
        link.symlink_to(folder.name)
        link.replace(inputs.public / "current")
    context.log.info("site.published", folder=str(folder))
    return Published(folder=folder)


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
