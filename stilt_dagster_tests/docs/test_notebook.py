"""The notebook of examples/, run from its first cell to its last."""

from __future__ import annotations

import base64
from pathlib import Path

import matplotlib.image
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from stilt_dagster_tests.conftest import ROOT

NOTEBOOK = ROOT / "examples/scene.ipynb"


@pytest.mark.slow
def test_the_notebook_runs_to_its_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    pictures = [o["data"]["image/png"] for o in shown if "image/png" in o.get("data", {})]
    (tmp_path / "picture.png").write_bytes(base64.b64decode(pictures[0]))
    assert np.unique(matplotlib.image.imread(tmp_path / "picture.png").reshape(-1, 4), axis=0).shape[0] > 100
    assert "ppm" in shown[-1]["text"]


def test_it_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
