"""Sources of retrievals: where granules land, what they are, which areas are wanted, what their scenes are like."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from stilt_dagster.resources.store import Store
from stilt_dagster.retrievals import PRODUCTS
from stilt_dagster.science.errors import RetrievalError, SceneError
from stilt_dagster.science.files.format_numbers import SOURCE_FORMAT
from stilt_dagster.science.scenes.loading import make_scene
from stilt_dagster.science.scenes.observation_settings import Area, Selection
from stilt_dagster.science.scenes.settings import Budget
from stilt_dagster.science.validation import Hours, Place, Spec, parse_yaml, validate


class Source(Spec):
    """Where granules land, and what becomes of them."""

    name: str = Field(max_length=40, description="The source's name: that of its file.")
    uri: Place = Field(description="A directory, or a gs://, s3:// or az:// prefix.")
    pattern: str = Field("*.nc*", max_length=200, description="Of files' names; * stands for anything.")
    product: str = Field(description="Which reader, such as tropomi_ch4.")
    mapping: dict[str, Any] | None = Field(None, description="What to read otherwise than the product's table says.")
    areas: dict[str, Area] = Field(min_length=1, max_length=1000, description="Areas of interest: a scene of each.")
    select: Selection = Field(default_factory=lambda: Selection.model_validate({}), description="Which soundings.")
    geometry: Literal["vertical", "slant"] = Field("vertical", description="Upright columns, or lines of sight.")
    top: float = Field(3000.0, gt=0, le=30_000, description="Least height of the columns, m.")
    scene: dict[str, Any] = Field(description="What else scenes have: transport, footprint, meteorology, ...")
    max_scenes: int = Field(20, ge=1, le=500, description="Most new scenes a tick of the sensor.")
    budget: Budget | None = Field(None, description="The most a scene may take; one planned to take more is refused.")
    fresh_within: Hours | None = Field(
        None, description="Granules should come that often, h or a text such as 2 days; the UI says if none did."
    )
    settle: float = Field(10.0, ge=0, description="Seconds since its last change before a file is read.")

    def retrieval(self, uri: str, area: Area) -> dict[str, Any]:
        """Return the spec of one granule's receptors in an area."""
        chosen = self.select.model_dump(exclude_none=True)
        optional = {} if self.mapping is None else {"mapping": self.mapping}
        place = {"product": self.product, "uri": uri, "geometry": self.geometry, "top": self.top}
        return {**chosen, **optional, **place, "area": area.model_dump(exclude_none=True)}


def parse_source(text: str, name: str, where: str) -> Source:
    """Read a source from YAML.

    Raises
    ------
    RetrievalError
        One line naming *where*, each field in error, and what is allowed.
    """
    data = parse_yaml(text, where, "a source: uri, product, areas, scene", RetrievalError, SOURCE_FORMAT)
    source = validate(Source, {"name": name, **data}, where, RetrievalError)
    if source.product not in PRODUCTS:
        raise RetrievalError(f"{where}: unknown product {source.product!r}; known are {', '.join(PRODUCTS)}")
    for part in (source.name, *source.areas):
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", part):
            raise RetrievalError(f"{where}: {part!r} must be of a-z, 0-9 and '-', at most 40")
    if source.select.area is not None:
        raise RetrievalError(f"{where}: select.area: give areas instead")
    if source.budget is not None and "budget" in source.scene:
        raise RetrievalError(f"{where}: scene.budget: it is given as budget already, remove one of them")
    if taken := {"id", "name", "time", "receptors"} & source.scene.keys():
        raise RetrievalError(f"{where}: scene.{sorted(taken)[0]} comes from the granule: leave it out")
    try:
        trial = {**source.scene, "name": "trial", "time": "2020-01-01T00:00", "receptors": _TRIAL}
        make_scene(trial, f"{where}: scene")
    except SceneError as error:
        raise RetrievalError(str(error)) from None
    return source


_TRIAL = {"points": [{"longitude": 0, "latitude": 0, "height": [0, 1]}]}


def load_sources(store: Store, names: list[str] | None = None) -> Iterator[Source | RetrievalError]:
    """Yield the sources of a store, ``sources/<name>.yaml``; of one that is not usable, its error."""
    folder = store.folder("sources")
    known = [n.removesuffix(".yaml") for n in folder.names() if n.endswith(".yaml")]
    for name in known if names is None else names:
        text = folder.read(f"{name}.yaml") if name in known else None
        try:
            if text is None:
                raise RetrievalError(f"there is no source {name}: write {store.root}/sources/{name}.yaml")
            yield parse_source(text, name, f"sources/{name}.yaml")
        except RetrievalError as error:
            yield error
