"""Readers: each product as it was written, pystilt's readers as the measure, and what bad files are told."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from netCDF4 import Dataset
from stilt.observations.readers import read_oco2, read_tropomi_ch4

from stilt_dagster.retrievals import read_granule
from stilt_dagster.science.errors import RetrievalError, UnreadableError
from stilt_dagster.science.observations.selection import select
from stilt_dagster.science.scenes.observation_settings import Area, Selection
from stilt_dagster_tests.retrievals.granules import (
    tropomi_name,
    write_grid,
    write_methanesat,
    write_oco,
    write_tropomi,
)

LITE = "oco2_LtCO2_230715_B11100Ar_230718010203s.nc4"


@pytest.mark.parametrize("product", ["tropomi_ch4", "oco2_xco2"])
def test_agrees_with_pystilt(tmp_path: Path, product: str) -> None:
    path = tmp_path / LITE
    if product == "tropomi_ch4":
        write_tropomi(path, missing=0.3, kernel=np.linspace(1, 0.5, 12))
        theirs, scale = read_tropomi_ch4(path), 1e-3
    else:
        write_oco(path)
        theirs, scale = read_oco2(path), 1.0
    ours = read_granule(path, product).soundings
    assert len(ours) == len(theirs)
    for mine, name, factor in (
        ("longitude", "longitude", 1),
        ("latitude", "latitude", 1),
        ("value", "value", scale),
        ("uncertainty", "uncertainty", scale),
        ("surface_pressure", "surface_pressure", 1),
        ("surface_altitude", "surface_altitude", 1),
        ("zenith", "zenith", 1),
        ("azimuth", "azimuth", 1),
        ("averaging_kernel", "ak", 1),
        ("pressure", "pressure_levels", 1),
        ("prior", "apriori", scale),
    ):
        expected = np.stack(theirs[name].to_numpy()) * factor
        np.testing.assert_allclose(getattr(ours, mine), expected, rtol=3e-7, atol=2e-4 if mine == "pressure" else 1e-5)
    assert np.array_equal(ours.quality >= 0.5 - 1e-6, theirs["good"])
    gap = ours.time - theirs["time"].to_numpy().astype("datetime64[s]")
    assert (np.abs(gap.astype(int)) <= 1).all()
    np.testing.assert_allclose(ours.pressure_weight.sum(axis=1), 1, rtol=1e-6)


def test_dry_air_makes_the_weights(tmp_path: Path) -> None:
    write_tropomi(tmp_path / "a.nc")
    weights = read_granule(tmp_path / "a.nc", "tropomi_ch4").soundings.pressure_weight
    dry = np.linspace(0.99, 1.0, 12)
    np.testing.assert_allclose(weights, np.tile(dry / dry.sum(), (12, 1))[:, ::-1][:, ::-1], rtol=1e-6)


def test_identity_is_the_content_s(tmp_path: Path) -> None:
    write_tropomi(tmp_path / tropomi_name())
    shutil.copy(tmp_path / tropomi_name(), tmp_path / "renamed.nc")
    write_tropomi(tmp_path / "rpro.nc", stream="RPRO", made="20240101T000000")
    write_tropomi(tmp_path / "newer.nc", processor="020700")
    first, copy, rpro, newer = (
        read_granule(tmp_path / n, "tropomi_ch4") for n in (tropomi_name(), "renamed.nc", "rpro.nc", "newer.nc")
    )
    assert first.key == copy.key == rpro.key == newer.key == "20230715-o29801"
    assert first.version == copy.version < newer.version < rpro.version


def test_area_reads_what_reading_all_and_choosing_gives(tmp_path: Path) -> None:
    write_tropomi(tmp_path / "a.nc", scanlines=6, pixels=5)
    area = Area(xmin=-112.02, xmax=-111.9, ymin=40.52, ymax=40.63)
    part = read_granule(tmp_path / "a.nc", "tropomi_ch4", area=area)
    whole = read_granule(tmp_path / "a.nc", "tropomi_ch4")
    chosen, counts = select(whole.soundings, Selection(area=area))
    assert 0 < len(part.soundings) == counts.in_area < part.n_read == 30
    assert part.soundings.digests() == chosen.digests()
    assert list(part.soundings.sounding) == list(chosen.sounding)
    assert not len(read_granule(tmp_path / "a.nc", "tropomi_ch4", area=Area(xmin=0, xmax=1, ymin=0, ymax=1)).soundings)


def test_any_netcdf_by_a_table(tmp_path: Path) -> None:
    mapping = write_grid(tmp_path / "g.nc")
    soundings = read_granule(tmp_path / "g.nc", "netcdf", mapping=mapping).soundings
    assert len(soundings) == 25
    assert soundings.is_whole.sum() == 25 - len([v for v in range(1900, 1925) if v % 7 == 0])
    np.testing.assert_allclose(soundings.pressure[3], [900, 675, 450, 225, 0])
    np.testing.assert_allclose(soundings.averaging_kernel[3], [1, 0.9, 0.8, 0.7])
    assert soundings.value[1] == pytest.approx(1.901)
    with Dataset(tmp_path / "g.nc", "a") as file:  # the same, upside down and in other units
        file["edges"][:] = file["edges"][::-1] * 100
        file["edges"].units = "Pa"
        for name in ("ak", "profile"):
            file[name][:] = file[name][::-1]
    other = read_granule(tmp_path / "g.nc", "netcdf", mapping={**mapping, "top_first": True}).soundings
    assert other.digests() == soundings.digests()


@pytest.mark.parametrize("product", ["methanesat_l2", "methanesat_l3", "methaneair"])
def test_methanesat(tmp_path: Path, product: str) -> None:
    level = 3 if product.endswith("l3") else 2
    write_methanesat(tmp_path / "m.nc", level=level)
    with pytest.raises(RetrievalError, match="does not say where uncertainty is"):
        read_granule(tmp_path / "m.nc", product)
    granule = read_granule(tmp_path / "m.nc", product, mapping={"constants": {"uncertainty": 0.02}})
    soundings = granule.soundings
    assert granule.key == "20230715t0920"
    assert (len(soundings), int(soundings.is_whole.sum())) == (42, 33)
    assert soundings.pressure.shape == (42, 20)
    np.testing.assert_allclose(soundings.pressure[0, [0, 13, 14, 15, 19]], [870, 120, 100, 80, 0.1])
    kernel = soundings.averaging_kernel[0]
    np.testing.assert_allclose(kernel, 0.95 if level == 3 else np.linspace(1.05, 0.3, 19))
    assert soundings.value[1] == pytest.approx(1.92)
    assert soundings.surface_altitude[0] == 1300 or level == 2
    assert (soundings.quality == 1).all() == (level == 3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"valu": "x"}, "valu: unknown name; did you mean value?"),
        ({"value": "nothing"}, "variable nothing (value) is missing"),
        ({"units": {"value": "furlong"}}, "has units 'furlong'"),
        ({"averaging_kernel": "x"}, "must hold a profile"),
        ({"surface_pressure": "edges"}, "must hold one number a sounding"),
        ({"time": "x"}, "has units 'ppb', expected one such as"),
    ],
)
def test_bad_tables(tmp_path: Path, change: dict, says: str) -> None:
    mapping = write_grid(tmp_path / "g.nc")
    with pytest.raises(RetrievalError) as error:
        read_granule(tmp_path / "g.nc", "netcdf", mapping={**mapping, **change})
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_files(tmp_path: Path) -> None:
    write_tropomi(tmp_path / "whole.nc", scanlines=40, pixels=40)
    data = (tmp_path / "whole.nc").read_bytes()
    for name, content in (("cut.nc", data[: len(data) // 2]), ("empty.nc", b""), ("text.nc", b"hello")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableError, match=rf"{name} cannot be read"):
            read_granule(tmp_path / name, "tropomi_ch4")
    with Dataset(tmp_path / "huge.nc", "w") as file:
        for dim in ("a", "b"):
            file.createDimension(dim, 1_000_000_000)
        file.createVariable("x", "f4", ("a", "b"), chunksizes=(1000, 1000), zlib=True)
    with pytest.raises(RetrievalError, match="is 1000000000 long, and at most"):
        read_granule(tmp_path / "huge.nc", "netcdf", mapping=dict.fromkeys(write_grid(tmp_path / "g.nc"), "x"))
