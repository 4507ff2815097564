"""R reads a scene's file: the lines of the guide and of the report, run as they stand."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from jinja2 import Environment, PackageLoader

from stilt_dagster import open_jacobian
from stilt_dagster_tests.conftest import Project
from stilt_dagster_tests.docs.pages import DOCS, blocks

SCENE = "valley-20230715t0920"


def has_r() -> bool:
    """Return whether R is here, with the packages that its lines need."""
    wanted = ["Rscript", "-e", "library(Matrix); library(ncdf4)"]
    return shutil.which("Rscript") is not None and subprocess.run(wanted, capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not has_r(), reason="no R here with its packages Matrix and ncdf4: .ci/run installs it")


def run_r(directory: Path, lines: str) -> str:
    """Run some lines of R."""
    (directory / "read.R").write_text(lines)
    done = subprocess.run(["Rscript", "read.R"], cwd=directory, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_guides_lines_multiply_as_the_matrix_does(finished: Project, tmp_path: Path) -> None:
    (lines,) = (b.text for b in blocks(DOCS / "how-to" / "inversion-codes.md") if b.title == "read.R")
    matrix = open_jacobian(finished.store / "jacobian" / f"{SCENE}.nc")
    flux = np.random.default_rng(1).random(matrix.shape[1])
    matrix.flux_array(flux).to_netcdf(tmp_path / "flux.nc")
    (tmp_path / "store").symlink_to(finished.store)
    run_r(tmp_path, lines.replace("plume-20230715-o29807", SCENE))
    np.testing.assert_allclose(np.loadtxt(tmp_path / "enhancement.txt"), matrix.matvec(flux), rtol=1e-6)


def test_the_reports_lines_run(finished: Project) -> None:
    page = Environment(loader=PackageLoader("stilt_dagster.science.report", "template"), autoescape=True)
    lines = page.get_template("load.r.txt").render(scene={"id": SCENE}, axes=("lat", "lon"))
    matrix = open_jacobian(finished.store / "jacobian" / f"{SCENE}.nc")
    printed = run_r(finished.store, lines)
    np.testing.assert_allclose(float(printed.split()[-1]), matrix.obs["row_sum"].mean(), rtol=1e-5)
