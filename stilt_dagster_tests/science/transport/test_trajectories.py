"""Part files of receptors that are not alike."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np

from stilt_dagster.resources.folders import Directory
from stilt_dagster.science.batches import Batch
from stilt_dagster.science.part_index import IndexedFolder
from stilt_dagster.science.scenes.receptors import Receptor, Receptors, make_receptor
from stilt_dagster.science.scenes.transport_settings import TransportSettings
from stilt_dagster.science.transport.particle_files import read_particles
from stilt_dagster.science.transport.particles import Particles
from stilt_dagster.science.transport.trajectories import simulate_shards


class Engine:
    """Gives particles that stand still; those of a column know the height they were released at."""

    def run(self, receptor: Receptor, settings: TransportSettings, meteorology: object) -> Particles:
        numbers = np.arange(1, settings.numpar + 1, dtype=np.int32)
        columns = {"age": -60 * numbers, "particle": numbers}
        columns |= {name: np.ones(len(numbers)) for name in ("lon", "lat", "zagl")}
        if len(receptor.heights) > 1:
            columns["xhgt"] = np.linspace(*receptor.heights, len(numbers))
        columns["foot"] = np.ones(len(numbers))
        return Particles(columns, dict.fromkeys(("lon", "lat", "zagl", "foot"), 4))

    def stop(self) -> None:
        """Nothing is under way."""


def test_points_and_columns_share_a_part_file(tmp_path: Path) -> None:
    """Whichever comes first; points have no height in a column."""
    time = dt.datetime(2023, 7, 15, 9, 20, tzinfo=dt.UTC)
    heights: list[float | list[float]] = [5.0, [0.0, 400.0], 10.0, [0.0, 800.0]]
    for order in (heights, heights[::-1]):
        some = Receptors.of(make_receptor(time, -112 + k / 10, 40.5, h) for k, h in enumerate(order))
        folder = IndexedFolder(Directory(tmp_path / str(order[0])))
        shards = {"00": [Batch("00", 0, some, "key")]}
        settings = TransportSettings(n_hours=-2, numpar=3)
        report = simulate_shards(shards, settings, (), Engine(), lambda shard, f=folder: f, tmp_path, workers=1)
        assert report.made == 4
        found = read_particles(tmp_path / str(order[0]) / "part-00000.parquet")
        highest = found.groupby("receptor", observed=True)["xhgt"].max()
        for receptor in some:
            expected = receptor.heights[-1] if len(receptor.heights) > 1 else np.nan
            np.testing.assert_equal(highest[receptor.id], expected)
