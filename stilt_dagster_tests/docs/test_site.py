"""The site, built as ``make docs`` builds it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from stilt_dagster.assets.metadata.keys import KEYS
from stilt_dagster.cli import app as command_line
from stilt_dagster.definitions import build_defs
from stilt_dagster.settings import ENVIRONMENT, docs_page
from stilt_dagster_tests.conftest import ROOT
from stilt_dagster_tests.docs.pages import PAGES


class Loaded(HTMLParser):
    """What a page loads from elsewhere, and the anchors it has."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.loaded.append(names.get("src") or "")
        elif tag == "link" and names.get("rel") != "canonical":
            self.loaded.append(names.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site") / "html"
    command = [sys.executable, "-m", "mkdocs", "build", "--config-file", "docs/site/mkdocs.yml"]
    quiet = {"NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true"}
    done = subprocess.run(
        [*command, "--site-dir", str(target)],
        cwd=ROOT,
        env={**os.environ, **quiet},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Documentation built" in done.stderr  # with --quiet no warning would count
    return target


def page(site: Path, name: str) -> str:
    return (site / name / "index.html").read_text()


def test_pages_are_complete_and_load_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    written = {p.relative_to(ROOT / "docs").with_suffix("") for p in PAGES if p.name != "index.md"}
    assert written <= {p.parent.relative_to(site) for p in pages}
    for path in pages:
        text = path.read_text()
        assert "<!-- generated:" not in text, path
        reader = Loaded()
        reader.feed(text)
        assert not [place for place in reader.loaded if "//" in place], path


def test_the_reference_is_the_codes(site: Path) -> None:
    settings, commands, python = (page(site, f"reference/{n}") for n in ("settings", "commands", "python"))
    assert all(name in settings for name in (*ENVIRONMENT, "DAGSTER_POSTGRES_HOST", "STILT_MAX_CORES"))
    groups = command_line.app.registered_groups
    for group in groups:
        for command in group.typer_instance.registered_commands:
            name = command.name or command.callback.__name__
            assert f"{group.name} {name}".replace("_", "-") in commands
    assert all(name in python for name in ("open_jacobian", "open_footprints", "read_particles"))
    scenes, files = page(site, "reference/scenes"), page(site, "reference/files")
    assert all(key in page(site, "reference/metadata") for key in KEYS)
    assert all(name in scenes for name in ("ziscale", "averaging_kernel", "max_failed_fraction", "polygon"))
    assert all(
        name in files for name in ("flux_time_bnds", "foot_no_hnf_dilution", "outside_fraction", "corner_latitude")
    )


def test_links_of_the_ui_lead_to_it(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What descriptions of assets name of the documentation is a heading there."""
    graph = build_defs().resolve_asset_graph()
    described = [graph.get(key).description or "" for key in graph.materializable_asset_keys]
    named = {found for text in described for found in re.findall(r"docs/(\S+)\.md, \*(.+?)\*", text)}
    assert ("reference/files", "trajectories") in named
    monkeypatch.setenv("STILT_DOCS_URL", "https://docs.example.org")
    for where, section in named:
        link = re.search(r"\((.+)\)$", docs_page(where, section))
        assert link
        place, _, anchor = link[1].removeprefix("https://docs.example.org/").partition("/#")
        assert f'id="{anchor}"' in page(site, place), link[1]


def test_the_schema_is_published(site: Path) -> None:
    schema: dict[str, Any] = json.loads((site / "schemas/scene.json").read_text())
    assert schema["$schema"].startswith("https://json-schema.org/")


def test_every_variable_that_is_read_is_described() -> None:
    """What the code reads of the environment has a line in the reference."""
    read = set()
    for path in (ROOT / "stilt_dagster").rglob("*.py"):
        read |= set(re.findall(r"environ(?:\.get\(|\[)\"([A-Z_]+)\"", path.read_text()))
        if path.name == "settings.py":
            read |= set(re.findall(r"\"((?:STILT|AWS)_[A-Z_]+)\"", path.read_text()))
    assert read <= set(ENVIRONMENT), sorted(read - set(ENVIRONMENT))
