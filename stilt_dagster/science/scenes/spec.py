"""A scene's spec: what is written in its YAML, checked, completed, and made canonical."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from pydantic import (
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from stilt_dagster.science.errors import SceneError
from stilt_dagster.science.scenes.engines.check import checked_receptors, count_checked
from stilt_dagster.science.scenes.engines.costs import check_cpu
from stilt_dagster.science.scenes.observation_settings import Background, TransportError, Weighting
from stilt_dagster.science.scenes.receptors import Receptor, Receptors, grid_receptors, make_receptor
from stilt_dagster.science.scenes.settings import (
    Budget,
    FootprintSettings,
    MeteorologySettings,
    ReceptorPoint,
    ReceptorSource,
    StoredReceptors,
    parse_time,
)
from stilt_dagster.science.scenes.transport_settings import VARSIWANT, TransportSettings
from stilt_dagster.science.validation import SCENE_ID, Spec, digest

if TYPE_CHECKING:
    from stilt_dagster.science.observations.soundings import Soundings

#: Points a spec names one by one; more of them are kept as a table beside it, which is loaded when it is needed.
INLINE_POINTS = 100

_AMOUNT = r"[1-9]\d{0,14}(\.\d{1,3})?(m|[KMGT]i?)?"

#: Run tags a scene may set, and what each may be: sizes of pods, and nothing that changes what runs in them.
RUN_TAGS = {
    "stilt/cpu": _AMOUNT,
    "stilt/memory": _AMOUNT,
    "stilt/ephemeral-storage": _AMOUNT,
    "dagster/priority": r"-?\d{1,4}",
}


class Scene(Spec):
    """A scene: many receptors, one transport, one footprint grid, one meteorology.

    The model is the canonical form of a spec: what a YAML leaves out is filled in, names are completed, and equal
    specs are equal as JSON.
    """

    id: str = Field(description="Partition key: a-z, 0-9, '.', '_', '-'; by default the name and the time.")
    name: str = Field(description="What people call it; by default the id.")
    time: dt.datetime = Field(
        description="Release time, ISO 8601 such as 2019-05-30T03:00:00Z; without an offset it is UTC."
    )
    receptors: ReceptorSource = Field(
        description="Where and when particles are released: exactly one of grid, points, file, retrieval."
    )
    transport: TransportSettings = Field(
        default_factory=TransportSettings, description="How particles move: STILT's parameters by STILT's names."
    )
    footprint: FootprintSettings = Field(description="The grid that influence is put on.")
    meteorology: MeteorologySettings = Field(description="What moves particles: a source, or a directory of files.")
    weighting: Weighting = Field(
        default_factory=lambda: Weighting(averaging_kernel=True, lifetime=None),
        description="What a particle's influence counts.",
    )
    background: Background | None = Field(
        None, description="A concentration field that particles' ends are sampled in."
    )
    budget: Budget | None = Field(
        None, description="The most it may take; a scene that is planned to take more is refused."
    )
    transport_error: TransportError | None = Field(
        None, description="The fluxes whose signal the error of transport is estimated of."
    )
    max_failed_fraction: float = Field(0.02, ge=0, le=1, description="Share of failed receptors a step succeeds with.")
    tags: dict[str, str] = Field(
        default_factory=dict,
        description="Run tags of this scene's runs on a cluster: the size of its pods, its place in the queue.",
    )

    _receptors: Receptors | None = PrivateAttr(None)
    _soundings: Soundings | None = PrivateAttr(None)

    @model_serializer(mode="wrap")
    def _dump(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what older specs do not have, so that hashes of theirs stay what they were."""
        fields: dict[str, Any] = handler(self)
        if self.budget is None:
            fields.pop("budget", None)
        if self.transport_error is None:
            fields.pop("transport_error", None)
        return fields

    @field_validator("time", mode="before")
    @classmethod
    def _utc(cls, value: Any) -> dt.datetime:
        return parse_time(value)

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            raise ValueError("must be a mapping of names to values")
        data = dict(data)
        receptors = data.get("receptors")
        points = receptors.get("points") if isinstance(receptors, dict) else None
        if data.get("time") is None and points and all(isinstance(p, dict) and p.get("time") for p in points):
            data["time"] = min(parse_time(p["time"]) for p in points)
        if data.get("name") is None and isinstance(data.get("id"), str):
            data["name"] = data["id"]
        if data.get("id") is None and isinstance(data.get("name"), str) and data.get("time") is not None:
            try:
                time = parse_time(data["time"])
            except ValueError:
                return {**data, "id": "unknown"}  # the time's own error says more
            stamp = f"{time:%Y%m%dt%H}" + (f"{time:%M}" if time.minute else "")
            data["id"] = f"{slug(data['name'])}-{_granule_of(receptors) or stamp}"
        background, transport = data.get("background"), data.get("transport") or {}
        if isinstance(background, dict) and isinstance(transport, dict) and "varsiwant" not in transport:
            # Printing one variable more changes no particle. What is wrong in the background is said of it below.
            with suppress(ValueError):
                more = [v for v in Background.model_validate(background).particle_variables if v not in VARSIWANT]
                data["transport"] = {**transport, "varsiwant": [*VARSIWANT, *more]}
        retrieval = receptors.get("retrieval") if isinstance(receptors, dict) else None
        if isinstance(retrieval, dict) and retrieval.get("geometry") == "slant":
            transport = data.get("transport") or {}
            if isinstance(transport, dict) and transport.get("slanted") is None:
                # Its weights are those of slabs of height: particles must be where these are.
                data["transport"] = {**transport, "slanted": "line"}
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
            for needed in self.background.particle_variables:
                if needed not in self.transport.varsiwant:
                    raise ValueError(f"background needs {needed} in transport.varsiwant, for its vertical")
        return self

    @model_validator(mode="after")
    def _has_error_runs(self) -> Self:
        if self.transport_error is not None and not self.transport.has_error_run:
            raise ValueError(
                "transport_error needs errors to follow: set siguverr, tluverr, zcoruverr and horcoruverr of transport"
            )
        return self

    @model_validator(mode="after")
    def _has_one_grid(self) -> Self:
        if self.transport.engine == "native" and len(self.meteorology.sources) > 1:
            raise ValueError("transport.engine native does not know nested meteorology: engine: hysplit has it")
        return self

    @cached_property
    def receptor_list(self) -> Receptors:
        """The receptors, in the order the spec names them.

        Raises
        ------
        SceneError
            If they are kept beside the spec, and are not here: see :meth:`with_receptors`.
        """
        if self._receptors is not None:
            return self._receptors
        if self.receptors.grid is not None:
            return grid_receptors(self.time, **dict(self.receptors.grid))
        if self.receptors.points is None:
            raise SceneError(f"scene {self.id} has no receptors: those kept beside its spec are not read yet")
        return Receptors.of(
            make_receptor(point.time or self.time, point.longitude, point.latitude, point.height)
            for point in self.receptors.points
        )

    @property
    def receptor_ids(self) -> list[str]:
        """Ids of the receptors, in their order."""
        return self.receptor_list.ids

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
        return {receptor: k for k, receptor in enumerate(self.receptor_ids)}

    @property
    def is_weighted(self) -> bool:
        """Whether particles count otherwise than alike."""
        return self.has_columns or self.weighting.lifetime is not None

    def with_receptors(self, receptors: Receptors, soundings: Soundings | None = None) -> Self:
        """Return the scene with the receptors that are kept beside its spec, and of a retrieval its soundings.

        Raises
        ------
        SceneError
            If they cannot be receptors of one scene, or are not those the spec names.
        """
        try:
            receptors.require_distinct()
        except SceneError as error:
            raise SceneError(f"scene {self.id}: {error}") from None
        table = self.receptors.table
        if table is not None and table.positions != digest(receptors.ids):
            raise SceneError(f"scene {self.id}: the receptors beside its spec are not its own: register it again")
        scene = self.model_copy()
        scene._receptors, scene._soundings = receptors, soundings
        scene.__dict__.pop("receptor_list", None)
        return scene

    def canonical(self) -> Self:
        """Return the scene with few receptors as points in its spec, and many as a table beside it."""
        points, table = self.receptors.points, self.receptors.table
        if points is not None and len(points) > INLINE_POINTS:
            receptors = self.receptor_list
            source = ReceptorSource(table=StoredReceptors(count=len(receptors), positions=digest(receptors.ids)))
            return self.model_copy(update={"receptors": source}).with_receptors(receptors)
        if table is not None and table.count <= INLINE_POINTS:
            source = ReceptorSource(points=[self._point(receptor) for receptor in self.receptor_list])
            return self.model_copy(update={"receptors": source})
        return self

    def _point(self, receptor: Receptor) -> ReceptorPoint:
        """Return a receptor as a spec has it: its time only where it is not the scene's."""
        parts: dict[str, Any] = {
            name: values[0] if len(set(values)) == 1 else list(values)
            for name, values in (
                ("longitude", receptor.longitudes),
                ("latitude", receptor.latitudes),
                ("height", receptor.heights),
            )
        }
        return ReceptorPoint(**parts, time=None if receptor.time == self.time else receptor.time)

    @property
    def is_loaded(self) -> bool:
        """Whether receptors that are kept beside the spec are here."""
        return self._receptors is not None

    @property
    def companion(self) -> str:
        """Hash of the table kept beside the spec, many receptors or soundings; empty if there is none."""
        if self.receptors.table is not None:
            return self.receptors.table.positions
        if (retrieval := self.receptors.retrieval) is None or (kept := retrieval.retrieved) is None:
            return ""
        return digest([kept.positions, kept.kernels, kept.observations])

    @property
    def predicted_cpu(self) -> float:
        """CPU seconds simulations are expected to need for the whole scene, those that check an engine included."""
        of_check = self.n_checked * check_cpu(self.transport.numpar, self.transport.n_hours)
        return self.transport.predicted_cpu * len(self.receptor_list) + of_check

    @property
    def n_checked(self) -> int:
        """At how many receptors the scene's engine is held against hycs_std."""
        return count_checked(self.transport.engine_check or 0.0, len(self.receptor_list))

    @property
    def checked_receptors(self) -> frozenset[str]:
        """Which these are."""
        return checked_receptors(self.transport.engine_check or 0.0, self.receptor_ids)

    def to_json(self) -> str:
        """Return the canonical spec."""
        return json.dumps(self.model_dump(mode="json", exclude_none=True), indent=1, sort_keys=True)

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
