"""The notebooks of examples/, run from their first cells to their last."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import matplotlib.image
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from stilt_dagster_tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[nbformat.NotebookNode]:
    """Run a notebook, whose assertions stop it where they do not hold, and return what its cells show."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(ROOT / "examples" / name, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def colours(picture: str) -> int:
    """Return how many colours a PNG has, of base64 as notebooks keep it."""
    pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(picture)), format="png")
    return np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0).shape[0]


@pytest.mark.slow
def test_a_scene_runs_to_its_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run("scene.ipynb", tmp_path, monkeypatch)
    assert colours(next(o["data"]["image/png"] for o in shown if "image/png" in o.get("data", {}))) > 100
    assert "ppm" in shown[-1]["text"]


@pytest.mark.slow
def test_an_inversion_finds_the_flux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asserts its skill, its uncertainty, and that fips finds the same; here, that it says so."""
    shown = run("inversion.ipynb", tmp_path, monkeypatch)
    said = "".join(o.get("text", "") for o in shown)
    prior, posterior = map(float, re.findall(r"RMSE +prior ([0-9.]+), posterior ([0-9.]+)", said)[0])
    assert 0 < posterior < prior / 2
    assert re.search(r"largest difference of a flux: \d+e-(0[7-9]|1\d)", said)
    assert [colours(o["data"]["image/png"]) > 100 for o in shown if "image/png" in o.get("data", {})] == [True, True]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_they_are_kept_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
