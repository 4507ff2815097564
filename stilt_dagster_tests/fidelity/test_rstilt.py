"""R STILT's own runs, done again through the command line, the store and its files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from stilt_dagster.science.transport.particle_files import read_particles
from stilt_dagster_tests.conftest import SHARED, Project

CASES = SHARED / "reference" / "rstilt"
NAMES = sorted(p.name for p in CASES.iterdir()) if CASES.is_dir() else []

pytestmark = pytest.mark.skipif(not NAMES, reason="the R STILT runs of ../shared/reference are not here")


def setup_of(case: Path) -> dict[str, str]:
    return {k.lower(): v for k, v in re.findall(r"(\w+)=(.*),", (case / "SETUP.CFG").read_text())}


def scene_of(case: Path) -> dict:
    """Return a reference run as a scene: its CONTROL, its SETUP.CFG, and the grid of its footprint."""
    lines = (case / "CONTROL").read_text().splitlines()
    year, month, day, hour, minute = map(int, lines[0].split())
    n = int(lines[1])
    points = [tuple(map(float, line.split())) for line in lines[2 : 2 + n]]
    setup = setup_of(case)
    foot = xr.open_dataset(case / "foot.nc")
    xres, yres = (round(float(np.diff(foot[a].values[:2])[0]), 6) for a in ("lon", "lat"))
    lat, lon, height = (list(v) if n > 1 else v[0] for v in zip(*points, strict=True))
    names = ("numpar", "krand", "kmix0", "frvs", "veght", "hscale", "delt", "tratio", "kmixd", "kbls", "kblt", "k10m")
    return {
        "name": f"r-{case.name}",
        "time": f"20{year:02d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:00Z",
        "receptors": {"grid": None, "points": [{"longitude": lon, "latitude": lat, "height": height}]},
        "transport": {
            "n_hours": int(lines[2 + n]),
            "seed": "none",
            "hnf_plume": "foot_no_hnf_dilution" in pd.read_parquet(case / "traj.parquet").columns,
            **{k: float(setup[k]) for k in names},
        },
        "footprint": {
            "xmin": round(float(foot.lon[0]) - xres / 2, 6),
            "xmax": round(float(foot.lon[-1]) + xres / 2, 6),
            "xres": xres,
            "ymin": round(float(foot.lat[0]) - yres / 2, 6),
            "ymax": round(float(foot.lat[-1]) + yres / 2, 6),
            "yres": yres,
            "time_integrate": foot.sizes["time"] == 1,
        },
        "meteorology": {"crop": False},
    }


@pytest.mark.parametrize("name", NAMES)
def test_particles_and_footprint_are_r_stilts(name: str, project: Project, hrrr: Path) -> None:
    case = CASES / name
    project.meteorology = hrrr
    project.cli("scene", "add", project.scene_file(**scene_of(case)))
    scene = project.cli("scene", "list").stdout.strip()
    project.cli("scene", "run", scene)

    (part,) = project.store.glob(f"trajectories/{scene}/*/part-*.parquet")
    ours = read_particles(part).sort_values(["age", "particle"], ascending=[False, True], ignore_index=True)
    theirs = pd.read_parquet(case / "traj.parquet").sort_values(
        ["time", "indx"], ascending=[False, True], ignore_index=True
    )
    assert len(ours) == len(theirs)
    assert np.array_equal(ours.lon, theirs.long)
    assert np.array_equal(ours.lat, theirs.lati)
    np.testing.assert_allclose(ours.foot, theirs.foot, rtol=1e-6)
    if "foot_no_hnf_dilution" in theirs:
        assert np.array_equal(ours.foot_no_hnf_dilution, theirs.foot_no_hnf_dilution)
    else:
        assert np.array_equal(ours.foot, theirs.foot)

    (part,) = project.store.glob(f"footprints/{scene}/*/part-*.nc")
    foot, reference = xr.open_dataset(part), xr.open_dataset(case / "foot.nc")
    layers = foot.foot.isel(receptor=0).sortby("hour")[-reference.sizes["time"] :]
    worst = np.abs(layers.values - reference.foot.values).max() / reference.foot.values.max()
    print(f"{name}: {len(ours)} rows equal, footprint within {worst:.1e} of the maximum")
    assert worst < 1e-6


def test_control_and_setup_are_r_stilts(tmp_path: Path) -> None:
    """Every namelist entry R STILT writes is written, with R STILT's value, by its STILT name."""
    from stilt.transport.hysplit import write_inputs

    from stilt_dagster.science.scenes.loading import make_scene
    from stilt_dagster.science.scenes.transport_settings import TransportSettings
    from stilt_dagster.science.transport.hysplit import release
    from stilt_dagster_tests.conftest import SCENE, deep_merge

    case = CASES / NAMES[0]
    expected = setup_of(case)
    changes = scene_of(case)
    given = {k: (v.strip("'") if not re.fullmatch(r"-?[\d.]+", v) else float(v)) for k, v in expected.items()}
    derived = {"ivmax", "winderrtf", "zicontroltf", "varsiwant", "wvert"}
    changes["transport"] |= {k: v for k, v in given.items() if k not in derived and v != ""}
    data = deep_merge(SCENE, {"meteorology": {"directory": str(tmp_path)}})
    scene = make_scene(deep_merge(data, changes), "test")
    assert isinstance(scene.transport, TransportSettings)
    receptor = scene.receptor_list[0]
    write_inputs(
        tmp_path / "run", release(receptor, 0), scene.transport.for_receptor(receptor, None), [tmp_path / "met"]
    )
    written = setup_of(tmp_path / "run")
    normal = {k: v.replace(" ", "").rstrip(",") for k, v in written.items()}
    missing = {k: v for k, v in expected.items() if normal.get(k) != v.replace(" ", "").rstrip(",")}
    assert not missing


def test_an_export_reads_as_r_stilts_own_files(project: Project, hrrr: Path) -> None:
    name = "ref_evening_k2_n500_hourly"
    project.meteorology = hrrr
    project.cli("scene", "add", project.scene_file(**scene_of(CASES / name), id="evening"))
    project.cli("scene", "run", "evening")
    project.cli("export", "evening", project.path / "out")
    receptor = "201905300300_-111.847672_40.766189_35"
    ours = xr.open_dataset(project.path / "out" / "footprints" / f"{receptor}_foot.nc")
    theirs = xr.open_dataset(CASES / name / "foot.nc")
    assert np.array_equal(ours.time, theirs.time)
    np.testing.assert_allclose(ours.foot, theirs.foot, atol=1e-6 * float(theirs.foot.max()))
    np.testing.assert_allclose(ours.lon, theirs.lon)
    table = pd.read_parquet(project.path / "out" / "particles" / f"{receptor}_traj.parquet")
    reference = pd.read_parquet(CASES / name / "traj.parquet")
    assert set(reference.columns) <= set(table.columns)
    order = ["time", "indx"]
    for column in ("long", "lati", "mlht", "foot_no_hnf_dilution"):
        a, b = (t.sort_values(order)[column].to_numpy(np.float32) for t in (table, reference))
        assert np.array_equal(a, b), column
