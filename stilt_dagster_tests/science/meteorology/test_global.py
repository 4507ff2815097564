"""The real hycs_std on longitude/latitude files: anywhere on the globe, on pressure and hybrid levels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import arlmet
import numpy as np
import pandas as pd
import pytest

from stilt_dagster.resources.meteorology_archive import FileArchive
from stilt_dagster.science.meteorology.aggregate import build_aggregate
from stilt_dagster.science.meteorology.description import Description, file_name
from stilt_dagster.science.meteorology.extent.levels import ABOVE_RELEASE, MIXING_HEIGHTS
from stilt_dagster.science.outcomes import Outcome
from stilt_dagster.science.scenes.loading import make_scene
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.transport.hysplit import Hysplit
from stilt_dagster.science.transport.trajectories import simulate
from stilt_dagster_tests.science.meteorology.global_files import (
    GLOBES,
    RADIUS,
    SIGMA,
    Rotation,
    Vertical,
    lonlat,
    unit,
    write,
)

TIMES = pd.date_range("2023-07-15T00:00", periods=5, freq="3h")

#: Where files of the sources are.
GDAS1, GFS = "gdas1/2023/gdas1.jul23.w3", "gfs0p25/2023/07/20230715_gfs0p25"

#: Winds: from the west along the parallels; and across the poles, along the meridians of 100 E and 80 W.
ZONAL, POLAR = Rotation(0.0, 90.0), Rotation(10.0, 0.0, 12.0)

#: A part of North America, its longitudes as HYSPLIT's own regional files have them.
REGION = lonlat(236.0, 28.0, 50, 42, 0.5)

HOURS = 10


def scene_at(lon: float, lat: float, meteorology: dict[str, Any], width: float = 2.0, **changes: Any) -> Scene:
    """Return a scene of one receptor and a footprint around it; its longitudes as a person would write them."""
    west, east = ((x + 180) % 360 - 180 for x in (lon - width, lon + width))
    data = {
        "name": "globe",
        "time": "2023-07-15T11:00:00Z",
        "receptors": {"points": [{"longitude": lon, "latitude": lat, "height": 20}]},
        "transport": {"n_hours": -HOURS, "numpar": 50},
        "footprint": {
            "xmin": west, "xmax": east, "xres": 0.1, "ymin": max(lat - 1, -90), "ymax": min(lat + 1, 90), "yres": 0.1,
        },
        "meteorology": meteorology,
    }  # fmt: skip
    return make_scene({**data, **changes}, "test")


def build(scene: Scene, root: Path, tmp_path: Path) -> tuple[list[Path], Description]:
    path = tmp_path / "aggregate.arl"
    made = build_aggregate(scene, FileArchive(str(root)), path)
    return [tmp_path / file_name("aggregate", k) for k in range(1, len(made.grids) + 1)], made


def run(scene: Scene, files: list[Path], tmp_path: Path, number: int = 0) -> tuple[Outcome, pd.DataFrame]:
    met = files[0] if len(files) == 1 else files
    outcome, table = simulate(scene.receptor_list[number], scene.transport, met, Hysplit(scratch=tmp_path))
    assert table is not None, outcome
    return outcome, table.to_pandas()


def complete(outcome: Outcome) -> bool:
    return (outcome.status, outcome.hours_covered, outcome.escaped_fraction) == ("ok", HOURS, 0.0)


def distance(particles: pd.DataFrame, place: np.ndarray) -> float:
    """Return how far from a place the particles ended on average, m."""
    end = particles[particles.age == particles.age.min()]
    mean = unit(end.lon, end.lat).mean(axis=0)
    return float(RADIUS * np.arccos(np.clip(mean / np.linalg.norm(mean) @ place, -1, 1)))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Vertical, str, Rotation], Path]:
    """Return the root of an archive by levels, first longitude and wind; files are written once."""
    roots: dict[Any, Path] = {}

    def root(vertical: Vertical, globe: str, wind: Rotation) -> Path:
        key = vertical, globe, wind
        if key not in roots:
            roots[key] = tmp_path_factory.mktemp("archive")
            write(roots[key] / (GDAS1 if vertical == "pressure" else GFS), GLOBES[globe], vertical, wind, TIMES)
        return roots[key]

    return root


SCENES = {
    "mid-latitudes": (-112.0, 40.5, ZONAL),
    "across the antimeridian": (179.5, 40.5, ZONAL),
    "across 0 E": (0.5, 40.5, ZONAL),
    "west of 0 E": (-0.5, -35.5, ZONAL),
    "at the equator": (30.2, 0.2, ZONAL),
    "around the North Pole": (-80.5, 86.5, ZONAL),
    "over the North Pole": (-80.0, 87.0, POLAR),
    "over the North Pole, aslant": (-60.0, 87.0, POLAR),
    "over the South Pole": (100.0, -87.0, POLAR),
    "from the North Pole's seam": (179.9, 85.0, Rotation(90.0, 0.0)),
}


@pytest.mark.parametrize("globe", GLOBES)
@pytest.mark.parametrize("vertical", ["pressure", "hybrid"])
@pytest.mark.parametrize("name", SCENES)
def test_a_crop_has_all_that_particles_need(
    name: str, vertical: Vertical, globe: str, archive: Callable[..., Path], tmp_path: Path
) -> None:
    lon, lat, wind = SCENES[name]
    source = {"source": "gdas1" if vertical == "pressure" else "gfs0p25"}
    root = archive(vertical, globe, wind)
    scene = scene_at(lon, lat, source)
    files, made = build(scene, root, tmp_path)
    outcome, particles = run(scene, files, tmp_path)
    whole = scene_at(lon, lat, {**source, "crop": False})
    (tmp_path / "whole").mkdir()
    uncropped, whole_made = build(whole, root, tmp_path / "whole")
    expected, all_particles = run(whole, uncropped, tmp_path)
    far = distance(particles, wind.origin(lon, lat, HOURS)), distance(all_particles, wind.origin(lon, lat, HOURS))
    print(
        f"{name} {vertical} {globe}: {made.nx}x{made.ny} levels {len(made.levels)} {made.extent} off {far[0] / 1e3:.1f} {far[1] / 1e3:.1f} km "
        f"foot {particles.foot.sum():.6g} {all_particles.foot.sum():.6g} rel {particles.foot.sum() / all_particles.foot.sum() - 1:.2e} {outcome.hours_covered} {outcome.escaped_fraction} whole {expected.escaped_fraction}; {made.kept['crop']}; {made.kept['levels']}"
    )
    assert complete(expected)
    assert complete(outcome)


@pytest.mark.parametrize("mixing_height", [300.0, 1200.0, 2600.0])
@pytest.mark.parametrize("vertical", ["sigma", "pressure", "hybrid"])
def test_the_kept_levels_hold_the_mixed_layer(vertical: Vertical, mixing_height: float, tmp_path: Path) -> None:
    """By the heights that arlmet finds from the temperatures of a file, as HYSPLIT does; and by few levels more."""
    where = {"directory": str(tmp_path), "pattern": "%Y%m%d_%H_met"}
    write(tmp_path / "20230715_00_met", REGION, vertical, ZONAL, TIMES, mixing_height=mixing_height)
    (path,), made = build(scene_at(-112.0, 40.5, where), tmp_path, tmp_path)
    heights = arlmet.z_agl(arlmet.open_dataset(path)).min(["time", "lat", "lon"]).to_numpy()
    needed = max(MIXING_HEIGHTS * mixing_height, 20 + ABOVE_RELEASE)
    assert heights[-2] >= 0.98 * needed, "a constant lapse rate puts levels a little higher than they are"
    assert heights[-1] >= needed
    assert heights[-4] < needed
    assert len(made.levels) < len(SIGMA)
