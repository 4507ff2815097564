"""What brings a commit to a cluster: workflows and scripts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from stilt_dagster_tests.conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROGRAMS = Path(sys.executable).parent


def scripts() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    return [f for f in files if f.stat().st_mode & 0o100 and f.read_bytes()[:20].startswith(b"#!")]


def test_workflows_pass_zizmor() -> None:
    done = subprocess.run([PROGRAMS / "zizmor", "--offline", ".github"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_workflows_run_what_is_pinned_with_no_right_they_do_not_name() -> None:
    assert len(WORKFLOWS) == 3
    for path in WORKFLOWS:
        workflow = yaml.safe_load(path.read_text())
        assert workflow["permissions"] == {}, path
        used = re.findall(r"uses: (\S+)", path.read_text())
        assert used
        assert all(re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", name) for name in used), used
        assert "secrets." not in path.read_text(), "there is no key to store"


def test_scripts_pass_shellcheck() -> None:
    shell = [s for s in scripts() if b"bash" in s.read_bytes().split(b"\n", 1)[0]]
    assert {"deploy", "build-image", "build_kubernetes.sh", "run"} <= {s.name for s in shell}
    done = subprocess.run([PROGRAMS / "shellcheck", *shell], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "which environment"),
        (["staging"], "which environment"),
        (["../values/dev"], "which environment"),
        (["dev"], "is not installed"),
    ],
)
def test_a_deploy_that_cannot_be(arguments: list[str], says: str, tmp_path: Path) -> None:
    """One line, before anything is touched; here with a PATH that has nothing of a cloud."""
    for tool in ("bash", "dirname", "env", "mktemp", "rm"):
        found = subprocess.run(["which", tool], capture_output=True, text=True, check=True).stdout.strip()
        (tmp_path / tool).symlink_to(found)
    done = subprocess.run(
        [ROOT / "deploy" / "deploy", *arguments], capture_output=True, text=True, env={"PATH": str(tmp_path)}
    )
    assert done.returncode == 2
    [line] = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert says in line
