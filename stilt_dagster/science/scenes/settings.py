"""The parts of a spec: receptors, the footprint's grid, meteorology, budget."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal, Self

from pydantic import (
    ByteSize,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    field_validator,
    model_serializer,
    model_validator,
)

from stilt_dagster.science.meteorology.sources import AUTO, SOURCES
from stilt_dagster.science.scenes.grid import LONGLAT, Grid
from stilt_dagster.science.scenes.observation_settings import Retrieval
from stilt_dagster.science.scenes.receptors import MAX_RECEPTORS, make_receptor, release_time
from stilt_dagster.science.validation import Place, Spec

#: Most cells a footprint's grid may have, a layer.
MAX_CELLS = 25_000_000

#: Most sources of meteorology that nest in each other: HYSPLIT reads a dozen grids, and more than four are a mistake.
MAX_SOURCES = 4

#: Most that is kept of meteorology where a scene does not say, bytes: of HRRR all levels that are needed of a day.
MAX_METEOROLOGY = 4_000_000_000

#: Least that may be kept of meteorology, bytes: less holds no grid that HYSPLIT runs on.
MIN_METEOROLOGY = 1_000_000


def parse_time(value: Any) -> dt.datetime:
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

    _time = field_validator("time", mode="before")(lambda v: None if v is None else parse_time(v))

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        make_receptor(dt.datetime(2000, 1, 1), self.longitude, self.latitude, self.height)
        return self


class StoredReceptors(Spec):
    """Many points, kept in a table beside the spec."""

    count: int = Field(ge=1, le=MAX_RECEPTORS, description="How many.")
    positions: str = Field(max_length=64, description="Hash of their ids, which hold time and position.")


class ReceptorSource(Spec):
    """Where a scene's receptors come from: a grid, points (many of them in a table), or a retrieval."""

    grid: ReceptorGrid | None = Field(default=None, description="Receptors on the vertices of a grid.")
    table: StoredReceptors | None = Field(default=None, description="Written when many points are registered.")
    points: list[ReceptorPoint] | None = Field(
        default=None, max_length=MAX_RECEPTORS, description="Receptors one by one: points, columns, slanted columns."
    )
    retrieval: Retrieval | None = Field(default=None, description="The soundings of a satellite, a column each.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(part is not None for part in (self.grid, self.points, self.table, self.retrieval)) != 1:
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


class MeteorologySettings(Spec):
    """Where meteorology comes from, and how much of it a scene keeps."""

    source: str | list[str] | None = Field(
        None, description="A NOAA ARL archive, such as hrrr, nam12, gdas1; auto; or a list of them, finest first."
    )
    directory: Place | None = Field(None, description="A directory or bucket URL of ARL files.")
    pattern: str | None = Field(
        None, description="strftime pattern of their names, such as %Y%m%d_%H-*_hrrr; * stands for anything."
    )
    n_levels: int | Literal["all"] | None = Field(
        None, description="Keep the lowest levels, the surface counted; by default those that are needed."
    )
    crop: bool = Field(True, description="False joins whole files, records unchanged.")
    margin: float | None = Field(
        None,
        ge=0,
        le=180,
        description="Degrees kept around receptors and footprint; by default as far as wind carries air.",
    )
    max_bytes: ByteSize | None = Field(None, description='Most that may be kept, such as "2 GB"; by default 4 GB.')

    @property
    def budget(self) -> int:
        """Most that may be kept, bytes."""
        return MAX_METEOROLOGY if self.max_bytes is None else int(self.max_bytes)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources, the finest first; auto where the scene's box and hours decide; none of a directory."""
        if self.source is None:
            return ()
        return (self.source,) if isinstance(self.source, str) else tuple(self.source)

    @model_serializer(mode="wrap")
    def _dump(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what older specs do not have, so that hashes of theirs stay what they were."""
        fields: dict[str, Any] = handler(self)
        if self.max_bytes is None:
            fields.pop("max_bytes", None)
        return fields

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

    @field_validator("source", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if value is None or value == AUTO:
            return value
        if not isinstance(value, str | list):
            raise ValueError(f"must be a source, auto, or a list of sources (got {value!r})")
        names = [value] if isinstance(value, str) else value
        for name in names:
            if name == AUTO:
                raise ValueError("auto chooses a source by itself: it does not go into a list")
            if not isinstance(name, str) or name not in SOURCES:
                raise ValueError(f"unknown source {str(name)[:40]!r}; known are {AUTO}, {', '.join(sorted(SOURCES))}")
        if isinstance(value, list):
            _require_nest(names)
        return value

    @field_validator("n_levels", mode="before")
    @classmethod
    def _possible_levels(cls, value: Any) -> Any:
        if value is None or value == "all":
            return value
        try:
            levels = TypeAdapter(int).validate_python(None if isinstance(value, bool) else value)
        except ValueError:
            levels = 0
        if not 2 <= levels <= 200:
            raise ValueError(f"must be a whole number from 2 to 200, or all (got {value!r})")
        return levels

    @field_validator("max_bytes", mode="before")
    @classmethod
    def _possible_size(cls, value: Any) -> Any:
        if value is None:
            return value
        try:
            size = TypeAdapter(ByteSize).validate_python(None if isinstance(value, bool) else value)
        except ValueError:
            raise ValueError(f'must be a size such as "2 GB" or "500 MB" (got {value!r})') from None
        if not MIN_METEOROLOGY <= size < 2**63:
            raise ValueError(f'is too little for meteorology, or no size: use one such as "2 GB" (got {value!r})')
        return int(size)


def _require_nest(names: list[str]) -> None:
    """Raise where sources are none that nest: a particle that leaves one goes on in the next, which is coarser."""
    if not 2 <= len(names) <= MAX_SOURCES:
        raise ValueError(f"a list holds 2 to {MAX_SOURCES} sources, the finest first (got {len(names)})")
    if len(set(names)) < len(names):
        raise ValueError(f"names a source twice: {', '.join(names)}")
    ordered = sorted(names, key=lambda name: SOURCES[name].resolution)
    if [SOURCES[n].resolution for n in names] != [SOURCES[n].resolution for n in ordered]:
        raise ValueError(f"must go from the finest to the coarsest: write [{', '.join(ordered)}]")


class Budget(Spec):
    """The most that may be planned for a scene, a campaign, or each scene of a source; what exceeds it is refused."""

    cpu_hours: float | None = Field(None, gt=0, description="Core-hours of CPU.")
    cost: float | None = Field(None, gt=0, description="Money, in the currency of the price table.")
    bytes: ByteSize | None = Field(None, gt=0, description='Trajectories, footprints and jacobian, such as "20 GB".')

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.cpu_hours is None and self.cost is None and self.bytes is None:
            raise ValueError("needs at least one of cpu_hours, cost, bytes")
        return self
