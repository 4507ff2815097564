"""A scene's spec: what is written in its YAML, checked, completed, and made canonical."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from stilt_dagster.science.arl import ARCHIVES
from stilt_dagster.science.column import release
from stilt_dagster.science.domain import is_domain, scene_from_domain
from stilt_dagster.science.errors import SceneError
from stilt_dagster.science.grid import LONGLAT, Grid
from stilt_dagster.science.hysplit import VARSIWANT, TransportSettings
from stilt_dagster.science.receptor_files import read_points
from stilt_dagster.science.receptors import (
    MAX_RECEPTORS,
    Receptor,
    grid_receptors,
    make_receptor,
    receptor_table,
    release_time,
)
from stilt_dagster.science.selection import Selection
from stilt_dagster.science.soundings import Soundings
from stilt_dagster.science.spec import Place, Spec, parse_yaml, read_text, validate

SCENE_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")

#: Most cells a footprint's grid may have, a layer.
MAX_CELLS = 25_000_000


def _parse_time(value: Any) -> dt.datetime:
    """Read an ISO 8601 time; a number would silently be taken for seconds since 1970."""
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(
                f"must be an ISO 8601 time such as 2019-05-30T03:00:00Z or 2019-05-29T21:00-06:00 (got {value!r})"
            ) from None
    if not isinstance(value, dt.datetime):
        raise ValueError(f"must be an ISO 8601 time such as 2019-05-30T03:00:00Z (got {value!r})")
    return release_time(value)


class ReceptorGrid(Spec):
    """Receptors on the vertices of a grid, both ends included."""

    xmin: float = Field(ge=-180, le=180, description="Western longitude, degrees.")
    xmax: float = Field(ge=-180, le=180, description="Eastern longitude, degrees.")
    xres: float = Field(gt=0, description="Step in longitude, degrees.")
    ymin: float = Field(ge=-90, le=90, description="Southern latitude, degrees.")
    ymax: float = Field(ge=-90, le=90, description="Northern latitude, degrees.")
    yres: float = Field(gt=0, description="Step in latitude, degrees.")
    height: float | list[float] = Field(1.0, description="Release height, m; a list makes columns.")

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.xmin > self.xmax:
            raise ValueError(f"xmin {self.xmin} lies east of xmax {self.xmax}: split a grid at the antimeridian in two")
        if self.ymin > self.ymax:
            raise ValueError(f"ymin {self.ymin} lies north of ymax {self.ymax}")
        n = (round((self.xmax - self.xmin) / self.xres) + 1) * (round((self.ymax - self.ymin) / self.yres) + 1)
        if n > MAX_RECEPTORS:
            raise ValueError(f"makes {n} receptors, and a scene holds at most {MAX_RECEPTORS}: use larger steps")
        make_receptor(dt.datetime(2000, 1, 1), self.xmin, self.ymin, self.height)
        return self


class ReceptorPoint(Spec):
    """One receptor; lists make a column from their first to their last values."""

    longitude: float | list[float] = Field(description="Degrees east.")
    latitude: float | list[float] = Field(description="Degrees north.")
    height: float | list[float] = Field(1.0, description="Release height, m.")
    time: dt.datetime | None = Field(None, description="Release time, UTC; the scene's by default.")

    _time = field_validator("time", mode="before")(lambda v: None if v is None else _parse_time(v))

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        make_receptor(dt.datetime(2000, 1, 1), self.longitude, self.latitude, self.height)
        return self


class Retrieved(Spec):
    """What was read of a retrieval when its scene was registered.

    The soundings themselves are kept beside the spec. Their hashes are of what different products are made of, so that
    a reprocessed retrieval redoes what it changes, and no more.
    """

    granule: str = Field(description="What was measured: the same for each version of it.")
    version: list[str] = Field(description="Stream, collection, processor, time of making; newer ones compare larger.")
    soundings: int = Field(ge=1, description="Receptors.")
    counts: dict[str, int] = Field(description="Soundings read, and left by each step of the selection.")
    positions: str = Field(description="Hash of where and when particles are released.")
    kernels: str = Field(description="Hash of what footprints are weighted with.")
    observations: str = Field(description="Hash of values, uncertainties and priors.")


class Retrieval(Selection):
    """Receptors from the soundings of a satellite's retrieval: a column each."""

    product: str = Field(max_length=40, description="Which reader, such as tropomi_ch4.")
    uri: Place = Field(description="The file: a path, or the URL of an object.")
    mapping: dict[str, Any] | None = Field(None, description="What to read otherwise than the product's table says.")
    geometry: Literal["vertical", "slant"] = Field("vertical", description="Upright, or along the line of sight.")
    top: float = Field(
        3000.0, gt=0, le=30_000, description="Least height of the columns, m: they end at the next level of pressure."
    )
    retrieved: Retrieved | None = Field(None, description="Filled in when the scene is registered.")


