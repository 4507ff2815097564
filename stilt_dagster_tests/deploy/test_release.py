"""What a release is: one version, a changelog, a wheel that holds the package alone and runs without the repository."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

from stilt_dagster import __version__
from stilt_dagster_tests.conftest import ROOT

RELEASE = ROOT / ".ci" / "release.py"
BASE = f"stilt_dagster-{__version__}"


def run(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False, **options)


def release(*arguments: object) -> tuple[int, str]:
    done = run(sys.executable, RELEASE, *arguments)
    return done.returncode, done.stderr or done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheel and source distribution, as `make wheel` builds them."""
    directory = tmp_path_factory.mktemp("dist")
    done = run(sys.executable, "-m", "build", "--no-isolation", "--outdir", directory, cwd=ROOT)
    assert done.returncode == 0, done.stderr + done.stdout
    return directory


def test_one_version() -> None:
    chart = yaml.safe_load((ROOT / "deploy/chart/Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] in (__version__, "Unreleased")


def test_a_tag_is_the_version_and_has_a_section() -> None:
    code, said = release("check", "v9.9.9")
    assert code == 2
    assert f"the tag is v9.9.9, the version {__version__}" in said
    code, said = release("notes")
    assert code == 0
    assert release("check", f"v{__version__}")[0] == (0 if said else 2)
    assert release("sign") == (2, "error: cannot do sign: check TAG, notes, or dist DIRECTORY\n")


def test_the_files_of_a_release_hold_the_package_alone(dist: Path, tmp_path: Path) -> None:
    assert release("dist", dist) == (0, "")
    checked = run(sys.executable, "-m", "twine", "check", "--strict", *dist.iterdir())
    assert checked.returncode == 0, checked.stdout
    wheel = dist / f"{BASE}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    assert "stilt_dagster/science/costs/prices.yaml" in held
    assert not any(data.startswith(b"\x7fELF") for data in held.values()), "hycs_std comes with pystilt"
    assert ROOT.as_posix().encode() not in b"".join(held.values())
    other = tmp_path / "other"
    other.mkdir()
    (other / f"{BASE}.tar.gz").write_bytes((dist / f"{BASE}.tar.gz").read_bytes())
    with zipfile.ZipFile(other / wheel.name, "w") as archive:
        for name, data in held.items():
            if name != "stilt_dagster/demo/scene.yaml":
                archive.writestr(name, data)
        archive.writestr("stilt_dagster/scratch.py", "")
    code, said = release("dist", other)
    assert code == 2
    assert "lacks stilt_dagster/demo/scene.yaml" in said
    assert "holds stilt_dagster/scratch.py, which is none of the package" in said
    (tmp_path / "empty").mkdir()
    assert "holds nothing" in release("dist", tmp_path / "empty")[1]


@pytest.mark.slow
def test_the_wheel_runs_the_demo_without_the_repository(dist: Path, tmp_path: Path) -> None:
    """Its dependencies are this environment's; the package is the wheel's. `make release-check` installs these, too."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run(python, "-c", where).stdout.strip())
    installed = run(
        sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet",
        dist / f"{BASE}-py3-none-any.whl",
    )  # fmt: skip
    assert installed.returncode == 0, installed.stderr
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("STILT_", "PYTHON", "DAGSTER_"))}
    places = {"STILT_STORE": "store", "DAGSTER_HOME": "home", "TMPDIR": "tmp"}
    env = {**clean, **{name: str(tmp_path / folder) for name, folder in places.items()}}
    (tmp_path / "tmp").mkdir()
    found = run(python, "-c", "import stilt_dagster; print(stilt_dagster.__file__)", env=env, cwd=tmp_path)
    assert Path(found.stdout.strip()).is_relative_to(home), found.stderr
    command = home / "bin" / "stilt-dagster"
    assert run(command, "--version", env=env, cwd=tmp_path).stdout.strip() == __version__
    done = run(command, "demo", "--json", env=env, cwd=tmp_path, timeout=1500)
    assert done.returncode == 0, done.stderr[-2000:]
    status = json.loads(done.stdout)
    assert status["ok"] == status["receptors"] > 0
    assert {a["state"] for a in status["assets"].values()} == {"ready"}
