"""Specs: what is accepted, what it means, and how the rest is refused."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from stilt_dagster.operations.campaigns.definition import Campaign
from stilt_dagster.operations.ingest.sources import Source
from stilt_dagster.science.errors import SceneError
from stilt_dagster.science.scenes.loading import load_scene, make_scene, scene_from_json
from stilt_dagster.science.scenes.receptors import grid_receptors
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.scenes.transport_settings import VARSIWANT
from stilt_dagster.science.validation import digest
from stilt_dagster.science.versions import (
    background_version,
    footprints_version,
    jacobian_version,
    meteorology_key,
    trajectories_version,
)
from stilt_dagster_tests.conftest import SCENE, deep_merge

BASE = deep_merge(SCENE, {"meteorology": {"source": "hrrr", "pattern": None}})

#: The domain file stiltctl ships.
DOMAIN = """
receptor_grid: {xmin: -112.1, xmax: -111.75, xres: 0.01, ymin: 40.4, ymax: 40.9, yres: 0.01}
simulation_config: {n_hours: -4, numpar: 200, xmn: -112.5, xmx: -111.5, xres: 0.002, ymn: 40.1, ymx: 41.2, yres: 0.002}
meteorology_model: hrrr
time: '2019-06-05T12:15:00Z'
"""


def scene(**changes: Any) -> Scene:
    return make_scene(deep_merge(copy.deepcopy(BASE), changes), "scene.yaml")


def test_the_domain_stiltctl_ships_means_its_1836_receptors(tmp_path: Path) -> None:
    path = tmp_path / "salt_lake_city.yaml"
    path.write_text(DOMAIN)
    domain = load_scene(path)
    receptors = domain.receptor_list
    assert len(receptors) == 1836
    assert (receptors[0].longitudes, receptors[0].latitudes, receptors[0].heights) == ((-112.1,), (40.4,), (1.0,))
    assert (receptors[1].longitudes, receptors[1].latitudes) == ((-112.1,), (40.41,))  # y inner
    assert (receptors[-1].longitudes, receptors[-1].latitudes) == ((-111.75,), (40.9,))  # both ends
    assert domain.id == "salt_lake_city-20190605t1215"
    assert domain.transport.n_hours == -4
    assert domain.footprint.time_integrate
    assert domain.meteorology.source == "hrrr"


@given(
    x0=st.integers(-1700, 1600), y0=st.integers(-800, 700), nx=st.integers(0, 20), ny=st.integers(0, 20),
    step=st.sampled_from([0.1, 0.05, 0.01, 0.002]),
)  # fmt: skip
def test_grid_vertices_include_both_ends_and_are_round(x0: int, y0: int, nx: int, ny: int, step: float) -> None:
    lon, lat = x0 / 10, y0 / 10
    found = list(grid_receptors(scene().time, lon, lon + nx * step, step, lat, lat + ny * step, step, 1.0))
    assert len(found) == (nx + 1) * (ny + 1) == len({r.id for r in found})
    assert found[-1].longitudes[0] == round(lon + nx * step, 8)
    assert all(r.latitudes[0] == round(r.latitudes[0], 8) for r in found)


@pytest.mark.parametrize(
    ("written", "utc"),
    [
        ("2019-05-30T03:00:00Z", "2019-05-30T03:00"),
        ("2019-05-29T21:00:00-06:00", "2019-05-30T03:00"),
        ("2019-05-30T08:45:59+05:45", "2019-05-30T03:00"),  # seconds are dropped, as HYSPLIT does
        ("2019-05-30 03:00", "2019-05-30T03:00"),  # naive is UTC
        ("2019-05-30", "2019-05-30T00:00"),
    ],
)
def test_times_are_utc_whatever_their_offset(tmp_path: Path, written: str, utc: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump({**BASE, "time": "TIME"}).replace("TIME", written))
    assert f"{load_scene(path).time:%Y-%m-%dT%H:%M}" == utc


def test_a_spec_is_canonical() -> None:
    a = scene()
    assert scene_from_json(a.to_json()) == a
    assert scene_from_json(a.to_json()).to_json() == a.to_json()
    assert scene(transport={"numpar": 20.0}).to_json() == a.to_json()
    assert a.differences(scene(transport={"numpar": 21}, footprint={"xres": 0.1})) == [
        "footprint.xres",
        "transport.numpar",
    ]


@pytest.mark.parametrize(
    ("meteorology", "key", "dump"),
    [
        ({}, "fe93282a6f8cfc353d44d7fc9f3ef39c", "a5745e80f9d552b1200f5124d08345f5"),
        ({"n_levels": 20, "margin": 1.5}, "3579338241473cb06cd7434873f251d7", "0dc4e2f85c51edba6c9bd1154f968ec0"),
    ],
)
def test_older_specs_have_the_hashes_they_had(meteorology: dict, key: str, dump: str) -> None:
    """What was made of them before a field was added is as new still; these are hashes of that time."""
    old = scene(meteorology=meteorology)
    assert meteorology_key(old) == key
    assert digest(old.model_dump(mode="json")) == dump


@pytest.mark.parametrize(
    ("at", "dump", "background", "jacobian"),
    [
        (
            "end",
            "2ba067ab829796e5556aaa341626174b",
            "acfc67e0fa9c46f11814e442344e0840",
            "70343a773d312d0a999d3f7348a08e65",
        ),
        (
            "edge",
            "22894adf26b4e7feef7afe6221697a0b",
            "472cf596cb75f4da68b276f47f63369a",
            "6a78f9c96d8445df9496f78313d1c580",
        ),
    ],
)
def test_a_background_without_a_boundary_is_what_it_was(at: str, dump: str, background: str, jacobian: str) -> None:
    """Hashes of the time before there were boundaries: nothing of it is made again."""
    old = scene(background={"uri": "/f.nc", "variable": "ch4", "at": at})
    assert digest(old.model_dump(mode="json")) == dump
    assert (background_version(old, "t"), jacobian_version(old, "f")) == (background, jacobian)


def test_a_boundary_runs_no_particle_again_but_for_heights_above_the_sea() -> None:
    field = {"uri": "/f.nc", "variable": "ch4"}
    plain, sampled = scene(), scene(background=field)
    for other, like in (({"boundary": {}}, plain), ({**field, "boundary": {}}, sampled)):
        new = scene(background=other)
        assert trajectories_version(new, "m", "e") == trajectories_version(like, "m", "e")
        assert footprints_version(new, "t") == footprints_version(like, "t")
        assert background_version(new, "t") != background_version(like, "t")
        assert jacobian_version(new, "f") != jacobian_version(like, "f")
        assert scene_from_json(new.to_json()).to_json() == new.to_json()
        moved = scene(background=other, footprint={"xmax": -111.5})
        assert background_version(moved, "t") != background_version(new, "t"), "the box is another"
    high = scene(background={"boundary": {"vertical": "asl"}})
    assert high.transport.varsiwant == [*plain.transport.varsiwant, "zsfc"]


def test_settings_of_meteorology_are_canonical() -> None:
    for source in ("auto", "hrrr", ["hrrr", "gfs0p25"], ["hrrr", "nam12", "nams", "gdas1"]):
        a = scene(meteorology={"source": source, "max_bytes": "2 GB", "n_levels": "all"})
        assert a.meteorology.max_bytes == 2_000_000_000
        assert a.meteorology.sources == ((source,) if isinstance(source, str) else tuple(source))
        assert scene_from_json(a.to_json()) == a
        assert scene_from_json(a.to_json()).to_json() == a.to_json()
        assert meteorology_key(a) == meteorology_key(scene_from_json(a.to_json()))
        assert meteorology_key(a) != meteorology_key(scene(meteorology={"source": source, "n_levels": "all"}))
        assert a.differences(scene(meteorology={"source": source, "n_levels": "all"})) == ["meteorology.max_bytes"]
    assert scene(meteorology={"max_bytes": 2_000_000_000}) == scene(meteorology={"max_bytes": "2GB"})
    assert scene(meteorology={"n_levels": 20.0}) == scene(meteorology={"n_levels": 20})


def test_the_id_is_readable_and_from_content() -> None:
    assert scene(name="Salt Lake City!", time="2019-05-30T03:00:00Z").id == "salt-lake-city-20190530t03"
    assert scene(time="2019-05-30T03:20:00Z").id == "valley-20190530t0320"
    assert scene(id="mine").id == "mine"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nme": 1}, "nme: unknown name; did you mean name?"),
        ({"time": "yesterday"}, "time: must be an ISO 8601 time"),
        ({"time": 20190530}, "time: must be an ISO 8601 time"),
        ({"time": "2019-05-30T03:00:00 MST"}, "time: must be an ISO 8601 time"),
        ({"time": "1492-10-12T00:00:00Z"}, "year must be between 1940 and 2039"),
        ({"name": None}, "id: is missing"),
        ({"id": "../../etc/passwd"}, "must start with a letter or digit"),
        ({"id": "Valley"}, "hold only a-z"),
        ({"id": "a" * 101}, "at most 100"),
        ({"receptors": None}, "receptors: is missing"),
        ({"receptors": {"grid": None}}, "receptors: needs exactly one of grid, points, file"),
        ({"receptors": {"points": [{"longitude": 0, "latitude": 0}]}}, "exactly one of grid, points, file"),
        ({"receptors": {"grid": {"xres": 0}}}, "receptors.grid.xres"),
        ({"receptors": {"grid": {"xres": 1e-7}}}, "receptors, and a scene holds at most 1000000"),
        ({"receptors": {"grid": {"xmin": -100}}}, "xmin -100.0 lies east of xmax"),
        ({"receptors": {"grid": {"height": -5}}}, "height must be between 0 and 30000 m"),
        ({"receptors": {"grid": {"height": [10, 10]}}}, "two different heights"),
        ({"receptors": {"grid": None, "points": []}}, "at least one receptor"),
        ({"receptors": {"grid": None, "points": [{"longitude": float("nan"), "latitude": 0}]}}, "longitude"),
        (
            {"receptors": {"grid": None, "points": [{"longitude": 0, "latitude": 91}]}},
            "latitude must be between -90 and 90",
        ),
        ({"receptors": {"grid": None, "points": [{"longitude": 0, "latitude": 0}] * 2}}, "are the same"),
        ({"receptors": {"grid": None, "points": [{"longitude": [0, 1], "latitude": 0}]}}, "list of heights"),
        (
            {"receptors": {"grid": None, "points": [{"longitude": 0, "latitude": 0, "hight": 1}]}},
            "did you mean height?",
        ),
        ({"transport": {"numparr": 1}}, "transport.numparr: unknown name; did you mean numpar?"),
        ({"transport": {"numpar": 0}}, "numpar must be between 1 and"),
        ({"transport": {"numpar": "many"}}, "transport.numpar"),
        ({"transport": {"n_hours": 24}}, "n_hours: must be between -2400 and -1"),
        ({"transport": {"krand": 7}}, "transport.krand"),
        ({"transport": {"krand": 4, "seed": 1}}, "seed needs krand 2"),
        ({"transport": {"seed": "dice"}}, "transport.seed"),
        (
            {"transport": {"siguverr": 1.0}},
            "errors go together: with siguverr set tluverr, zcoruverr, horcoruverr too",
        ),
        ({"transport": {"tlzierr": 60, "horcorzierr": 1}}, "with tlzierr, horcorzierr set sigzierr too"),
        ({"transport": {"siguverr": 0, "tluverr": 1, "zcoruverr": 1, "horcoruverr": 1}}, "siguverr must be above 0"),
        (
            {"transport": {"siguverr": 51, "tluverr": 1, "zcoruverr": 1, "horcoruverr": 1}},
            "siguverr must be at most 50",
        ),
        ({"transport": {"sigzierr": float("nan"), "tlzierr": 1, "horcorzierr": 1}}, "sigzierr must be above 0"),
        ({"transport_error": {"flux": {"uri": "f.nc", "variable": "x"}}}, "needs errors to follow: set siguverr"),
        ({"transport_error": {"flux": {"uri": "f.nc"}}}, "transport_error.flux.variable: is missing"),
        ({"transport_error": {"flux": {"uri": "ftp://f.nc", "variable": "x"}}}, "must be a path, or begin with gs://"),
        ({"transport": {"slanted": "middle"}}, "transport.slanted"),
        ({"transport": {"precision": 0.1}}, "precision and max_numpar go together"),
        ({"transport": {"precision": 0, "max_numpar": 4000}}, "transport.precision"),
        ({"transport": {"precision": 1.0, "max_numpar": 4000}}, "transport.precision: Input should be less than 1"),
        ({"transport": {"precision": True, "max_numpar": 4000}}, "transport.precision: must be a number, not a yes or"),
        ({"transport": {"krand": True}}, "transport.krand: must be a number"),
        ({"transport": {"ziscale": [1, True]}}, "transport.ziscale: must be a number, not a yes or no (got [1, True])"),
        ({"footprint": {"xres": True}}, "footprint.xres: must be a number"),
        ({"background": {"boundary": {"heights": [False, 1]}}}, "background.boundary.heights: must be a number"),
        ({"transport": {"precision": 0.1, "max_numpar": 19}}, "max_numpar must be at least twice numpar"),
        ({"transport": {"precision": 0.1, "max_numpar": 4000, "krand": 4}}, "precision needs seeds"),
        ({"transport": {"outdt": -1}}, "outdt"),
        ({"transport": {"ziscale": 0}}, "ziscale"),
        ({"transport": {"varsiwant": ["time"]}}, "must include"),
        ({"transport": {"varsiwant": "time,bogus"}}, "unknown variables"),
        ({"transport": {"poutf": "/etc/passwd"}}, "plain file name"),
        ({"transport": {"efile": "a'\nKMSL=1"}}, "plain file name"),
        ({"transport": {"exe_dir": "/tmp"}}, "an operator sets it on the transport engine"),
        ({"transport": {"timeout": 0}}, "transport.timeout"),
        ({"footprint": {"ymin": 42}}, "must lie south of ymax"),
        ({"footprint": {"ymax": 90}}, "between 89 S and 89 N"),
        ({"footprint": {"xres": 5}}, "holds no whole cell"),
        ({"footprint": {"xres": 1e-5, "yres": 1e-5}}, "cells, and at most"),
        ({"footprint": {"projection": "+proj=nonsense"}}, "is not a PROJ string"),
        ({"footprint": {"smooth_factor": -1}}, "footprint.smooth_factor"),
        ({"footprint": {"xmn": 1}}, "footprint.xmn: unknown name; did you mean xmin?"),
        ({"meteorology": {"source": "era6"}}, "unknown source 'era6'; known are"),
        ({"meteorology": {"source": 5}}, "meteorology.source: must be a source, auto, or a list of sources (got 5)"),
        ({"meteorology": {"source": []}}, "meteorology.source: a list holds 2 to 4 sources"),
        ({"meteorology": {"source": ["hrrr"]}}, "a list holds 2 to 4 sources, the finest first (got 1)"),
        ({"meteorology": {"source": ["hrrr", "era6"]}}, "unknown source 'era6'; known are auto, gdas0p5"),
        ({"meteorology": {"source": ["hrrr", ["nams"]]}}, "unknown source"),
        ({"meteorology": {"source": ["hrrr", "auto"]}}, "auto chooses a source by itself"),
        ({"meteorology": {"source": ["hrrr", "gdas1", "hrrr"]}}, "names a source twice"),
        ({"meteorology": {"source": ["gfs0p25", "hrrr"]}}, "from the finest to the coarsest: write [hrrr, gfs0p25]"),
        ({"meteorology": {"source": ["hrrr", "nam12", "gfs0p25", "gdas1", "reanalysis"]}}, "2 to 4 sources"),
        ({"meteorology": {"n_levels": 1}}, "n_levels: must be a whole number from 2 to 200, or all (got 1)"),
        ({"meteorology": {"n_levels": "most"}}, "or all (got 'most')"),
        ({"meteorology": {"n_levels": float("inf")}}, "or all (got inf)"),
        ({"meteorology": {"n_levels": True}}, "or all (got True)"),
        ({"meteorology": {"max_bytes": "lots"}}, "max_bytes: must be a size such as"),
        ({"meteorology": {"max_bytes": -1}}, "max_bytes: must be a size such as"),
        ({"meteorology": {"max_bytes": True}}, "max_bytes: must be a size such as"),
        ({"meteorology": {"max_bytes": float("nan")}}, "max_bytes: must be a size such as"),
        ({"meteorology": {"max_bytes": 10**30}}, "max_bytes: "),
        ({"meteorology": {"max_bytes": "5 kB"}}, "max_bytes: is too little for meteorology"),
        ({"meteorology": {"source": None}}, "needs a source"),
        ({"meteorology": {"source": None, "directory": "/met"}}, "directory and pattern go together"),
        ({"meteorology": {"crop": False, "n_levels": 5}}, "need crop: true"),
        ({"max_failed_fraction": 2}, "max_failed_fraction"),
        ({"background": {}}, "background: needs a field (uri and variable), or a boundary, or both"),
        ({"background": {"uri": "/f.nc"}}, "background: uri and variable go together"),
        ({"background": {"variable": "ch4", "boundary": {}}}, "background: uri and variable go together"),
        ({"background": {"boundary": {"heights": [0, 500, 500]}}}, "boundary.heights: must rise from bin to bin"),
        ({"background": {"boundary": {"heights": [0]}}}, "background.boundary.heights"),
        ({"background": {"boundary": {"heights": list(range(102))}}}, "background.boundary.heights"),
        ({"background": {"boundary": {"heights": [0, float("inf")]}}}, "background.boundary.heights"),
        ({"background": {"boundary": {"vertical": "pressure"}}}, "background.boundary.vertical"),
        ({"background": {"boundary": {"height": [0, 1]}}}, "did you mean heights?"),
        ({"background": []}, "background"),
        (
            {"background": {"boundary": {"vertical": "asl"}}, "transport": {"varsiwant": VARSIWANT}},
            "background needs zsfc in transport.varsiwant",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line_that_names_the_field(changes: dict, message: str) -> None:
    with pytest.raises(SceneError) as caught:
        scene(**changes)
    text = str(caught.value)
    assert text.startswith("scene.yaml: ")
    assert message in text
    assert "\n" not in text


def _numeric(model: type[BaseModel]) -> list[str]:
    """Return the fields of a model whose JSON Schema has numbers and no truth values."""
    properties = model.model_json_schema(by_alias=False, mode="validation")["properties"]
    kinds = {name: re.findall(r"'type': '(\w+)'", str(part)) for name, part in properties.items()}
    return [n for n, found in kinds.items() if {"number", "integer"} & set(found) and "boolean" not in found]


def _parts(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models an annotation holds, and those these hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from _parts(field.annotation)
    for part in get_args(annotation):
        yield from _parts(part)


@pytest.mark.parametrize("model", dict.fromkeys([*_parts(Scene), *_parts(Source), *_parts(Campaign)]))
def test_a_truth_value_is_no_number_of_any_spec(model: type[BaseModel]) -> None:
    names = {model.model_fields[name].alias or name for name in _numeric(model)}
    if names:
        with pytest.raises(ValidationError) as caught:
            model.model_validate(dict.fromkeys(names, True))
        assert names <= {e["loc"][0] for e in caught.value.errors() if e["type"] == "value_error"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must hold a scene"),
        ("- a", "must hold a scene"),
        ("a: [", "not valid YAML"),
        ("a: &x [1]\nb: *x", "aliases"),
        ("name: a\nname: b", "name is given twice"),
        ("name: !!python/object/apply:os.system [ls]", "not valid YAML"),
        ("1: a", "is not a name"),
        ("[" * 5000, "not valid YAML"),
        ("receptor_grid: 1", "receptor_grid is missing, or not a mapping"),
        ("receptor_grid: {}\nsimulation_config: {}\nfoo: 1", "unknown in a stiltctl domain: foo"),
    ],
)
def test_hostile_and_broken_yaml_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "scene.yaml"
    path.write_text(text)
    with pytest.raises(SceneError, match=message):
        load_scene(path)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("none.yaml", "binary.yaml"):
        with pytest.raises(SceneError, match=name):
            load_scene(tmp_path / name)


def test_files_are_named_from_the_scenes_own_directory(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("longitude,latitude,height\n-112.0,40.5,5\n")
    meteorology = {"directory": "met", "pattern": "%Y%m%d_%H-*_hrrr"}
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump({**BASE, "receptors": {"file": "r.csv"}, "meteorology": meteorology}))
    found = load_scene(path)
    assert found.meteorology.directory == str(tmp_path / "met")
    assert [r.id for r in found.receptor_list] == ["202307150920_-112_40.5_5"]


def test_lines_of_sight_have_their_particles_along_them() -> None:
    sight = {"product": "tropomi_ch4", "uri": "granule.nc", "geometry": "slant"}
    of_retrieval = {"receptors": {"grid": None, "retrieval": sight}}
    assert scene(**of_retrieval).transport.slanted == "line"
    assert scene(**of_retrieval, transport={"slanted": "ends"}).transport.slanted == "ends"
    upright = {"receptors": {"grid": None, "retrieval": {**sight, "geometry": "vertical"}}}
    assert scene(**upright).transport.slanted is None
    assert "slanted" not in scene(**upright).model_dump(mode="json")["transport"]
