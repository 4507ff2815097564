"""A scene's spec: what is written in its YAML, checked, completed, and made canonical."""

from __future__ import annotations

import datetime as dt
import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from stilt_dagster.science.arl import ARCHIVES
from stilt_dagster.science.domain import is_domain, scene_from_domain
from stilt_dagster.science.errors import SceneError
from stilt_dagster.science.grid import LONGLAT, Grid
from stilt_dagster.science.hysplit import TransportSettings
from stilt_dagster.science.receptor_files import read_points
from stilt_dagster.science.receptors import Receptor, grid_receptors, make_receptor, receptor_table, release_time

SCENE_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")

#: A scene of more receptors than this is taken for a slip of the decimal point.
MAX_RECEPTORS = 1_000_000

#: Most cells a footprint's grid may have, a layer.
MAX_CELLS = 25_000_000

_MAX_YAML_BYTES = 64 * 2**20


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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


class ReceptorGrid(_Model):
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


class ReceptorPoint(_Model):
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


class ReceptorSource(_Model):
    """Where a scene's receptors come from: exactly one of a grid or points (a file is read into points)."""

    grid: ReceptorGrid | None = None
    points: list[ReceptorPoint] | None = Field(None, max_length=MAX_RECEPTORS)

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.grid is None) == (self.points is None):
            raise ValueError("needs exactly one of grid, points, file")
        if self.points is not None and not self.points:
            raise ValueError("points is empty: a scene needs at least one receptor")
        return self


class FootprintSettings(_Model):
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


class MeteorologySettings(_Model):
    """Where meteorology comes from, and how much of it a scene keeps."""

    source: str | None = Field(None, max_length=40, description="A NOAA ARL archive, such as hrrr, nam12, gdas1.")
    directory: str | None = Field(None, description="A directory or bucket URL of ARL files.")
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


