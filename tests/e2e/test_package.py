"""What is shipped: the wheel has the package, the sdist what builds and tests it."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def tracked(folder: str) -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(listed.stdout.splitlines())


def test_wheel_and_sdist_hold_the_files_of_the_tree(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [wheel], [sdist] = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = {name for name in archive.namelist() if ".dist-info/" not in name}
    with tarfile.open(sdist) as archive:
        in_sdist = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}

    package = {name.removeprefix("src/") for name in tracked("src")}
    assert in_wheel == package
    shipped = [tracked(folder) for folder in ("src", "tests", "examples", "benchmarks")]
    assert set().union(*shipped) <= in_sdist
    assert not any(name.startswith(("workflows/", "activities/", "client/")) for name in in_sdist)
