"""The README's own snippets, run on a finished scene."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from stilt_dagster.science.scenes.loading import load_scene
from stilt_dagster_tests.conftest import ROOT, Project

README = (ROOT / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.S)
SCENES = re.findall(r"```yaml\n(.*?)```", README, re.S)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=["jacobian", "footprints", "particles"])
def test_snippets_run(snippet: str, finished: Project) -> None:
    code = snippet.replace("demo-20230715t1830", "valley-20230715t0920").replace("data/", f"{finished.store}/")
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("text", SCENES, ids=["source", "directory"])
def test_scenes_are_valid(text: str, tmp_path: Path) -> None:
    (tmp_path / "scene.yaml").write_text(text)
    scene = load_scene(tmp_path / "scene.yaml")
    assert scene.id in README or scene.name == "wbb"


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"
