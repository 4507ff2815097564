"""Files of a later format are refused in one line, and stay what they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pyarrow.parquet as pq
import pytest

from stilt_dagster import open_footprints, open_jacobian, read_particles
from stilt_dagster.cli.console import open_scene
from stilt_dagster.operations.calibrations import read_calibration
from stilt_dagster.operations.campaigns.definition import load_campaigns
from stilt_dagster.operations.ingest.ledger import Ledger
from stilt_dagster.operations.ingest.sources import load_sources
from stilt_dagster.operations.plan import read_prices
from stilt_dagster.operations.status import scene_status
from stilt_dagster.resources.store import Store
from stilt_dagster.science.errors import FormatError, UserError
from stilt_dagster.science.files.format_numbers import require_format
from stilt_dagster_tests.conftest import Project
from stilt_dagster_tests.upgrades.eras import VALLEY, WINDY, content, unpack


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return unpack("last", tmp_path)


def raise_format(path: Path, name: str) -> None:
    """Let a file say that it is of a later format."""
    later = f"stilt-{name}/2"
    if path.suffix == ".nc":
        with h5py.File(path, "a") as file:
            file.attrs["format"] = later
    elif path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            table, metadata = file.read(), {**(file.metadata.metadata or {}), b"stilt:format": later.encode()}
        metadata.pop(b"ARROW:schema", None)  # written anew, of the table's own
        pq.write_table(table.replace_schema_metadata(metadata), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps({**json.loads(path.read_text()), "format": later, "news": 1}))
    else:
        path.write_text(f"{path.read_text()}\nformat: {later}\nnews: 1\n")


def raised(some: Any) -> None:
    """Raise the one error among what was loaded."""
    [error] = some
    raise error


#: Each kind: its name, a file of it, and what opens it.
KINDS: dict[str, tuple[str, Callable[[Store], Any]]] = {
    "scene": (f"scenes/{VALLEY}.json", lambda store: store.scene(VALLEY)),
    "receptors": (f"receptors/{VALLEY}.parquet", lambda store: scene_status(open_scene(store, VALLEY))),
    "aggregate": (f"meteorology_aggregate/{VALLEY}.json", lambda store: scene_status(open_scene(store, VALLEY))),
    "particles": (
        f"trajectories/{VALLEY}/00/part-00000.parquet",
        lambda store: scene_status(open_scene(store, VALLEY)),
    ),
    "footprints": (f"footprints/{VALLEY}/00/part-00000.nc", lambda store: scene_status(open_scene(store, VALLEY))),
    "background": (f"background/{WINDY}.parquet", lambda store: scene_status(open_scene(store, WINDY))),
    "jacobian": (f"jacobian/{VALLEY}.nc", lambda store: scene_status(open_scene(store, VALLEY))),
    "source": ("sources/tropomi.yaml", lambda store: raised(load_sources(store))),
    "ledger": ("sources/tropomi.ledger.json", lambda store: Ledger(store, "tropomi")),
    "campaign": ("campaigns/june.yaml", lambda store: raised(load_campaigns(store))),
    "prices": ("prices.yaml", read_prices),
    "calibration": ("costs/calibration.json", read_calibration),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_later_format_is_refused(name: str, project: Project) -> None:
    file, opens = KINDS[name]
    raise_format(project.store / file, name)
    before = content(project.store)
    with pytest.raises(UserError) as refused:
        opens(Store(str(project.store)))
    said = str(refused.value)
    assert f"is of format stilt-{name}/2, and this version reads stilt-{name}/1: upgrade stilt_dagster" in said
    assert Path(file).stem.partition(".")[0] in said
    assert content(project.store) == before


def test_the_command_line_says_so_and_makes_nothing_again(project: Project) -> None:
    part = f"trajectories/{VALLEY}/00/part-00000.parquet"
    raise_format(project.store / part, "particles")
    before = content(project.store)
    assert "stilt-particles/2" in project.error("scene", "run", VALLEY)
    assert content(project.store) == before


def test_notebooks_say_so(project: Project) -> None:
    for name, read in (
        ("particles", read_particles),
        ("footprints", lambda path: open_footprints(path.parent)),
        ("jacobian", open_jacobian),
    ):
        path = project.store / KINDS[name][0]
        raise_format(path, name)
        with pytest.raises(FormatError, match="upgrade stilt_dagster"):
            read(path)


@pytest.mark.parametrize("found", [None, "", "stilt-scene/1", b"stilt-scene/2", "stilt-scene/3"])
def test_earlier_formats_are_read(found: str | bytes | None) -> None:
    require_format(found, "stilt-scene/3", "a file")


@pytest.mark.parametrize(
    "found", ["stilt-scene/4", "stilt-scene/", "stilt-scene/x", "stilt-scene/0", "stilt-scene/²", 7]
)
def test_what_is_no_format_of_the_file_is_refused(found: object) -> None:
    with pytest.raises(FormatError, match="a file is of format"):
        require_format(found, "stilt-scene/3", "a file")


def test_a_file_of_another_kind_is_no_reason_to_upgrade() -> None:
    with pytest.raises(FormatError, match="name another file"):
        require_format("stilt-jacobian/1", "stilt-footprints/1", "a file")


def test_what_is_written_names_its_format(finished: Project) -> None:
    scene = "valley-20230715t0920"
    for folder, name in (("trajectories", "particles"), ("footprints", "footprints"), ("jacobian", "jacobian")):
        path = next(p for p in sorted((finished.store / folder).rglob("*")) if p.suffix in (".nc", ".parquet"))
        if path.suffix == ".nc":
            with h5py.File(path) as file:
                assert file.attrs["format"] == f"stilt-{name}/1"
        else:
            assert pq.read_metadata(path).metadata[b"stilt:format"] == f"stilt-{name}/1".encode()
    for file in (f"scenes/{scene}.json", f"meteorology_aggregate/{scene}.json"):
        assert "format" not in json.loads((finished.store / file).read_text()), "0.1 takes it for an unknown name"