class ReceptorSource(Spec):
    """Where a scene's receptors come from: a grid, points or a retrieval (a file is read into points)."""

    grid: ReceptorGrid | None = None
    points: list[ReceptorPoint] | None = Field(None, max_length=MAX_RECEPTORS)
    retrieval: Retrieval | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(part is not None for part in (self.grid, self.points, self.retrieval)) != 1:
            raise ValueError("needs exactly one of grid, points, file, retrieval")
        if self.points is not None and not self.points:
            raise ValueError("points is empty: a scene needs at least one receptor")
        return self


class FootprintSettings(Spec):
    """The grid of a footprint, and how it is smoothed."""

    xmin: float = Field(ge=-180, le=360, description="Western edge, degrees.")
    xmax: float = Field(ge=-180, le=360, description="Eastern edge, degrees; west of xmin crosses the antimeridian.")
    xres: float = Field(gt=0, description="Cell width, degrees (units of the projection, where there is one).")
    ymin: float = Field(ge=-90, le=90, description="Southern edge, degrees.")
    ymax: float = Field(ge=-90, le=90, description="Northern edge, degrees.")
    yres: float = Field(gt=0, description="Cell height, degrees (units of the projection, where there is one).")
    smooth_factor: float = Field(1.0, ge=0, le=100, description="Factor on the smoothing kernel's width; 0 is none.")
    time_integrate: bool = Field(False, description="One layer instead of one an hour.")
    projection: str = Field(LONGLAT, max_length=500, description="PROJ string of the grid.")

    @property
    def grid(self) -> Grid:
        """The grid."""
        return Grid(self.xmin, self.xmax, self.xres, self.ymin, self.ymax, self.yres, self.projection)

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.ymin >= self.ymax:
            raise ValueError(f"ymin {self.ymin} must lie south of ymax {self.ymax}")
        if self.xmin == self.xmax:
            raise ValueError(f"xmin and xmax are both {self.xmin}")
        if not self.grid.is_longlat:
            if self.xmin > self.xmax:
                raise ValueError(f"xmin {self.xmin} must lie west of xmax {self.xmax} on a projected grid")
            try:
                extent = self.grid.extent
            except Exception as error:  # pyproj raises its own kinds
                raise ValueError(f"projection {self.projection!r} is not a PROJ string: {error}") from None
            if not all(abs(v) < 1e12 for v in extent):
                raise ValueError(f"the box lies outside the projection {self.projection!r}")
        elif max(abs(self.ymin), abs(self.ymax)) > 89:
            # The smoothing kernel is divided by the cosine of latitude, which is 0 at a pole.
            raise ValueError("a longitude/latitude grid must stay between 89 S and 89 N: use a projection at the poles")
        nx, ny = self.grid.nx, self.grid.ny
        if nx < 1 or ny < 1:
            raise ValueError(f"holds no whole cell (xres {self.xres}, yres {self.yres}): enlarge the box")
        if nx * ny > MAX_CELLS:
            raise ValueError(
                f"has {nx} x {ny} cells, and at most {MAX_CELLS} are possible: use a coarser xres and yres"
            )
        return self


_AMOUNT = r"[1-9]\d{0,14}(\.\d{1,3})?(m|[KMGT]i?)?"

#: Run tags a scene may set, and what each may be: sizes of pods, and nothing that changes what runs in them.
RUN_TAGS = {
    "stilt/cpu": _AMOUNT,
    "stilt/memory": _AMOUNT,
    "stilt/ephemeral-storage": _AMOUNT,
    "dagster/priority": r"-?\d{1,4}",
}


