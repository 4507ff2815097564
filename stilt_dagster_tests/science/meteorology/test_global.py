"""The real hycs_std on longitude/latitude files: anywhere on the globe, on pressure and hybrid levels."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import arlmet
import numpy as np
import pandas as pd
import pytest

from stilt_dagster.demo.meteorology import Weather, make_meteorology
from stilt_dagster.resources.meteorology_archive import FileArchive
from stilt_dagster.science.meteorology.aggregate import build_aggregate
from stilt_dagster.science.meteorology.description import Description, file_name
from stilt_dagster.science.meteorology.extent.levels import ABOVE_RELEASE, MIXING_HEIGHTS, height_to_reach
from stilt_dagster.science.outcomes import Outcome
from stilt_dagster.science.scenes.loading import make_scene
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.transport.ensembles import simulate
from stilt_dagster.science.transport.hysplit import Hysplit
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
ZONAL, POLAR = Rotation(0.0, 90.0), Rotation(10.0, 0.0, 15.0)

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
        "transport": {"n_hours": -HOURS, "numpar": 40},
        "footprint": {
            "xmin": west, "xmax": east, "xres": 0.1, "ymin": max(lat - 1, -90), "ymax": min(lat + 1, 90), "yres": 0.1,
        },
        "meteorology": meteorology,
    }  # fmt: skip
    return make_scene({**data, **changes}, "test")


def build(scene: Scene, root: Path, folder: Path) -> tuple[list[Path], Description]:
    """Return the files of a scene's aggregate, and what they are made of."""
    folder.mkdir(exist_ok=True)
    made = build_aggregate(scene, FileArchive(str(root)), folder / "aggregate.arl")
    return [folder / file_name("aggregate", k) for k in range(1, len(made.grids) + 1)], made


def run(scene: Scene, files: list[Path], tmp_path: Path, number: int = 0) -> tuple[Outcome, pd.DataFrame]:
    met = files[0] if len(files) == 1 else files
    outcome, table = simulate(scene.receptor_list[number], scene.transport, met, Hysplit(scratch=tmp_path))
    assert table is not None, outcome
    return outcome, table.to_pandas().astype({"age": float})


def complete(outcome: Outcome) -> bool:
    return (outcome.status, outcome.hours_covered, outcome.escaped_fraction) == ("ok", HOURS, 0.0)


def end(particles: pd.DataFrame) -> np.ndarray:
    """Return where particles ended on average, as a vector from the Earth's centre."""
    last = particles[particles.age == particles.age.min()]
    mean = unit(last.lon, last.lat).mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


def distance(particles: pd.DataFrame, place: np.ndarray | pd.DataFrame) -> float:
    """Return how far from a place, or from where others did, particles ended on average, m."""
    other = end(place) if isinstance(place, pd.DataFrame) else place
    return float(RADIUS * np.arccos(np.clip(end(particles) @ other, -1, 1)))


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


#: Place, wind, and how far from where the wind says particles may be on average, km: of 360 or 540 km.
SCENES = {
    "mid-latitudes": (-112.0, 40.4, ZONAL, 15),
    "across the antimeridian": (179.6, 40.4, ZONAL, 15),
    "across 0 E": (0.6, -40.4, ZONAL, 15),
    "west of 0 E": (-0.6, 35.4, ZONAL, 15),
    "around the North Pole": (-80.6, 87.0, ZONAL, 15),
    "past the North Pole": (-60.0, 87.0, POLAR, 15),
    "over the South Pole": (100.0, -87.0, POLAR, 150),  # on the pole itself hycs_std loses some way, of whole files too
}


