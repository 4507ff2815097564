"""Tutorial and guides: every command and snippet is run, or says why it is not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from stilt_dagster.operations.ingest.sources import parse_source
from stilt_dagster.operations.registration.schema import scene_schema
from stilt_dagster.retrievals.table import Table
from stilt_dagster.science.costs.prices import parse_prices
from stilt_dagster.science.errors import SceneError
from stilt_dagster.science.validation import parse_yaml
from stilt_dagster_tests.docs.pages import DOCS, PAGES, Block, blocks
from stilt_dagster_tests.docs.workbook import SHOWN, Workbook

GUIDES = [p for p in PAGES if p.parent.name in ("tutorial", "how-to")]


def name_of(page: Path) -> str:
    return str(page.relative_to(DOCS))


@pytest.mark.slow
@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_what_a_page_says_works(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workbook = Workbook(tmp_path, monkeypatch)
    for block in blocks(page):
        if not block.reason:
            workbook.run(block)


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    fences = len(re.findall(r"^ *```", page.read_text(), re.M))
    found = list(blocks(page))
    assert fences == 2 * len(found), f"{name_of(page)} has a fence that is not read"
    for block in found:
        known = block.title or block.reason or block.kind in ("console", "python", "yaml", *SHOWN)
        assert known, (
            f"{block.where}: nobody runs {block.kind}: give it a title, or say `<!-- not run: why -->` before it"
        )
        if block.kind == "yaml" and not block.title and not block.reason:
            check_yaml(block)


def check_yaml(block: Block) -> None:
    """Check a scene or parts of one, a source, or a mapping, as they are checked when they are used."""
    data: dict[str, Any] = parse_yaml(block.text, block.where, "names and values", SceneError)
    schema = scene_schema()
    if {"uri", "areas"} <= data.keys():
        parse_source(block.text, "source", block.where)
    elif "prices_of" in data:
        parse_prices(block.text, block.where)
    elif data.keys() == {"mapping"}:
        Table.model_validate(data["mapping"])
    elif {"receptors", "footprint", "meteorology"} <= data.keys():
        jsonschema.validate(data, schema)
    else:
        unknown = data.keys() - schema["properties"].keys()
        assert not unknown, f"{block.where}: {sorted(unknown)} are of no scene: say `<!-- not run: why -->` before it"
        for name, part in data.items():
            jsonschema.validate(part, {"$defs": schema["$defs"], **schema["properties"][name]})