class Scene(_Model):
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
    max_failed_fraction: float = Field(0.02, ge=0, le=1, description="Share of failed receptors a step succeeds with.")
    tags: dict[str, str] = Field(
        default_factory=dict,
        description="Run tags of this scene's runs on a cluster: the size of its pods, its place in the queue.",
    )

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
            slug = re.sub(r"[^a-z0-9._-]+", "-", data["name"].lower()).strip("-._")
            data["id"] = f"{slug}-{time:%Y%m%dt%H}" + (f"{time:%M}" if time.minute else "")
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

    @cached_property
    def receptor_list(self) -> list[Receptor]:
        """The receptors, in the order the spec names them."""
        return list(self._receptors())

    def _receptors(self) -> Iterator[Receptor]:
        if self.receptors.grid is not None:
            yield from grid_receptors(self.time, **dict(self.receptors.grid))
        for point in self.receptors.points or ():
            yield make_receptor(point.time or self.time, point.longitude, point.latitude, point.height)

    @property
    def predicted_cpu(self) -> float:
        """CPU seconds hycs_std is expected to need for the whole scene."""
        return self.transport.predicted_cpu * len(self.receptor_list)

    def to_json(self) -> str:
        """Return the canonical spec."""
        return json.dumps(self.model_dump(mode="json", exclude_none=True), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Scene:
        """Read a spec :meth:`to_json` wrote."""
        return make_scene(json.loads(text), "the stored spec")

    def differences(self, other: Scene) -> list[str]:
        """Return the names of the fields in which *other* differs."""
        return sorted(_differing(self.model_dump(mode="json"), other.model_dump(mode="json")))


def digest(value: Any) -> str:
    """Return a hash of anything JSON can hold: the same for equal content, on any machine."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _differing(a: Any, b: Any, path: str = "") -> Iterator[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in a.keys() | b.keys():
            yield from _differing(a.get(key), b.get(key), f"{path}.{key}" if path else key)
    elif a != b:
        yield path


# -- reading ------------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """YAML as plain data: no aliases (they can multiply without end), no doubled names, times left as text."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        for name in names:
            if not isinstance(name, str):
                raise yaml.YAMLError(f"line {node.start_mark.line + 1}: {name!r} is not a name")
            if names.count(name) > 1:
                raise yaml.YAMLError(f"line {node.start_mark.line + 1}: {name} is given twice")
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_scene(path: Path) -> Scene:
    """Read a scene's YAML, or a stiltctl domain file.

    Parameters
    ----------
    path : Path
        The file. Relative paths in it start at its directory.

    Returns
    -------
    Scene
        Checked and complete.

    Raises
    ------
    SceneError
        One line naming the file, each field in error, and what is allowed.
    """
    try:
        if path.stat().st_size > _MAX_YAML_BYTES:
            raise SceneError(
                f"{path} is larger than {_MAX_YAML_BYTES >> 20} MiB: keep receptors in a CSV or Parquet file"
            )
        text = path.read_text()
    except OSError as error:
        raise SceneError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise SceneError(f"{path} is not a text file") from error
    return parse_scene(text, str(path), path.parent, path.stem)


def parse_scene(text: str, where: str, base: Path, stem: str = "scene") -> Scene:
    """Read a scene from YAML *text*; *where* names it in errors, *stem* names a domain that has no name."""
    try:
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        raise SceneError(f"{where} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise SceneError(f"{where} must hold a scene: names and values, such as name, time, receptors, footprint")
    if is_domain(data):
        data = scene_from_domain(data, stem, where)
    receptors = data.get("receptors")
    if isinstance(receptors, dict) and "file" in receptors:
        others = {k: v for k, v in receptors.items() if k != "file" and v is not None}
        if others:
            raise SceneError(f"{where}: receptors: needs exactly one of grid, points, file")
        data = {**data, "receptors": {"points": read_points(base, receptors["file"], where)}}
    meteorology = data.get("meteorology")
    if isinstance(meteorology, dict) and isinstance(meteorology.get("directory"), str):
        directory = meteorology["directory"]
        if "://" not in directory:
            directory = str((base / Path(directory).expanduser()).resolve())
        data = {**data, "meteorology": {**meteorology, "directory": directory}}
    return make_scene(data, where)


def make_scene(data: Any, where: str) -> Scene:
    """Check and complete a spec; *where* names it in errors.

    Raises
    ------
    SceneError
        One line naming *where*, each field in error, and what is allowed.
    """
    try:
        scene = Scene.model_validate(data)
    except ValidationError as error:
        raise SceneError(f"{where}: {_explain(error)}") from None
    try:
        receptor_table(scene.receptor_list)
    except (SceneError, ValueError) as error:
        raise SceneError(f"{where}: {error}") from None
    return scene


def _explain(error: ValidationError) -> str:
    """Return a validation error as one line: each field, what is wrong, and the name probably meant."""
    lines = []
    for problem in error.errors():
        # Alternatives of a union are not names a user wrote.
        place = [str(p) for p in problem["loc"] if not re.match(r"(float|int|list\[|literal\[|constrained)", str(p))]
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "unknown name" + _suggestion(place)
        elif problem["type"] == "missing":
            message = "is missing"
        elif "got " not in message and not isinstance(problem["input"], (Mapping, list)):
            message += f" (got {problem['input']!r})"
        line = f"{'.'.join(place)}: {message}" if place else message
        if line not in lines:
            lines.append(line)
    more = f"; and {len(lines) - 5} more" if len(lines) > 5 else ""
    return "; ".join(lines[:5]) + more


_MODELS: dict[str, type[BaseModel]] = {
    "transport": TransportSettings,
    "footprint": FootprintSettings,
    "meteorology": MeteorologySettings,
    "receptors": ReceptorSource,
}


def _suggestion(place: list[str]) -> str:
    """Return the names allowed where *place* is not one, closest first."""
    model = _MODELS.get(place[0], Scene) if len(place) > 1 else Scene
    if len(place) > 2:
        model = ReceptorGrid if place[1] == "grid" else ReceptorPoint
    names = [n for n in model.model_fields if n not in ("exe_dir", "data_dir")]
    close = difflib.get_close_matches(place[-1], names, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return (
        f"; allowed are {', '.join(names)}" if len(names) < 20 else "; it must be a STILT parameter by its STILT name"
    )