@pytest.mark.parametrize(
    ("vertical", "globe"), [("pressure", "0 to 360"), ("pressure", "-180 to 180"), ("hybrid", "-180 to 180")]
)
@pytest.mark.parametrize("name", SCENES)
def test_a_crop_has_all_that_particles_need(
    name: str, vertical: Vertical, globe: str, archive: Callable[..., Path], tmp_path: Path
) -> None:
    """They are those of whole files, until rounding has them part where columns have other numbers.

    hycs_std keeps places in single precision, as cells from a file's first column: those of a crop are finer. So
    positions differ by metres a minute, and after an hour and a half they are in other turbulence: other particles of
    the same kind, whose influence differs by what that of a few dozen does. Where all columns are kept, at the poles,
    they are the same to the end.
    """
    lon, lat, wind, tolerance = SCENES[name]
    source = {"source": "gdas1" if vertical == "pressure" else "gfs0p25"}
    root = archive(vertical, globe, wind)
    scene = scene_at(lon, lat, source)
    files, made = build(scene, root, tmp_path)
    outcome, particles = run(scene, files, tmp_path)
    uncropped, _ = build(scene_at(lon, lat, {**source, "crop": False}), root, tmp_path / "whole")
    expected, of_whole = run(scene, uncropped, tmp_path)

    assert complete(expected)
    assert complete(outcome)
    assert distance(particles, wind.origin(lon, lat, HOURS)) < tolerance * 1000
    assert distance(particles, of_whole) < 15_000

    hour, hour_of_whole = (float(p.foot[p.age >= -60].sum()) for p in (particles, of_whole))
    assert hour == pytest.approx(hour_of_whole, rel=1e-5)
    same = 1e-5 if made.nx == 360 else 0.25
    assert float(particles.foot.sum()) == pytest.approx(float(of_whole.foot.sum()), rel=same)

    assert len(made.levels) < len(SIGMA)
    west, south, east, north = made.extent
    assert south <= lat - 1 < lat + 1 <= north
    if "Pole" in name:
        assert (made.nx, made.ny <= 15) == (360, True)
    else:
        assert made.nx * made.ny < 1000, "an index record alone needs some 800 cells"
        assert (east - west) % 360 == made.nx - 1
        assert (lon - west) % 360 < made.nx - 1


@pytest.mark.parametrize(("lat", "ymin"), [(89.3, 86.0), (-89.3, -89.0)])
def test_a_receptor_may_lie_within_a_row_of_a_pole(
    lat: float, ymin: float, archive: Callable[..., Path], tmp_path: Path
) -> None:
    """Passing the pole, not over it: where a particle meets the pole itself, hycs_std takes it elsewhere."""
    footprint = {"xmin": -180.0, "xmax": 180.0, "xres": 1.0, "ymin": ymin, "ymax": ymin + 3, "yres": 0.1}
    scene = scene_at(20.0, lat, {"source": "gdas1"}, footprint=footprint)
    files, made = build(scene, archive("pressure", "0 to 360", POLAR), tmp_path)
    assert (made.nx, made.outside) == (360, [])
    outcome, particles = run(scene, files, tmp_path)
    assert complete(outcome)
    assert distance(particles, POLAR.origin(20.0, lat, HOURS)) < 20_000


@pytest.mark.parametrize("west", [-125.0, 235.0])
@pytest.mark.parametrize("vertical", ["pressure", "hybrid"])
@pytest.mark.parametrize("kept", [{}, {"margin": 20.0}, {"crop": False}], ids=["as far as wind", "margin", "whole"])
def test_a_regional_file_that_the_footprint_is_larger_than(
    kept: dict[str, Any], vertical: Vertical, west: float, tmp_path: Path
) -> None:
    """Also one whose longitudes are negative, which hycs_std by itself finds no receptor on."""
    where = {"directory": str(tmp_path), "pattern": "%Y%m%d_%H_met", **kept}
    write(tmp_path / "20230715_00_met", lonlat(west, 28.0, 50, 42, 0.5), vertical, ZONAL, TIMES)
    scene = scene_at(-112.0, 40.5, where, width=40.0)
    files, made = build(scene, tmp_path, tmp_path)
    assert (made.nx, made.ny == 42) == (50, bool(kept))
    outcome, particles = run(scene, files, tmp_path)
    assert complete(outcome)
    assert distance(particles, ZONAL.origin(-112.0, 40.5, HOURS)) < 15_000


