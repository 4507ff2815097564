"""What the receptors of a scene are expected to take: CPU, and bytes of each product.

CPU is the engine's, which grows with particles and hours, and what text, Parquet, gridding and NetCDF add to it. Bytes
of trajectories grow with rows, one a particle and minute; those of footprints and jacobian with the cells that
are touched, on top of what a file has without any. Constants were measured on hycs_std v5.1.0, see *Cost* in
docs/explanation/measurements.md; a :class:`Calibration` scales what depends on machine and weather to what was
measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stilt_dagster.science.batches import batch_size
from stilt_dagster.science.scenes.engines.check import CHECK_RUNS
from stilt_dagster.science.scenes.receptors import SHARDS
from stilt_dagster.science.scenes.spec import Scene

#: CPU of a receptor, s: to start, of an hour of meteorology, of a particle-hour in the engine and in what reads it.
_CPU = {"hysplit": (0.07, 0.002, 0.00222), "native": (0.02, 0.0, 0.0001)}
#: CPU of a pair of part files, s.
_FILE_CPU = 0.08
#: CPU of all else, s: Python, Dagster, the aggregate, the jacobian.
_SCENE_CPU = 4.0

#: Bytes of a particle and minute by night, what is added by day, where turbulence fills the columns; of 11 columns.
#: Particles are in turbulence up to some height, m.
_ROW_BYTES, _ROW_BYTES_BY_DAY, _COLUMNS, _MIXED = 7.4, 2.6, 11, 1500.0
_TRAJECTORY_FILE = 8_000

#: Bytes of a file, of a receptor, of a chunk of a layer with anything in it, of a cell that is not zero (twice in a
#: footprint file), and of a row or column of the grid.
_FOOTPRINT_FILE, _FOOTPRINT_RECEPTOR, _CHUNK, _FOOTPRINT_ENTRY = 38_000, 370, 214, 8.6
_JACOBIAN_FILE, _JACOBIAN_RECEPTOR, _JACOBIAN_ENTRY = 36_000, 190, 8
_AXIS = 24
#: Bytes that a retrieval adds to a jacobian: once, an observation, and a level of one.
_RETRIEVAL, _OBSERVATION, _LEVEL = 8_000, 90, 16

_KM_A_DEGREE = 111.2

#: Wind near the ground, km an hour; by night and by day: spread of particles after an hour, km, and share of those that
#: are low enough to feel the surface.
_WIND, _SPREAD, _LOW = 18.0, (1.2, 2.6), (0.1, 0.4)


@dataclass(frozen=True)
class Calibration:
    """What was measured, over what was predicted.

    Attributes
    ----------
    cpu, rows, entries, layers : float
        Of CPU, of the bytes of a particle row, of the number of the footprints' touched cells, of their bytes.
    inside : float
        Share of the particle-minutes before particles leave the meteorology: those after that take nothing.
    """

    cpu: float = 1.0
    rows: float = 1.0
    entries: float = 1.0
    layers: float = 1.0
    inside: float = 1.0


@dataclass(frozen=True)
class Prediction:
    """What a scene, or some of its parts, is expected to take.

    Attributes
    ----------
    files : int
        Part files of trajectories, and as many of footprints.
    cpu_seconds, scene_cpu_seconds : float
        CPU of simulating and gridding, and of all else once a scene, s.
    trajectories, footprints, jacobian : float
        Bytes of each product.
    entries : float
        Cells of the footprints that are not zero.
    """

    files: int
    cpu_seconds: float
    scene_cpu_seconds: float
    trajectories: float
    footprints: float
    jacobian: float
    entries: float


def count_files(scene: Scene) -> int:
    """Return how many part files a scene's trajectories are."""
    size, shards = batch_size(scene), scene.receptor_list.shards
    return sum(-(-shards.count(shard) // size) for shard in SHARDS)


def predict(
    scene: Scene, calibration: Calibration = Calibration(), *, receptors: int | None = None, files: int | None = None
) -> Prediction:
    """Return what a scene is expected to take.

    Parameters
    ----------
    scene : Scene
        The scene, with its receptors.
    calibration : Calibration
        What was measured of others.
    receptors, files : int, optional
        Of some part files of it; of all by default.
    """
    n = len(scene.receptor_list) if receptors is None else receptors
    files = count_files(scene) if files is None else files
    transport, grid = scene.transport, scene.footprint.grid
    hours = abs(transport.n_hours)
    day = _share_of_day(scene)
    particle_hours = n * transport.released * hours * calibration.inside
    cpu = _engine_cpu(transport.engine, n * transport.runs, hours, particle_hours) + files * _FILE_CPU
    if scene.n_checked:
        runs = CHECK_RUNS * n * scene.n_checked / len(scene.receptor_list)
        cpu += _engine_cpu("hysplit", runs, hours, runs * transport.numpar * hours * calibration.inside)
    mixed = min(1.0, _MIXED / max(float(scene.receptor_list.height.max()), 1.0))
    row = (_ROW_BYTES + _ROW_BYTES_BY_DAY * day * mixed) * len(transport.varsiwant) / _COLUMNS
    touched, chunks = _touched(scene, day)
    entries = n * touched * calibration.entries
    layers = n * (touched * _FOOTPRINT_ENTRY + chunks * _CHUNK) * calibration.layers
    axes = _AXIS * (grid.nx + grid.ny)
    observed = 0
    if scene.has_columns:
        observed = _RETRIEVAL + n * (_OBSERVATION + _LEVEL * scene.soundings.averaging_kernel.shape[1])
    return Prediction(
        files=files,
        cpu_seconds=cpu * calibration.cpu,
        scene_cpu_seconds=_SCENE_CPU * calibration.cpu,
        trajectories=particle_hours * 60 * row * calibration.rows + files * _TRAJECTORY_FILE,
        footprints=layers + files * (_FOOTPRINT_FILE + axes) + n * _FOOTPRINT_RECEPTOR,
        jacobian=entries * _JACOBIAN_ENTRY
        + n * _JACOBIAN_RECEPTOR
        + _JACOBIAN_FILE
        + axes
        + 8 * grid.nx * grid.ny
        + observed,
        entries=entries,
    )


def _engine_cpu(engine: str, runs: float, hours: int, particle_hours: float) -> float:
    """Return the CPU of runs of an engine, and of reading what they give, s."""
    of_run, of_hour, of_particle_hour = _CPU[engine]
    return runs * (of_run + of_hour * hours) + of_particle_hour * particle_hours


def _touched(scene: Scene, day: float) -> tuple[float, float]:
    """Return how many cells of a receptor's footprint are expected not to be zero, over all layers, in how many chunks.

    In each hour a plume of the particles' spread moves on with the wind; a cell of it is touched with the probability
    that one of the minutes of low particles falls within a kernel of it. What has left the grid touches none.

    Parameters
    ----------
    scene : Scene
        The scene.
    day : float
        Share of the run that is by day.
    """
    footprint, transport = scene.footprint, scene.transport
    grid = footprint.grid
    lon, lat = scene.receptor_list.longitude.mean(), scene.receptor_list.latitude.mean()
    cosine = float(np.cos(np.radians(lat)))
    x0, x1, y0, y1 = grid.extent
    if grid.is_longlat:
        x, y, unit_x, unit_y = x0 + (lon - x0) % 360, lat, _KM_A_DEGREE * cosine, _KM_A_DEGREE
    else:
        x, y = grid.transformer.transform(lon, lat)
        unit_x = unit_y = 0.001
    across = max(abs(x - x0) * unit_x, abs(x1 - x) * unit_x, abs(y - y0) * unit_y, abs(y1 - y) * unit_y)
    age = np.arange(abs(transport.n_hours)) + 0.5
    low, spread = (a + day * (b - a) for a, b in (_LOW, _SPREAD))
    sigma = spread * np.sqrt(age)
    # The kernel of R STILT's rule, degrees, in cells a side.
    deviation = 0.06 * footprint.smooth_factor * (2 * (sigma / _KM_A_DEGREE) ** 2) ** 0.25 * np.sqrt(age / 24)
    width = 3 * deviation * _KM_A_DEGREE / (cosine if grid.is_longlat else 1.0)
    dx, dy = grid.xres * unit_x, grid.yres * unit_y
    kernel = (1 + 2 * np.floor(width / dx)) * (1 + 2 * np.floor(width / dy))
    along, beside = _WIND + 4 * sigma + 2 * width, 4 * sigma + 2 * width
    plume = (1 + along / dx) * (1 + beside / dy)
    chunks = np.minimum((1 + along / (128 * dx)) * (1 + beside / (128 * dy)), -(-grid.nx // 128) * -(-grid.ny // 128))
    touched = np.minimum(plume * -np.expm1(-60 * transport.numpar * low * kernel / plume), grid.nx * grid.ny)
    inside = np.clip((across - _WIND * (age - 0.5)) / _WIND, 0.0, 1.0)
    total, parts = float((touched * inside).sum()), float((chunks * inside).sum())
    if footprint.time_integrate:
        return min(0.6 * total, grid.nx * grid.ny), float(chunks.max())
    return total, parts


def _share_of_day(scene: Scene) -> float:
    """Return the share of a run's hours at which the sun is up over the receptors."""
    receptors = scene.receptor_list
    lat, lon = np.radians(receptors.latitude.mean()), float(receptors.longitude.mean())
    hours = receptors.minutes.mean() / 60 - np.arange(abs(scene.transport.n_hours)) - 0.5
    declination = np.radians(-23.44) * np.cos(2 * np.pi * (hours / 24 % 365.25 + 10) / 365.25)
    angle = np.radians(15 * (hours % 24 - 12) + lon)
    height = np.sin(lat) * np.sin(declination) + np.cos(lat) * np.cos(declination) * np.cos(angle)
    return float((height > 0).mean())
