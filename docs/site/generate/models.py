"""Fields of what people write in YAML, from the models it is checked with."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel

from generate.tables import code, table
from stilt_dagster.operations.campaigns.definition import Campaign
from stilt_dagster.operations.ingest.sources import Source
from stilt_dagster.operations.registration.schema import scene_schema
from stilt_dagster.retrievals.table import Table


def scene_fields() -> str:
    """Return every field of a scene, part by part."""
    schema = scene_schema()
    parts = {
        "Scene": schema,
        "receptors": "ReceptorSource",
        "receptors.grid": "ReceptorGrid",
        "receptors.points": "ReceptorPoint",
        "receptors.retrieval": "Retrieval",
        "receptors.retrieval.area": "Area",
        "receptors.retrieval.aggregate": "Aggregation",
        "transport": "TransportSettings",
        "footprint": "FootprintSettings",
        "meteorology": "MeteorologySettings",
        "weighting": "Weighting",
        "background": "Background",
        "background.boundary": "Boundary",
        "transport_error": "TransportError",
        "transport_error.flux": "FluxSource",
    }
    known = {name for name in parts.values() if isinstance(name, str)}
    others = {name: name for name in schema["$defs"] if name not in known}
    sections = []
    for title, part in {**parts, **others}.items():
        model = schema["$defs"][part] if isinstance(part, str) else part
        heading = f"`{title}`" if title != "Scene" else "The scene itself"
        sections.append(f"### {heading}\n\n{_fields(model, schema['$defs'])}")
    return "\n".join(sections)


def source_fields() -> str:
    """Return every field of a source of retrievals."""
    return _of(Source)


def campaign_fields() -> str:
    """Return every field of a campaign."""
    return _of(Campaign)


def mapping_fields() -> str:
    """Return every entry of a product's table."""
    return _of(Table)


def _of(model: type[BaseModel]) -> str:
    schema = model.model_json_schema()
    return _fields(schema, schema.get("$defs", {}))


def _fields(model: dict[str, Any], definitions: dict[str, Any]) -> str:
    required = set(model.get("required", ()))
    rows = []
    for name, field in model["properties"].items():
        given = "default" in field and field["default"] is not None
        default = code(_yaml(field["default"])) if given else "**required**" if name in required else ""
        description = re.sub(r"``(.+?)``", r"`\1`", field.get("description", ""))
        rows.append((code(name), _kind(field, definitions), default, description))
    return table(("field", "type", "default", "meaning"), rows)


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _kind(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Return what a field may be, in words."""
    if "$ref" in field:
        return "mapping" if definitions[field["$ref"].rsplit("/", 1)[-1]].get("type") == "object" else "value"
    if "enum" in field:
        return ", ".join(code(str(v)) for v in field["enum"])
    if "const" in field:
        return code(str(field["const"]))
    if "anyOf" in field:
        kinds = dict.fromkeys(_kind(one, definitions) for one in field["anyOf"] if one.get("type") != "null")
        return " or ".join(kinds)
    if field.get("type") == "array":
        inside = field.get("items", {})
        return "list of " + (_kind(inside, definitions) if inside else "values")
    words = {"number": "number", "integer": "whole number", "string": "text", "boolean": "true, false"}
    kind = words.get(field.get("type", ""), "mapping")
    return kind + _limits(field)


def _limits(field: dict[str, Any]) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None and high is not None:
        return f", {low:g} to {high:g}"
    if (above := field.get("exclusiveMinimum")) is not None:
        return f", above {above:g}" + (f", at most {high:g}" if high is not None else "")
    return f", at least {low:g}" if low is not None else f", at most {high:g}" if high is not None else ""