def test_an_index_record_is_shorter_than_a_crop_has_cells(tmp_path: Path) -> None:
    """The index of these levels takes 812 bytes, and the window grows to 28 x 29 cells first, which is as many."""
    write(tmp_path / GFS, GLOBES["0 to 360"], "hybrid", ZONAL, TIMES)
    scene = scene_at(178.5, -18.0, {"source": "gfs0p25", "n_levels": 13}, 0.4, transport={"n_hours": -1, "numpar": 20})
    files, made = build(scene, tmp_path, tmp_path)
    assert made.nx * made.ny > 812
    outcome, _ = run(scene, files, tmp_path)
    assert outcome.status == "ok"


def test_month_files_of_many_steps(tmp_path: Path) -> None:
    """A run over the end of a month of the reanalysis, 6-hourly, reads two files' indices and few of their steps."""
    grid = lonlat(0.0, -90.0, 72, 37, 5.0)
    folder = tmp_path / "reanalysis/2023"
    july, august = folder / "RP202307.gbl", folder / "RP202308.gbl"
    write(july, grid, "pressure", ZONAL, pd.date_range("2023-07-01", "2023-07-31T18:00", freq="6h"))
    write(august, grid, "pressure", ZONAL, pd.date_range("2023-08-01", periods=2, freq="6h"))
    scene = scene_at(-112.0, 40.5, {"source": "reanalysis"}, time="2023-08-01T03:00:00Z")
    files, made = build(scene, tmp_path, tmp_path)
    assert [t[5:13] for t in made.times] == ["07-31T12", "07-31T18", "08-01T00", "08-01T06"]
    assert [s["name"] for s in made.sources] == [july.name, august.name]
    assert int(made.kept["bytes_read"]) < (july.stat().st_size + august.stat().st_size) / 5
    outcome, particles = run(scene, files, tmp_path)
    assert complete(outcome)
    assert distance(particles, ZONAL.origin(-112.0, 40.5, HOURS)) < 15_000


# -- nested, and auto --------------------------------------------------------------------------------------------------