class MeteorologySettings(Spec):
    """Where meteorology comes from, and how much of it a scene keeps."""

    source: str | None = Field(None, max_length=40, description="A NOAA ARL archive, such as hrrr, nam12, gdas1.")
    directory: Place | None = Field(None, description="A directory or bucket URL of ARL files.")
    pattern: str | None = Field(None, description="strftime pattern of their names; * stands for anything.")
    n_levels: int | None = Field(
        None, ge=2, le=200, description="Keep the lowest levels, the surface counted; all by default."
    )
    crop: bool = Field(True, description="False joins whole files, records unchanged; a crop requantises them.")
    margin: float | None = Field(
        None,
        ge=0,
        le=180,
        description="Degrees kept around receptors and footprint; by default 0.5, more where a valid file needs it.",
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.source is None) == (self.directory is None):
            raise ValueError("needs a source, such as hrrr, or a directory with a pattern")
        if (self.directory is None) != (self.pattern is None):
            raise ValueError('directory and pattern go together, such as pattern: "%Y%m%d_%H-*_hrrr"')
        if self.pattern is not None and (
            "/" in self.pattern or ("%Y" not in self.pattern and "%y" not in self.pattern)
        ):
            raise ValueError(
                f"pattern must be a file name with strftime codes for its first hour (got {self.pattern!r})"
            )
        if not self.crop and (self.n_levels is not None or self.margin is not None):
            raise ValueError("n_levels and margin need crop: true")
        return self

    @field_validator("source")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and value not in ARCHIVES:
            raise ValueError(f"unknown source {value!r}; known are {', '.join(sorted(ARCHIVES))}")
        return value


class Weighting(Spec):
    """What a particle's influence counts, applied before it is put on the grid: no transport depends on it."""

    averaging_kernel: bool = Field(
        True, description="Of a retrieval: weight with its kernel; false weights with pressure alone."
    )
    lifetime: float | None = Field(None, gt=0, description="First-order lifetime of the gas, h; none by default.")


class Background(Spec):
    """A concentration field that particles' ends are sampled in."""

    uri: Place = Field(description="NetCDF with time, level, latitude and longitude: a path or a URL.")
    variable: str = Field(max_length=200, description="Its variable.")
    units: Literal["ppm", "ppb", "mol mol-1"] | None = Field(None, description="By default what the variable says.")
    vertical: Literal["pressure", "agl", "asl"] = Field(
        "pressure", description="What its levels are: pressure, or height above ground or above sea level."
    )
    at: Literal["end", "edge"] = Field(
        "end", description="Sample where particles end, or where they leave the footprint's grid for good."
    )


#: HYSPLIT's particle variable that each kind of level is compared with.
LEVEL_VARIABLES = {"pressure": "pres", "agl": "zagl", "asl": "zsfc"}


