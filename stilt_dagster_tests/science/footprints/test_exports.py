"""Footprints for other programs: a CF file, and a GeoTIFF that GIS put where it belongs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.warp
import rioxarray
import xarray as xr

from stilt_dagster.resources.folders import Directory
from stilt_dagster.science.batches import Batch, plan_batches
from stilt_dagster.science.errors import IncompleteError, SceneError
from stilt_dagster.science.footprints.exports.cf_files import write_footprints
from stilt_dagster.science.footprints.exports.chosen import require_receptors, sum_footprints
from stilt_dagster.science.footprints.exports.raster_files import write_geotiff
from stilt_dagster.science.footprints.footprint_files import FootprintWriter
from stilt_dagster.science.footprints.gridding import Footprint, Layer
from stilt_dagster.science.outcomes import Outcome
from stilt_dagster.science.part_index import IndexedFolder
from stilt_dagster.science.scenes.grid import Grid
from stilt_dagster.science.scenes.loading import parse_scene
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.versions import footprint_key
from stilt_dagster_tests.science.formats import pass_the_cf_checker

#: A box, and one on a projection, of cells that are no squares.
BOXES = {
    "longlat": {"xmin": -112.5, "xmax": -111.5, "xres": 0.05, "ymin": 40.2, "ymax": 41.0, "yres": 0.1},
    "utm": {
        "xmin": -112.5, "xmax": -111.5, "xres": 5000, "ymin": 40.2, "ymax": 41.0, "yres": 9000,
        "projection": "+proj=utm +zone=12 +datum=WGS84 +units=m",
    },
}  # fmt: skip

#: How the receptors of the scene ended, in its order.
ENDED = ("ok", "failed", "empty", "ok", "ok", "failed", "ok")


@dataclass
class Stored:
    """A scene whose footprints are in a store: of numbers, none of it was run."""

    scene: Scene
    shards: dict[str, list[Batch]]
    root: Path
    layers: dict[str, np.ndarray] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)

    def folder(self, shard: str) -> IndexedFolder:
        self.opened.append(shard)
        return IndexedFolder(Directory(self.root / shard))


@pytest.fixture(params=sorted(BOXES))
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Stored:
    points = [{"longitude": round(-112 + 0.01 * k, 2), "latitude": 40.5, "height": [0, 500]} for k in range(len(ENDED))]
    data = {
        "id": "made",
        "time": "2023-07-15T09:20:00Z",
        "receptors": {"points": points},
        "transport": {"n_hours": -3, "numpar": 10},
        "footprint": BOXES[request.param],
        "meteorology": {"source": "hrrr"},
    }
    scene = parse_scene(data, "the test's scene", None)
    shards = plan_batches(scene, "meteorology", "engine")
    made = Stored(scene, shards, tmp_path / "footprints")
    status = dict(zip(scene.receptor_ids, ENDED, strict=True))
    grid, rng = scene.footprint.grid, np.random.default_rng(1)
    for shard, batches in shards.items():
        for batch in batches:
            key = footprint_key(scene, batch.key, batch.receptors.ids)
            writer = FootprintWriter(tmp_path / "part.nc", key, "", batch.receptors, scene.footprint, -3)
            for receptor in batch.receptors.ids:
                values = rng.uniform(0, 1, (3, grid.ny, grid.nx)).astype(np.float32) * (status[receptor] == "ok")
                layers = [Layer(-1 - h, 0, 0, values[h]) for h in range(3)] if values.any() else []
                footprint = None if status[receptor] == "failed" else Footprint(tuple(layers), tuple(layers), 0.0)
                writer.add(Outcome(receptor, status[receptor], foot_sum=0.0, imbalance=0.0), footprint)
                made.layers[receptor] = np.full_like(values, np.nan) if footprint is None else values
            writer.close()
            Directory(made.root / shard).put(tmp_path / "part.nc", f"{batch.name}.nc")
    return made


def test_a_cf_file_holds_the_chosen_receptors(stored: Stored, tmp_path: Path) -> None:
    ids = stored.scene.receptor_ids
    chosen = [ids[3], ids[1], ids[2], ids[0]]
    path = tmp_path / "chosen.nc"
    outcomes = write_footprints(stored.scene, stored.shards, stored.folder, chosen, path)
    assert [o.receptor for o in outcomes] == chosen
    assert len(stored.opened) <= len(chosen), "parts of others are not read"
    with xr.open_dataset(path) as ds:
        assert ds.receptor_id.to_numpy().tolist() == chosen
        assert ds.foot.dims[:2] == ("receptor", "hour")
        assert ds.status.to_numpy().tolist() == [0, 2, 1, 0]
        np.testing.assert_array_equal(ds.foot, np.stack([stored.layers[i] for i in chosen]))
        assert ds.receptor_height.to_numpy().tolist() == [0] * 4
        assert ds.receptor_height_top.to_numpy().tolist() == [500] * 4
    pass_the_cf_checker(path, "1.8")


def test_a_map_lies_where_the_grid_does(stored: Stored, tmp_path: Path) -> None:
    ids, grid = stored.scene.receptor_ids, stored.scene.footprint.grid
    total, count = sum_footprints(stored.scene, stored.shards, stored.folder, ids)
    assert count == ENDED.count("ok") + ENDED.count("empty")
    expected = np.nansum(np.stack([stored.layers[i] for i in ids], dtype=np.float64, casting="safe"), axis=(0, 1))
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    write_geotiff(total, grid, "influence", {"scene": "made"}, tmp_path / "sum.tif")
    with rasterio.open(tmp_path / "sum.tif") as map_:
        assert map_.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (map_.units, map_.descriptions) == (("ppm (umol m-2 s-1)-1",), ("influence",))
        assert map_.tags()["scene"] == "made"
        assert np.isnan(map_.nodata)
        np.testing.assert_allclose(map_.read(1), expected[::-1], rtol=1e-6)
        # A place on Earth, taken to the map's own coordinates by GDAL, is in the cell it is in on the grid.
        for lon, lat in ((-112.31, 40.43), (-111.72, 40.88)):
            [x], [y] = rasterio.warp.transform("EPSG:4326", map_.crs, [lon], [lat])
            here = (lon, lat) if grid.is_longlat else grid.transformer.transform(lon, lat)
            ix, iy = np.searchsorted(grid.x_edges, here[0]) - 1, np.searchsorted(grid.y_edges, here[1]) - 1
            assert next(map_.sample([(x, y)]))[0] == np.float32(total[iy, ix])
    with rioxarray.open_rasterio(tmp_path / "sum.tif") as map_:
        np.testing.assert_allclose(map_.x, grid.x)
        np.testing.assert_allclose(map_.y, grid.y[::-1])


@pytest.mark.parametrize(("xmin", "xmax", "west"), [(178, -179, 178), (200, 204, -160), (-180, 180, -180)])
def test_longitudes_of_a_map(tmp_path: Path, xmin: float, xmax: float, west: float) -> None:
    """A grid across the antimeridian stays in one piece; one that lies beyond it is given west of Greenwich."""
    grid = Grid(xmin, xmax, 1, -4, 2, 2)
    write_geotiff(np.arange(grid.ny * grid.nx).reshape(grid.ny, grid.nx), grid, "", {}, tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.tif") as map_:
        assert map_.bounds == (west, -4, west + grid.nx, 2)
        assert map_.crs.to_epsg() == 4326
        assert map_.read(1)[-1, 0] == 0


def test_what_is_not_there_is_named(stored: Stored, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"scene made has no receptor ghost; one of its 7 is 202307150920_-112_40.5_X"):
        require_receptors(stored.scene, ["ghost"])
    ids = stored.scene.receptor_ids
    assert require_receptors(stored.scene, [ids[4], ids[1], ids[4]]) == [ids[1], ids[4]]
    [lost] = (s for s, batches in stored.shards.items() if any(ids[0] in b.receptors.ids for b in batches))
    next((stored.root / lost).glob("part-*.nc")).unlink()
    with pytest.raises(IncompleteError, match=rf"footprints of shard {lost} of scene made are missing"):
        write_footprints(stored.scene, stored.shards, stored.folder, ids, tmp_path / "none.nc")