#: HRRR's wind is one everywhere, the other's as fast where the receptors are.
EASTWARD = Weather(speed=8.0, direction=270.0)
AROUND = Rotation(0.0, 90.0, 8.0 / np.cos(np.radians(40.5)))


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What STILT_MET may be: HRRR of a small box, and GDAS1."""
    root = tmp_path_factory.mktemp("mirror")
    box = (-112.6, 40.0, -111.4, 41.0)
    make_meteorology(root / "hrrr/2023/07", "2023-07-15T00:00", 12, box, EASTWARD, spacing_km=2.0)
    write(root / GDAS1, GLOBES["0 to 360"], "pressure", AROUND, TIMES)
    return root


def test_particles_that_leave_hrrr_go_on_in_gdas1(mirror: Path, tmp_path: Path) -> None:
    alone = scene_at(-112.0, 40.5, {"source": "hrrr"})
    files, made = build(alone, mirror, tmp_path / "alone")
    assert (len(files), made.nested) == (1, [])
    outcome, _ = run(alone, files, tmp_path)
    assert (outcome.status, outcome.escaped_fraction) == ("ok", 1.0)
    assert outcome.hours_covered < 4

    scene = scene_at(-112.0, 40.5, {"source": ["hrrr", "gdas1"]})
    files, made = build(scene, mirror, tmp_path)
    assert [f.name for f in files] == ["aggregate.arl", "aggregate.2.arl"]
    assert all(f.is_file() for f in files)
    assert (made.model, [g.model for g in made.nested]) == ("HRRR", ["GDAS"])
    outcome, particles = run(scene, files, tmp_path)
    assert complete(outcome)
    assert distance(particles, AROUND.origin(-112.0, 40.5, HOURS)) < 15_000


@pytest.mark.parametrize(
    "places",
    [
        [(-112.0, 40.5), (-116.0, 40.5), (-112.0, 36.0), (-104.0, 44.0)],
        [(-112.0, 34.0)],
        [(-112.0, 47.0), (-120.0, 47.0)],
    ],
    ids=["some", "one to the south", "all to the north"],
)
def test_receptors_may_lie_outside_the_inner_grid(
    places: list[tuple[float, float]], mirror: Path, tmp_path: Path
) -> None:
    points = [{"longitude": lon, "latitude": lat, "height": 20} for lon, lat in places]
    footprint = {"xmin": -121.0, "xmax": -103.0, "xres": 0.1, "ymin": 33.0, "ymax": 48.0, "yres": 0.1}
    nested = {"source": ["hrrr", "gdas1"]}
    scene = scene_at(-112.0, 40.5, nested, receptors={"points": points}, footprint=footprint)
    files, made = build(scene, mirror, tmp_path)
    assert (len(files), made.outside) == (2, [])
    for number, (lon, lat) in enumerate(places):
        outcome, particles = run(scene, files, tmp_path, number)
        assert complete(outcome)
        assert distance(particles, AROUND.origin(lon, lat, HOURS)) < 15_000


def test_auto_takes_the_finest_that_is_there(mirror: Path, archive: Callable[..., Path], tmp_path: Path) -> None:
    """HRRR where it is; elsewhere, and where a file of it is missing, a global source; and says why."""
    root = tmp_path / "met"
    shutil.copytree(mirror, root, copy_function=os.link)
    near, utah, fiji = {"source": "auto"}, (-112.0, 40.5), (178.5, -18.0)

    def chosen(place: tuple[float, float], folder: str) -> tuple[str, str]:
        scene = scene_at(*place, near, width=0.4, transport={"n_hours": -1, "numpar": 20})
        files, made = build(scene, root, tmp_path / folder)
        outcome, _ = run(scene, files, tmp_path)
        assert (outcome.status, outcome.escaped_fraction) == ("ok", 0.0)
        return made.sources[0]["name"], str(made.kept["source"])

    name, why = chosen(utah, "utah")
    assert name == "20230715_06-11_hrrr"
    assert why.endswith("hrrr: 3 km, covers the box and the hours")

    name, why = chosen(fiji, "fiji")
    assert name == "gdas1.jul23.w3"
    assert why.startswith("not hrrr: ")
    assert "lies outside its domain, contiguous United States" in why
    assert "not gfs0p25: gfs0p25/2023/07/20230715_gfs0p25 is missing" in why

    (root / GFS).parent.mkdir(parents=True)
    os.link(archive("hybrid", "0 to 360", ZONAL) / GFS, root / GFS)
    assert chosen(fiji, "fiji, again")[0] == "20230715_gfs0p25"

    (root / "hrrr/2023/07/20230715_06-11_hrrr").unlink()
    name, why = chosen(utah, "utah, again")
    assert name == "20230715_gfs0p25"
    assert "not hrrr: hrrr/2023/07/20230715_06-11_hrrr is missing" in why


# -- levels ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixing_height", [300.0, 1200.0, 2600.0])
@pytest.mark.parametrize("vertical", ["sigma", "pressure", "hybrid"])
def test_the_kept_levels_hold_the_mixed_layer(vertical: Vertical, mixing_height: float, tmp_path: Path) -> None:
    """By the heights that arlmet finds from the temperatures of a file, as HYSPLIT does; and by few levels more."""
    where = {"directory": str(tmp_path), "pattern": "%Y%m%d_%H_met"}
    write(tmp_path / "20230715_00_met", REGION, vertical, ZONAL, TIMES, mixing_height=mixing_height)
    (path,), made = build(scene_at(-112.0, 40.5, where), tmp_path, tmp_path)
    heights = arlmet.z_agl(arlmet.open_dataset(path)).min(["time", "lat", "lon"]).to_numpy()
    needed = height_to_reach(max(MIXING_HEIGHTS * mixing_height, 20 + ABOVE_RELEASE))
    assert heights[-2] >= 0.98 * needed, "a constant lapse rate puts levels a little higher than they are"
    assert heights[-1] >= needed
    assert heights[-4] < needed
    assert len(made.levels) <= len(SIGMA)
