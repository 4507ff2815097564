"""The house: imports run one way, and each engine is known to one module."""

from __future__ import annotations

import ast
from pathlib import Path

import dagster as dg
import pytest

import stilt_dagster
from stilt_dagster.definitions import build_defs

PACKAGE = Path(stilt_dagster.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

#: Layers, lowest first; a module imports from its own and lower ones only.
LAYERS = (
    "science",
    "retrievals",
    "demo",
    "cluster",
    "resources",
    "failures",
    "io_managers",
    "partitions",
    "intake",
    "chain",
    "assets",
    "checks",
    "products",
    "jobs",
    "sensors",
    "retrieval_sensors",
    "schedules",
    "definitions",
    "status",
    "runs",
    "cli",
)


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", sorted((PACKAGE / "science").glob("*.py")), ids=lambda p: p.stem)
def test_science_knows_no_dagster(path: Path) -> None:
    for name in imports(path):
        assert not name.startswith("dagster")
        assert not name.startswith("stilt_dagster.") or name.startswith("stilt_dagster.science")


@pytest.mark.parametrize("path", sorted((PACKAGE / "retrievals").glob("*.py")), ids=lambda p: p.stem)
def test_retrievals_know_no_dagster(path: Path) -> None:
    allowed = ("stilt_dagster.science", "stilt_dagster.retrievals")
    for name in imports(path):
        assert not name.startswith("dagster")
        assert not name.startswith("stilt_dagster") or name.startswith(allowed)


@pytest.mark.parametrize(("library", "owner"), [("stilt", "science/hysplit.py"), ("arlmet", "science/arl.py")])
def test_each_engine_is_behind_one_module(library: str, owner: str) -> None:
    users = [p for p in MODULES if any(n.split(".")[0] == library for n in imports(p))]
    assert [str(p.relative_to(PACKAGE)) for p in users] == [owner]


def test_imports_run_one_way() -> None:
    for path in MODULES:
        layer = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if layer not in LAYERS or layer == "demo":
            continue
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "stilt_dagster" and len(parts) > 1 and parts[1] in LAYERS:
                assert LAYERS.index(parts[1]) <= LAYERS.index(layer), f"{path.name} imports {name}"


def test_the_environment_is_read_in_one_place() -> None:
    readers = {p.name for p in MODULES if "os.environ" in p.read_text()}
    assert readers <= {"settings.py", "cli.py"}  # cli.py: DAGSTER_HOME


def test_definitions_are_what_they_were() -> None:
    """A snapshot of every asset: key, partitions, upstream, IO manager."""
    defs = build_defs()
    dg.Definitions.validate_loadable(defs)
    graph = defs.resolve_asset_graph()
    found = {
        key.to_user_string(): (
            type(graph.get(key).partitions_def).__name__,
            sorted(k.to_user_string() for k in graph.get(key).parent_keys),
        )
        for key in graph.materializable_asset_keys
    }
    scene, shards = "DynamicPartitionsDefinition", "MultiPartitionsDefinition"
    assert found == {
        "receptors": (scene, []),
        "meteorology_aggregate": (scene, ["receptors"]),
        "trajectories": (shards, ["meteorology_aggregate", "receptors"]),
        "footprints": (shards, ["trajectories"]),
        "background": (scene, ["trajectories"]),
        "jacobian": (scene, ["background", "footprints"]),
    }
    checks = {c.name for c in graph.asset_check_keys}
    assert checks == {"receptors_are_valid", "every_receptor_succeeded", "jacobian_is_valid"}
    assert {j.name for j in defs.jobs} == {
        "prepare",
        "simulate",
        "assemble",
        "register_scenes",
        "concat_jacobians",
        "export_scene",
    }
    assert {s.name for s in defs.sensors} == {"advance_scenes", "alert"}
