"""Tables: whatever way up, in whatever order and units, soundings are the same; and what bad tables are told."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from netCDF4 import Dataset
from stilt.observations.readers import read_tropomi_ch4

from stilt_dagster.retrievals import read_granule
from stilt_dagster.retrievals import variables as engine
from stilt_dagster.science.errors import RetrievalError
from stilt_dagster.science.observations.selection import select
from stilt_dagster.science.observations.soundings import Soundings
from stilt_dagster.science.scenes.observation_settings import Area, Selection
from stilt_dagster_tests.retrievals.granules import tropomi_name, write_blended, write_grid, write_oco, write_tropomi

PROFILES = ("pressure", "altitude", "averaging_kernel", "prior", "pressure_weight")
COUNT = count()


def read(path: Path, product: str = "netcdf", **mapping: Any) -> Soundings:
    return read_granule(path, product, mapping=mapping).soundings


@contextmanager
def refused(says: str) -> Iterator[None]:
    with pytest.raises(RetrievalError) as error:
        yield
    assert re.search(says, str(error.value)), str(error.value)
    assert "\n" not in str(error.value)


# -- any layout ----------------------------------------------------------------------------------------------------

UNITS = {
    "value": {"ppm": 1.0, "ppb": 1e3, "1e-9": 1e3, "mol mol-1": 1e-6, "umol/mol": 1.0},
    "uncertainty": {"ppm": 1.0, "nmol mol-1": 1e3},
    "prior": {"ppm": 1.0, "1": 1e-6, "ppbv": 1e3},
    "surface_pressure": {"hPa": 1.0, "Pa": 100.0, "kPa": 0.1},
    "pressure": {"hPa": 1.0, "Pa": 100.0},
    "altitude": {"m": 1.0, "km": 1e-3},
    "zenith": {"degrees": 1.0, "radians": math.pi / 180},
    "time": {"seconds": 1.0, "microseconds": 1e6, "minutes": 1 / 60, "days": 1 / 86400, "ms": 1e3},
}


def truth(edges: bool) -> dict[str, np.ndarray]:
    """Return fields of 2 x 3 soundings of 4 levels, or layers, in our units, surface first."""
    rng = np.random.default_rng(7)
    levels = 5 if edges else 4
    ground = rng.uniform(800, 1000, (2, 3))
    return {
        "longitude": -112 + 0.1 * np.arange(6.0).reshape(2, 3),
        "latitude": 40 + 0.1 * np.arange(6.0).reshape(2, 3),
        "time": 3600.0 * np.arange(6.0).reshape(2, 3),
        "value": rng.uniform(1.8, 2, (2, 3)),
        "uncertainty": rng.uniform(0.01, 0.02, (2, 3)),
        "surface_pressure": ground,
        "zenith": rng.uniform(0, 60, (2, 3)),
        "pressure": ground[..., None] * np.linspace(1, 0.01, levels),
        "altitude": 100 + np.cumsum(rng.uniform(1000, 3000, (2, 3, levels)), axis=-1),
        "averaging_kernel": rng.uniform(0.5, 1.2, (2, 3, 4)),
        "prior": rng.uniform(1.7, 1.9, (2, 3, 4)),
        "pressure_weight": rng.dirichlet(np.ones(4), (2, 3)),
    }


@st.composite
def layouts(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "edges": draw(st.booleans()),
        "order": {name: draw(st.permutations(range(3))) for name in truth(False)},
        "units": {name: draw(st.sampled_from(sorted(units))) for name, units in UNITS.items()},
        "top_first": draw(st.sampled_from([True, False]) | st.lists(st.sampled_from(PROFILES), unique=True)),
        "alone": draw(st.booleans()),  # a dimension of one time in front
        "stated": draw(st.booleans()),  # units by the file, or by the table
    }


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(layout=layouts())
def test_any_layout_gives_the_same_soundings(tmp_path: Path, layout: dict[str, Any]) -> None:
    path, fields, top_first = tmp_path / f"{next(COUNT)}.nc", truth(layout["edges"]), layout["top_first"]
    units = {n: f"{u} since 2023-07-15" if n == "time" else u for n, u in layout["units"].items()}
    with Dataset(path, "w") as file:
        sizes = {"one": 1, "row": 2, "column": 3, "layer": 4, "edge": 5}
        for dim, size in sizes.items():
            file.createDimension(dim, size)
        for name, values in fields.items():
            if name in PROFILES and (top_first is True or (top_first and name in top_first)):
                values = values[..., ::-1]
            values = values * UNITS.get(name, {}).get(layout["units"].get(name, ""), 1.0)
            dims = ["row", "column", *(["layer" if values.shape[-1] == 4 else "edge"] if values.ndim == 3 else [])]
            order = [k for k in layout["order"][name] if k < values.ndim]
            values, dims = values.transpose(order), [dims[k] for k in order]
            if layout["alone"]:
                values, dims = values[None], ["one", *dims]
            variable = file.createVariable(f"group/{name}", "f8", dims)
            variable[:] = values
            if name in units and layout["stated"]:
                variable.units = units[name]
    mapping: dict[str, Any] = {name: f"group/{name}" for name in fields} | {"top_first": top_first}
    soundings = read(path, **mapping, **({} if layout["stated"] else {"units": units}))
    order = layout["order"]["value"]
    turned = [k for k in order if k < 2] == [1, 0]  # soundings run as the value's dimensions do

    def along(values: np.ndarray) -> np.ndarray:
        values = values.swapaxes(0, 1) if turned else values
        return values.reshape(6, *values.shape[2:])

    for name, values in fields.items():
        if name == "time":
            found = (soundings.time - np.datetime64("2023-07-15", "s")).astype(float)
            np.testing.assert_allclose(found, along(values), atol=1)
        else:
            np.testing.assert_allclose(getattr(soundings, name), along(values), rtol=1e-12, atol=1e-9)
    assert soundings.has_layers == layout["edges"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(west=st.integers(-1, 5), south=st.integers(-1, 6), width=st.integers(1, 6), height=st.integers(1, 7))
def test_pixels_on_an_area_s_edge_belong_to_it(tmp_path: Path, west: int, south: int, width: int, height: int) -> None:
    path = tmp_path / "edge.nc"
    if not path.exists():
        write_tropomi(path, scanlines=6, pixels=5)  # float32, 0.05 degrees apart from -112.05, 40.45
    x, y = -112.05 + 0.05 * west, 40.45 + 0.05 * south
    area = Area(xmin=round(x, 2), xmax=round(x + 0.05 * width, 2), ymin=round(y, 2), ymax=round(y + 0.05 * height, 2))
    part = read_granule(path, "tropomi_ch4", area=area).soundings
    chosen, counts = select(read_granule(path, "tropomi_ch4").soundings, Selection(area=area))
    columns, rows = (
        len(range(max(west, 0), min(west + width, 4) + 1)),
        len(range(max(south, 0), min(south + height, 5) + 1)),
    )
    assert len(part) == counts.in_area == columns * rows
    assert part.digests() == chosen.digests()


def test_a_polygon_holds_what_lies_in_it(tmp_path: Path) -> None:
    write_tropomi(tmp_path / "a.nc", scanlines=6, pixels=5)
    area = Area(polygon=[(-112.06, 40.44), (-111.8, 40.44), (-112.06, 40.8)])
    granule = read_granule(tmp_path / "a.nc", "tropomi_ch4", area=area)
    chosen, counts = select(read_granule(tmp_path / "a.nc", "tropomi_ch4").soundings, Selection(area=area))
    assert 0 < len(granule.soundings) == counts.in_area < granule.n_read == 30
    assert list(granule.soundings.sounding) == list(chosen.sounding)


def test_longitudes_to_360_and_areas_across_180(tmp_path: Path) -> None:
    write_tropomi(tmp_path / "a.nc", lon=179.95, pixels=4)  # to 180.1
    granule = read_granule(tmp_path / "a.nc", "tropomi_ch4", area=Area(xmin=179.98, xmax=-179.93, ymin=40, ymax=41))
    np.testing.assert_array_equal(granule.soundings.longitude[:2], [180, -179.95])
    assert (len(granule.soundings), granule.n_read) == (6, 12)


# -- blended, lost scanlines ---------------------------------------------------------------------------------------


def test_blended_agrees_with_pystilt(tmp_path: Path) -> None:
    path = tmp_path / tropomi_name(stream="BLND")
    write_blended(path, missing=0.3, kernel=np.linspace(1, 0.5, 12))
    granule, theirs = read_granule(path, "tropomi_ch4_blended"), read_tropomi_ch4(path)
    ours = granule.soundings
    assert (granule.key, granule.version[0], len(ours)) == ("20230715-o29801", "3", len(theirs))
    assert ours.is_whole.all()
    for mine, name, factor in (
        ("longitude", "longitude", 1),
        ("latitude", "latitude", 1),
        ("value", "value", 1e-3),
        ("uncertainty", "uncertainty", 1e-3),
        ("quality", "qa_value", 1),
        ("surface_pressure", "surface_pressure", 1),
        ("surface_altitude", "surface_altitude", 1),
        ("averaging_kernel", "ak", 1),
        ("pressure", "pressure_levels", 1),
        ("prior", "apriori", 1e-3),
        ("corner_longitude", "longitude_bounds", 1),
    ):
        expected = np.stack(theirs[name].to_numpy()) * factor
        np.testing.assert_allclose(getattr(ours, mine), expected, rtol=3e-7, atol=2e-4 if mine == "pressure" else 1e-5)
    operational = theirs["xch4_bias_corrected"].to_numpy() * 1e-3
    np.testing.assert_allclose(ours.value, operational - 0.007, atol=1e-6)
    assert np.isnan(ours.zenith).all()


def test_lost_scanlines_have_no_time_and_are_not_whole(tmp_path: Path) -> None:
    write_tropomi(tmp_path / "a.nc", untimed=2)
    granule = read_granule(tmp_path / "a.nc", "tropomi_ch4")
    assert np.isnat(granule.soundings.time).tolist() == [True] * 8 + [False] * 4
    assert (granule.n_read, int(granule.soundings.is_whole.sum())) == (12, 4)


# -- what a user overrides -----------------------------------------------------------------------------------------


def test_a_constant_replaces_the_product_s_variable(tmp_path: Path) -> None:
    write_tropomi(tmp_path / "t.nc")
    write_oco(tmp_path / "o.nc")
    tropomi = read(
        tmp_path / "t.nc", "tropomi_ch4", constants={"uncertainty": 0.05, "averaging_kernel": 1, "prior": 1.9}
    )
    assert (tropomi.uncertainty == 0.05).all()
    assert (tropomi.averaging_kernel == 1).all()
    assert (tropomi.prior == 1.9).all()
    assert tropomi.is_whole.all()
    oco = read(tmp_path / "o.nc", "oco2_xco2", constants={"averaging_kernel": 1, "prior": 400})
    assert oco.prior.shape == oco.averaging_kernel.shape == oco.pressure.shape == (12, 20)
    with refused("uncertainty: name a variable, or give one of constants, not both"):
        read(tmp_path / "t.nc", "tropomi_ch4", uncertainty="x", constants={"uncertainty": 0.05})


def test_weights_the_user_names_come_before_those_of_dry_air(tmp_path: Path) -> None:
    write_tropomi(tmp_path / "t.nc")
    dry = "PRODUCT/SUPPORT_DATA/INPUT_DATA/dry_air_subcolumns"
    weights = read(tmp_path / "t.nc", "tropomi_ch4", pressure_weight=dry).pressure_weight
    assert weights.min() > 100  # the subcolumns themselves, mol m-2


def edited(path: Path, change: Callable[[Dataset], object]) -> dict[str, Any]:
    mapping = write_grid(path)
    with Dataset(path, "a") as file:
        change(file)
    return mapping


def add(name: str, values: Any, units: str = "", dims: tuple[str, ...] = ("lat", "lon")) -> Callable[[Dataset], None]:
    def change(file: Dataset) -> None:
        if "letter" in dims:
            file.createDimension("letter", 20)
        kind = "S1" if "letter" in dims else "f8"
        variable = file.createVariable(name, kind, dims, fill_value=None if kind == "S1" else -1.0)
        variable[:] = values
        if units:
            variable.units = units

    return change


STAMP = np.broadcast_to(np.array(list("2023-07-15T09:20:07Z"), "S1"), (5, 5, 20))


@pytest.mark.parametrize(
    ("change", "mapping", "seconds"),
    [
        (add("more", np.full((5, 5), 7000.0)), {"time_offset": "more"}, 7),
        (add("more", np.full((5, 5), 2.0), "minutes"), {"time_offset": "more"}, 120),
        (add("more", np.full((5, 5), 7.0), "seconds since 2023-07-15"), {"time_offset": "more"}, 7),
        (add("stamp", STAMP, "", ("lat", "lon", "letter")), {"time": "stamp"}, 7),
    ],
)
def test_times(tmp_path: Path, change: Callable[[Dataset], None], mapping: dict[str, Any], seconds: int) -> None:
    table = edited(tmp_path / "g.nc", change)
    assert set(read(tmp_path / "g.nc", **{**table, **mapping}).time) == {
        np.datetime64("2023-07-15T09:20:00") + np.timedelta64(seconds, "s")
    }


def test_letters_with_an_encoding_are_text(tmp_path: Path) -> None:
    def change(file: Dataset) -> None:
        add("stamp", STAMP, "", ("lat", "lon", "letter"))(file)
        file["stamp"]._Encoding = "ascii"

    table = edited(tmp_path / "g.nc", change)
    assert read(tmp_path / "g.nc", **{**table, "time": "stamp"}).time[3] == np.datetime64("2023-07-15T09:20:07")


def test_a_lost_offset_is_no_time(tmp_path: Path) -> None:
    offset = np.ma.array(np.zeros((5, 5)), mask=np.eye(5, dtype=bool))
    table = edited(tmp_path / "g.nc", add("more", offset))
    times = read(tmp_path / "g.nc", **table, time_offset="more").time
    assert np.array_equal(np.isnat(times).reshape(5, 5), np.eye(5, dtype=bool))


def test_a_lost_id_is_the_pixel_s_place(tmp_path: Path) -> None:
    ids = np.ma.array(np.arange(100, 125).reshape(5, 5), mask=np.eye(5, dtype=bool))
    table = edited(tmp_path / "g.nc", add("number", ids))
    assert read(tmp_path / "g.nc", **table, id=["number"]).sounding[5:8].tolist() == ["105", "p6", "107"]


def rename(name: str, **attributes: Any) -> Callable[[Dataset], None]:
    return lambda file: file[name].setncatts(attributes)


NOTHING = rename("x")


@pytest.mark.parametrize(
    ("change", "mapping", "says"),
    [
        (add("sub/y", 0.0), {"value": "sub"}, r"variable sub \(value\) is missing"),
        (add("sub/y", 0.0), {"zenith": "sub"}, r"variable sub \(zenith\) is missing"),
        (NOTHING, {"zenith": ""}, r"\(zenith\) is missing"),
        (add("one", 0.0, "ppb", ()), {"value": "one"}, r"one \(value\) is one number, and no soundings"),
        (add("name", STAMP, "", ("lat", "lon", "letter")), {"zenith": "name"}, r"name \(zenith\) holds no numbers"),
        (rename("time", units="nanoseconds since 2000-01-01"), {}, "has units 'nanoseconds since"),
        (rename("time", units="seconds since the flood"), {}, "has units 'seconds since the flood'"),
        (rename("time", calendar="360_day"), {}, r"standard calendar \(its is 360_day\)"),
        (add("more", 0.0, "furlongs"), {"time_offset": "more"}, "has units 'furlongs'"),
        (add("q", 40.0), {"quality": "q"}, r"q \(quality\) holds 40, expected 0 to 1"),
        (add("dry", 5.0, "kg m-2", ("layer",)), {"dry_air": "dry", "prior_is": "partial_column"}, "expected the same"),
        (NOTHING, {"prior_is": "partial_column"}, "partial_column needs dry_air"),
        (NOTHING, {"units": {"valeu": "ppb"}}, "valeu has no units; those of value, "),
        (NOTHING, {"constants": {"valeu": 1}}, "constants.valeu"),
        (NOTHING, {"top_first": ["preture"]}, "top_first.*'pressure'"),
        (
            NOTHING,
            {"prior": "edges", "units": {"prior": "ppb"}},
            r"edges \(prior\) has 5 levels, and averaging_kernel 4: they must be on the same",
        ),
        (NOTHING, {"averaging_kernel": None}, "name its variable as mapping.averaging_kernel, or give one value"),
        (NOTHING, {"pressure": None}, "pressure_interval or pressure_hybrid"),
        (
            NOTHING,
            {
                "pressure": None,
                "averaging_kernel": None,
                "prior": None,
                "constants": {"averaging_kernel": 1, "prior": 2},
            },
            "must name pressure or pressure_hybrid, which tell the layers",
        ),
        (
            NOTHING,
            {"pressure": None, "pressure_hybrid": [[1, 0, 0], [0, 0, 0]]},
            "there are 2 levels of pressure, expected 4, as many as of averaging_kernel, or 5",
        ),
    ],
)
def test_each_mistake_has_its_line(tmp_path: Path, change: Any, mapping: dict[str, Any], says: str) -> None:
    table = edited(tmp_path / "g.nc", change)
    with refused(says):
        read(tmp_path / "g.nc", **{**table, **mapping})


# -- hostile and damaged files -------------------------------------------------------------------------------------


def test_what_a_file_declares_is_counted_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tropomi(tmp_path / "t.nc", scanlines=40, pixels=10)
    whole = read_granule(tmp_path / "t.nc", "tropomi_ch4")
    assert len(whole.soundings) == 400
    monkeypatch.setattr(engine, "MAX_BYTES", 40_000)
    with refused("t.nc: with PRODUCT/.* it takes .* GiB, and at most .* are read: give a smaller area"):
        read_granule(tmp_path / "t.nc", "tropomi_ch4")

    def chunked(file: Dataset) -> None:
        file.createDimension("deep", None)
        file.createVariable("k", "f8", ("deep",), chunksizes=(200_000,), zlib=True)[:4] = 1.0

    table = edited(tmp_path / "g.nc", chunked)
    monkeypatch.setattr(engine, "MAX_BYTES", 2_000_000)
    assert len(read(tmp_path / "g.nc", **{**table, "averaging_kernel": "k"})) == 25
    monkeypatch.setattr(engine, "MAX_BYTES", 1_500_000)  # less than a chunk, of which 4 numbers are wanted
    with refused(r"g.nc: with k \(averaging_kernel\)"):
        read(tmp_path / "g.nc", **{**table, "averaging_kernel": "k"})


def test_levels_that_hold_nothing_take_no_memory(tmp_path: Path) -> None:
    n, layers = 4_000_000, 150  # 22 GiB, of a file of some kB
    with Dataset(tmp_path / "hollow.nc", "w") as file:
        file.createDimension("n", n)
        file.createDimension("layer", layers)
        for name, units in (("x", "ppb"), ("lon", "degrees"), ("lat", "degrees"), ("t", "hours since 2023-07-15")):
            file.createVariable(name, "i1", ("n",), zlib=True, fill_value=False)[:] = 1
            file[name].units = units
        file.createVariable("p", "f4", ("n",), zlib=True).units = "hPa"
        for name in ("kernel", "prior", "edges"):
            file.createVariable(name, "f8", ("n", "layer"), chunksizes=(10_000, layers), zlib=True).units = "hPa"
    mapping = {"longitude": "lon", "latitude": "lat", "time": "t", "value": "x", "uncertainty": "x"}
    profiles = {"surface_pressure": "p", "pressure": "edges", "averaging_kernel": "kernel", "prior": "prior"}
    assert (tmp_path / "hollow.nc").stat().st_size < 1e6
    with refused(r"hollow.nc: with edges \(pressure\) it takes 4.\d GiB, and at most 4 are read: give a smaller area"):
        read(tmp_path / "hollow.nc", **mapping, **profiles)


@pytest.mark.parametrize("product", ["tropomi_ch4", "oco2_xco2"])
def test_no_damage_ends_in_a_traceback(tmp_path: Path, product: str) -> None:
    (write_tropomi if product == "tropomi_ch4" else write_oco)(tmp_path / "whole.nc")
    whole, rng = (tmp_path / "whole.nc").read_bytes(), np.random.default_rng(1)
    for k in range(120):
        data = bytearray(whole)
        if k % 2:
            del data[rng.integers(1, len(data)) :]
        for place in rng.integers(0, len(data), 12 if not k % 2 else 0):
            data[place] = rng.integers(256)
        path = tmp_path / f"{k}.nc"  # the library may not let go of a damaged one
        path.write_bytes(data)
        try:
            read_granule(path, product)
        except RetrievalError as error:
            assert str(error).startswith(path.name)  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