class Scene(Spec):
    """A scene: many receptors, one transport, one footprint grid, one meteorology.

    The model is the canonical form of a spec: what a YAML leaves out is filled in, names are completed, and equal
    specs are equal as JSON.
    """

    id: str
    name: str
    time: dt.datetime
    receptors: ReceptorSource
    transport: TransportSettings = Field(default_factory=TransportSettings)
    footprint: FootprintSettings
    meteorology: MeteorologySettings
    weighting: Weighting = Field(default_factory=lambda: Weighting(averaging_kernel=True, lifetime=None))
    background: Background | None = None
    max_failed_fraction: float = Field(0.02, ge=0, le=1, description="Share of failed receptors a step succeeds with.")
    tags: dict[str, str] = Field(
        default_factory=dict,
        description="Run tags of this scene's runs on a cluster: the size of its pods, its place in the queue.",
    )

    _soundings: Soundings | None = PrivateAttr(None)

    @field_validator("time", mode="before")
    @classmethod
    def _utc(cls, value: Any) -> dt.datetime:
        return _parse_time(value)

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            raise ValueError("must be a mapping of names to values")
        data = dict(data)
        receptors = data.get("receptors")
        points = receptors.get("points") if isinstance(receptors, dict) else None
        if data.get("time") is None and points and all(isinstance(p, dict) and p.get("time") for p in points):
            data["time"] = min(_parse_time(p["time"]) for p in points)
        if data.get("name") is None and isinstance(data.get("id"), str):
            data["name"] = data["id"]
        if data.get("id") is None and isinstance(data.get("name"), str) and data.get("time") is not None:
            try:
                time = _parse_time(data["time"])
            except ValueError:
                return {**data, "id": "unknown"}  # the time's own error says more
            stamp = f"{time:%Y%m%dt%H}" + (f"{time:%M}" if time.minute else "")
            data["id"] = f"{slug(data['name'])}-{_granule_of(receptors) or stamp}"
        background, transport = data.get("background"), data.get("transport") or {}
        if isinstance(background, dict) and isinstance(transport, dict) and "varsiwant" not in transport:
            # Printing one variable more changes no particle.
            level = LEVEL_VARIABLES.get(background.get("vertical", "pressure"), "zagl")
            data["transport"] = {**transport, "varsiwant": [*VARSIWANT, *({level} - set(VARSIWANT))]}
        return data

    @field_validator("tags", mode="before")
    @classmethod
    def _allowed_tags(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError("must be a mapping of run tags to amounts")
        tags = {str(k): str(v) for k, v in value.items()}
        for name, text in tags.items():
            pattern = RUN_TAGS.get(name)
            if pattern is None:
                raise ValueError(f"unknown run tag {name!r}; allowed are {', '.join(RUN_TAGS)}")
            if not re.fullmatch(pattern, text):
                raise ValueError(f"{name}: {text!r} is not an amount: use one such as 4, 500m or 16Gi")
        return tags

    @field_validator("id")
    @classmethod
    def _readable(cls, value: str) -> str:
        if not SCENE_ID.fullmatch(value):
            raise ValueError(
                f"{value!r} must start with a letter or digit and hold only a-z, 0-9, '.', '_' and '-', at most 100"
            )
        return value

    @model_validator(mode="after")
    def _has_levels(self) -> Self:
        if self.receptors.retrieval is not None and self.transport.kmsl:
            raise ValueError("transport.kmsl 1 (heights above sea level) does not go with a retrieval: remove it")
        if self.background is not None:
            needed = LEVEL_VARIABLES[self.background.vertical]
            if needed not in self.transport.varsiwant:
                raise ValueError(
                    f"background.vertical {self.background.vertical} needs {needed} in transport.varsiwant"
                )
        return self

    @cached_property
    def receptor_list(self) -> list[Receptor]:
        """The receptors, in the order the spec names them.

        Raises
        ------
        SceneError
            If they are a retrieval's, and its soundings are not here: see :meth:`with_soundings`.
        """
        return list(self._receptors())

    def _receptors(self) -> Iterator[Receptor]:
        if (retrieval := self.receptors.retrieval) is not None:
            yield from release(self.soundings, retrieval.top, slant=retrieval.geometry == "slant")
        if self.receptors.grid is not None:
            yield from grid_receptors(self.time, **dict(self.receptors.grid))
        for point in self.receptors.points or ():
            yield make_receptor(point.time or self.time, point.longitude, point.latitude, point.height)

    @property
    def soundings(self) -> Soundings:
        """The soundings of a retrieval's scene, one a receptor, in the same order."""
        if self._soundings is None:
            raise SceneError(f"scene {self.id} has no soundings: its retrieval is not read yet")
        return self._soundings

    @property
    def has_columns(self) -> bool:
        """Whether its receptors are a retrieval's, so that particles are weighted."""
        return self.receptors.retrieval is not None

    @cached_property
    def sounding_rows(self) -> dict[str, int]:
        """Where the sounding of each receptor of a retrieval is, by receptor id."""
        return {receptor.id: k for k, receptor in enumerate(self.receptor_list)}

    @property
    def is_weighted(self) -> bool:
        """Whether particles count otherwise than alike."""
        return self.has_columns or self.weighting.lifetime is not None

    def with_soundings(self, soundings: Soundings) -> Self:
        """Return the scene with the soundings its receptors are.

        Raises
        ------
        SceneError
            If they cannot be receptors of one scene.
        """
        scene = self.model_copy()
        scene._soundings = soundings
        scene.__dict__.pop("receptor_list", None)
        try:
            receptor_table(scene.receptor_list)
        except (SceneError, ValueError) as error:
            raise SceneError(f"scene {self.id}: {error}") from None
        return scene

    @property
    def predicted_cpu(self) -> float:
        """CPU seconds hycs_std is expected to need for the whole scene."""
        return self.transport.predicted_cpu * len(self.receptor_list)

    def to_json(self) -> str:
        """Return the canonical spec."""
        return json.dumps(self.model_dump(mode="json", exclude_none=True), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes, soundings_of: Callable[[Retrieved], Soundings] | None = None) -> Scene:
        """Read a spec :meth:`to_json` wrote; *soundings_of* gives the soundings kept with it."""
        scene = make_scene(json.loads(text), "the stored spec")
        retrieval = scene.receptors.retrieval
        if retrieval is None or retrieval.retrieved is None or soundings_of is None:
            return scene
        return scene.with_soundings(soundings_of(retrieval.retrieved))

    def differences(self, other: Scene) -> list[str]:
        """Return the names of the fields in which *other* differs."""
        return sorted(_differing(self.model_dump(mode="json"), other.model_dump(mode="json")))


def slug(name: str) -> str:
    """Return a name as it stands in a scene's id."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")


def _granule_of(receptors: Any) -> str:
    """Return what a retrieval that was read is of; empty for other receptors."""
    try:
        return str(receptors["retrieval"]["retrieved"]["granule"])
    except (KeyError, TypeError):
        return ""


def _differing(a: Any, b: Any, path: str = "") -> Iterator[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in a.keys() | b.keys():
            yield from _differing(a.get(key), b.get(key), f"{path}.{key}" if path else key)
    elif a != b:
        yield path


# -- reading ------------------------------------------------------------------------------------------------------


#: Reads a retrieval: what it was, its soundings as selected, and when the first of them was made.
Retrieve = Callable[[Retrieval, str], tuple[Retrieved, Soundings]]


def load_scene(path: Path, retrieve: Retrieve | None = None) -> Scene:
    """Read a scene's YAML, or a stiltctl domain file.

    Parameters
    ----------
    path : Path
        The file. Relative paths in it start at its directory.
    retrieve : callable, optional
        Reads a retrieval, for scenes whose receptors are one's.

    Returns
    -------
    Scene
        Checked and complete.

    Raises
    ------
    SceneError
        One line naming the file, each field in error, and what is allowed.
    RetrievalError
        If the retrieval cannot be used.
    """
    return parse_scene(read_text(path, SceneError), str(path), path.parent, path.stem, retrieve)


def parse_scene(
    text: str | dict[str, Any], where: str, base: Path | None, stem: str = "scene", retrieve: Retrieve | None = None
) -> Scene:
    """Read a scene from YAML *text*, or what it holds.

    *where* names it in errors, *stem* a domain that has no name. Paths start at *base*; without, they must be absolute.
    """
    names = "a scene: names and values, such as name, time, receptors, footprint"
    data = parse_yaml(text, where, names, SceneError) if isinstance(text, str) else text
    base = base or Path("/")
    if is_domain(data):
        data = scene_from_domain(data, stem, where)
    receptors = data.get("receptors")
    if isinstance(receptors, dict) and "file" in receptors:
        others = {k: v for k, v in receptors.items() if k != "file" and v is not None}
        if others:
            raise SceneError(f"{where}: receptors: needs exactly one of grid, points, file, retrieval")
        data = {**data, "receptors": {"points": read_points(base, receptors["file"], where)}}
    for section, name in (("meteorology", "directory"), ("background", "uri")):
        data = _located(data, section, name, base)
    if isinstance(receptors, dict) and isinstance(receptors.get("retrieval"), dict):
        return _retrieved(_located(data, "receptors", "retrieval", base), where, retrieve)
    return make_scene(data, where)


def _located(data: dict[str, Any], section: str, name: str, base: Path) -> dict[str, Any]:
    """Return a spec with a path in it that starts at *base* as an absolute one."""
    part = data.get(section)
    if not isinstance(part, dict):
        return data
    value = part.get(name)
    if isinstance(value, dict):
        return {**data, section: _located(part, name, "uri", base)}
    if not isinstance(value, str) or "://" in value:
        return data
    return {**data, section: {**part, name: str((base / Path(value).expanduser()).resolve())}}


def _retrieved(data: dict[str, Any], where: str, retrieve: Retrieve | None) -> Scene:
    """Return a retrieval's scene, its soundings read."""
    if retrieve is None:
        raise SceneError(
            f"{where}: receptors.retrieval cannot be read here: register it with `stilt-dagster scene add`"
        )
    given = data["receptors"]["retrieval"]
    retrieval = validate(Retrieval, given, f"{where}: receptors.retrieval", SceneError)
    retrieved, soundings = retrieve(retrieval, where)
    source = {**given, "retrieved": retrieved.model_dump()}
    first = soundings.time.min().astype("datetime64[s]").item()
    complete = {**data, "time": data.get("time") or first.isoformat(), "receptors": {"retrieval": source}}
    return make_scene(complete, where).with_soundings(soundings)


def make_scene(data: Any, where: str) -> Scene:
    """Check and complete a spec; *where* names it in errors.

    Raises
    ------
    SceneError
        One line naming *where*, each field in error, and what is allowed.
    """
    scene = validate(Scene, data, where, SceneError)
    if scene.has_columns:
        return scene
    try:
        receptor_table(scene.receptor_list)
    except (SceneError, ValueError) as error:
        raise SceneError(f"{where}: {error}") from None
    return scene
