"""The layout: a folder a concern, imports that run one way, and each engine known to one module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

import stilt_dagster
from stilt_dagster.definitions import build_defs
from stilt_dagster.kubernetes import dagster_internals

PACKAGE = Path(stilt_dagster.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

#: Folders and modules of the package, lowest first: one imports from its own and lower ones only.
LAYERS = (
    "science",
    "retrievals",
    "settings",
    "resources",
    "partitions",
    "kubernetes",
    "slurm",
    "io_managers",
    "operations",
    "demo",
    "assets",
    "checks",
    "jobs",
    "automation",
    "definitions",
    "cli",
)

#: Folders of ``science``, lowest first. Its own modules are shared by all, and import from what they need.
SCIENCE = (
    "compiled",
    "files",
    "scenes",
    "meteorology",
    "transport",
    "observations",
    "footprints",
    "jacobian",
    "costs",
    "formats",
    "report",
)

#: What may stand beside the folders at the top.
TOP = {"__init__.py", "definitions.py", "settings.py", "partitions.py", "jobs.py"}


def imports(path: Path) -> Iterator[str]:
    """Yield the modules a file imports, but for those it needs for its annotations alone."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and getattr(branch.test, "id", "") == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def place(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def test_imports_run_one_way() -> None:
    for path in MODULES:
        layer = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if layer == "__init__":
            continue
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "stilt_dagster" and len(parts) > 1:
                assert LAYERS.index(parts[1]) <= LAYERS.index(layer), f"{place(path)} imports {name}"


def test_imports_inside_science_run_one_way() -> None:
    for path in (PACKAGE / "science").rglob("*.py"):
        folder = path.relative_to(PACKAGE / "science").parts[0]
        if folder not in SCIENCE:
            continue
        for name in imports(path):
            parts = name.split(".")
            # The names of sources are part of a spec; the package of sources imports nothing of the others.
            if parts[:2] == ["stilt_dagster", "science"] and len(parts) > 3 and parts[3] != "sources":
                assert SCIENCE.index(parts[2]) <= SCIENCE.index(folder), f"{place(path)} imports {name}"


def test_sources_are_a_leaf() -> None:
    for path in (PACKAGE / "science/meteorology/sources").glob("*.py"):
        for name in imports(path):
            allowed = ("stilt_dagster.science.errors", "stilt_dagster.science.meteorology.sources")
            assert not name.startswith("stilt_dagster") or name.startswith(allowed), f"{place(path)} imports {name}"


@pytest.mark.parametrize("folder", ["science", "retrievals"])
def test_science_knows_no_dagster(folder: str) -> None:
    for path in (PACKAGE / folder).rglob("*.py"):
        for name in imports(path):
            assert not name.startswith("dagster"), f"{place(path)} imports {name}"


@pytest.mark.parametrize(
    ("library", "owner"),
    [
        ("stilt", "science/pystilt.py"),
        ("arlmet", "science/meteorology/arl/"),
        ("dagster._", "kubernetes/dagster_internals.py"),
    ],
)
def test_each_engine_is_behind_one_door(library: str, owner: str) -> None:
    users = [
        p
        for p in MODULES
        if any(n.split(".")[0] == library or (library.endswith("._") and n.startswith(library)) for n in imports(p))
    ]
    assert users
    for path in users:
        assert place(path).startswith(owner), f"{place(path)} knows {library}"


def test_what_is_used_of_dagsters_private_modules_is_there() -> None:
    """An upgrade of Dagster that moves one of these names fails to import; a decision says why each is used."""
    decisions = (PACKAGE.parent / "docs/explanation/decisions.md").read_text()
    for name in dagster_internals.__all__:
        assert getattr(dagster_internals, name, None) is not None, f"Dagster has no {name} any more"
        assert f"`{name}`" in decisions, f"docs/explanation/decisions.md does not say why {name} is used"


def test_the_environment_is_read_in_two_places() -> None:
    readers = {place(p) for p in MODULES if "os.environ" in p.read_text()}
    assert readers <= {"settings.py", "cli/console.py"}  # the latter: DAGSTER_HOME, and how wide a terminal is


def test_all_loops_are_compiled_by_one_decorator() -> None:
    """Another would keep machine code that does not notice when another module changes."""
    users = {place(p) for p in MODULES if any(name.split(".")[0] == "numba" for name in imports(p))}
    assert users == {"science/compiled/kernel.py"}


def test_a_folder_a_concern() -> None:
    """Nothing but the composition is flat at the top; folders and files are of a size that is seen at a glance."""
    assert {p.name for p in PACKAGE.glob("*.py")} == TOP
    for folder in sorted({p.parent for p in MODULES} - {PACKAGE}):
        modules = [p for p in folder.glob("*.py") if p.name not in ("__init__.py", "__main__.py")]
        limit = 20 if folder.name == "sources" else 10
        assert len(modules) <= limit, f"{place(folder)} holds {len(modules)} modules"
        assert (folder / "__init__.py").exists(), place(folder)
    for path in MODULES:
        assert len(path.read_text().splitlines()) <= 360, f"{place(path)} is long: give its second subject a module"


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
        "report": (scene, ["jacobian"]),
    }
    checks = {c.name for c in graph.asset_check_keys}
    assert checks == {
        "receptors_are_valid",
        "meteorology_is_complete",
        "every_receptor_is_simulated",
        "particles_stay_in_meteorology",
        "engine_agrees",
        "influence_is_conserved",
        "influence_is_not_zero",
        "jacobian_is_valid",
        "row_sums_equal_footprints",
        "row_sums_are_plausible",
        "observations_lie_in_flux_hours",
    }
    assert {j.name for j in defs.jobs} == {
        "prepare",
        "simulate",
        "assemble",
        "register_scenes",
        "delete_scenes",
        "concat_jacobians",
        "convert_jacobians",
        "export_scene",
        "export_footprints",
        "export_geotiff",
        "run_campaign",
    }
    assert {s.name for s in defs.sensors} == {"advance_scenes", "alert", "campaigns"}
