"""The JSON Schema of a scene's YAML, which editors complete and check it by."""

from __future__ import annotations

from typing import Any

from stilt_dagster.retrievals import PRODUCTS
from stilt_dagster.science.meteorology.sources import AUTO, SOURCES
from stilt_dagster.science.pystilt import HysplitConfig
from stilt_dagster.science.scenes.spec import RUN_TAGS, Scene

#: Parts of the model that a YAML does not hold: written at registration, or an operator's.
_NOT_OF_A_YAML = {
    "ReceptorSource": ("table",),
    "Retrieval": ("retrieved",),
    "TransportSettings": ("exe_dir", "data_dir"),
}


def scene_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a scene's YAML.

    It is made of the models a scene is checked with. What fails it is refused at registration too; the models check
    more, such as that a grid holds a cell. Domain files of stiltctl are not described.
    """
    schema = Scene.model_json_schema()
    models = schema["$defs"]
    for model, names in _NOT_OF_A_YAML.items():
        for name in names:
            del models[model]["properties"][name]
    for unused in ("StoredReceptors", "Retrieved"):
        del models[unused]
    receptors = models["ReceptorSource"]
    receptors["properties"]["file"] = {
        "type": "string",
        "pattern": r"\.(csv|parquet)$",
        "description": "A .csv or .parquet with longitude, latitude and height, or bottom and top; optionally time.",
    }
    receptors |= {"minProperties": 1, "maxProperties": 1}
    models["Retrieval"]["properties"]["product"]["enum"] = sorted(PRODUCTS)
    _name_variables(models["TransportSettings"]["properties"]["varsiwant"])
    _name_sources(models["MeteorologySettings"]["properties"]["source"])
    schema["properties"]["tags"] |= {
        "properties": {tag: {"type": ["string", "number"], "pattern": f"^{p}$"} for tag, p in RUN_TAGS.items()},
        "additionalProperties": False,
    }
    _require_names_and_times(schema)
    # Several spellings of a time are taken; the format's own demands seconds and an offset.
    for time in (schema["properties"]["time"], models["ReceptorPoint"]["properties"]["time"]["anyOf"][0]):
        del time["format"]
    described = _without_titles(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **described, "title": "A scene of stilt_dagster"}


def _name_variables(varsiwant: dict[str, Any]) -> None:
    """Name HYSPLIT's particle variables, which may also stand in one text, as R STILT has them."""
    names = list(HysplitConfig.model_fields["varsiwant"].annotation.__args__[0].__args__)
    listed = {"type": "array", "items": {"enum": names}, "uniqueItems": True}
    del varsiwant["type"], varsiwant["items"]
    varsiwant["anyOf"] = [listed, {"type": "string"}]


def _name_sources(source: dict[str, Any]) -> None:
    """Name the sources of meteorology."""
    one, several, _ = source["anyOf"]
    one["enum"] = [AUTO, *sorted(SOURCES)]
    several["items"]["enum"] = sorted(SOURCES)


def _require_names_and_times(schema: dict[str, Any]) -> None:
    """Require what is not completed: an id or a name, and a time where no receptor brings one."""
    schema["required"] = [name for name in schema["required"] if name not in ("id", "name", "time")]
    schema["anyOf"] = [{"required": ["id"]}, {"required": ["name"]}]
    schema["if"] = {"required": ["receptors"], "properties": {"receptors": {"required": ["grid"]}}}
    schema["then"] = {"required": ["time"]}


def _without_titles(part: Any) -> Any:
    """Return a schema without the titles that only repeat names of fields."""
    if isinstance(part, dict):
        return {k: _without_titles(v) for k, v in part.items() if not (k == "title" and isinstance(v, str))}
    return [_without_titles(v) for v in part] if isinstance(part, list) else part
