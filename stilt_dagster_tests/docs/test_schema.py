"""The JSON Schema of a scene's YAML: what is documented passes it, and what is refused at registration fails it."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from stilt_dagster.science.errors import SceneError
from stilt_dagster.science.scenes.loading import make_scene
from stilt_dagster.science.validation import parse_yaml
from stilt_dagster_tests.conftest import ROOT, SCENE, Project, deep_merge
from stilt_dagster_tests.docs.pages import PAGES, blocks


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the command prints."""
    printed = Project(tmp_path_factory.mktemp("schema"), ROOT).cli("scene", "schema").stdout
    return json.loads(printed)


def documented_scenes() -> list[Any]:
    """The scenes of the README, of the docs and of the demo."""
    found = []
    for page in (ROOT / "README.md", *PAGES):
        for block in blocks(page):
            if block.kind == "yaml" and "\nreceptors:" in block.text and "\nfootprint:" in block.text:
                found.append(pytest.param(block.text, id=block.where))
    for file in sorted((ROOT / "stilt_dagster/demo").glob("*.yaml")):
        found.append(pytest.param(file.read_text(), id=file.name))
    return found


@pytest.mark.parametrize("text", documented_scenes())
def test_documented_scenes_pass(text: str, schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(parse_yaml(text, "a page", "a scene", SceneError), schema)


BASE = deep_merge(SCENE, {"meteorology": {"source": "hrrr", "pattern": None}})

WRONG = {
    "an unknown name": {"footprints": {}},
    "a STILT parameter that is none": {"transport": {"numpart": 200}},
    "what an operator sets": {"transport": {"exe_dir": "/opt/hysplit"}},
    "text for a number": {"footprint": {"xres": "fine"}},
    "a cell of no width": {"footprint": {"xres": 0}},
    "a source that is none": {"meteorology": {"source": "hrr"}},
    "two kinds of receptors": {"receptors": {"points": [{"longitude": 0, "latitude": 0}]}},
    "a tag that is not a scene's": {"tags": {"dagster/image": "other"}},
    "no time": {"time": None},
    "no name": {"name": None},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=list(WRONG))
def test_what_registration_refuses_fails(changes: dict[str, Any], schema: dict[str, Any]) -> None:
    scene = deep_merge(BASE, changes)
    jsonschema.validate(BASE, schema)
    with pytest.raises(SceneError):
        make_scene(scene, "a scene")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(scene, schema)


def test_every_field_is_described(schema: dict[str, Any]) -> None:
    """An editor shows the description beside the name."""
    models = {"the scene": schema, **schema["$defs"]}
    bare = [f"{m}.{name}" for m, s in models.items() for name, f in s["properties"].items() if not f.get("description")]
    assert bare == []
