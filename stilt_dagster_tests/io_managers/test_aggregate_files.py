"""Aggregates in the store: several grids, what an earlier version left, and the same content kept once."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from stilt_dagster.io_managers import Aggregate, ArlIOManager
from stilt_dagster.io_managers.aggregate_files import put_aggregate, remove_aggregate
from stilt_dagster.partitions import scenes
from stilt_dagster.resources.configurable import StoreResource
from stilt_dagster.resources.folders import Folder
from stilt_dagster.resources.object_folders import ObjectFolder
from stilt_dagster.resources.store import Store
from stilt_dagster.resources.stored_scene import aggregate_files, read_description
from stilt_dagster.science.errors import IncompleteError, StoreError
from stilt_dagster.science.meteorology.aggregate import sha256_of
from stilt_dagster.science.meteorology.description import Description, GridDescription, joint_digest

#: What a store of version 1 holds: the keys of one grid, and no others.
EARLIER = {
    "key": "k",
    "sha256": "0" * 64,
    "sources": [{"name": "20230715_06-11_hrrr", "sha256": "1" * 64}],
    "extent": [-113.0, 40.0, -111.0, 41.0],
    "nx": 20,
    "ny": 30,
    "times": ["2023-07-15T07:00Z"],
    "levels": [1.0],
    "model": "HRRR",
    "outside": [],
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def put(store: Store, tmp_path: Path) -> Callable[..., Description]:
    """Stores an aggregate whose files hold some texts."""

    def put_(scene: str, *texts: str) -> Description:
        paths, grids = [], []
        for number, text in enumerate(texts):
            paths.append(tmp_path / f"{scene}-{text}-{number}")
            paths[-1].write_text(text)
            told = {k: v for k, v in EARLIER.items() if k not in ("key", "outside", "sha256")}
            grids.append(GridDescription(sha256=sha256_of(paths[-1]), **told))  # type: ignore[arg-type]
        description = Description.of("k", grids, [])
        put_aggregate(store, scene, paths, description)
        return description

    return put_


def files(store: Store) -> dict[str, str]:
    """Return what is stored, by name; pointers to contents as the scene they name."""
    found = {}
    for path in Path(store.root).rglob("*"):
        if path.is_file() and path.suffix == ".arl":
            found[path.name] = path.read_text()
        elif path.is_file() and path.parent.name == "content":
            found[f"content/{path.stem[:6]}"] = json.loads(path.read_text())["scene"]
    return found


def inode(store: Store, name: str) -> int:
    return (Path(store.root) / "meteorology_aggregate" / name).stat().st_ino


# -- several grids -----------------------------------------------------------------------------------------------------


def test_a_description_of_one_grid_is_what_it_was() -> None:
    description = Description.from_dict(EARLIER)
    assert description.to_dict() == EARLIER
    assert [g.sha256 for g in description.grids] == [EARLIER["sha256"]]
    assert Description.of("k", description.grids, []) == description
    for damaged in ({**EARLIER, "other": 1}, {"key": "k"}, [], {**EARLIER, "nested": [{}]}, {**EARLIER, "nested": [1]}):
        with pytest.raises(TypeError):
            Description.from_dict(damaged)  # type: ignore[arg-type]


def test_a_description_of_several_grids_tells_of_each(put: Callable[..., Description], store: Store) -> None:
    made = put("valley", "fine", "coarse")
    found = read_description(store, "valley")
    assert found == made
    assert found.sha256 == joint_digest([g.sha256 for g in found.grids])
    assert found.sha256 not in [g.sha256 for g in found.grids]
    assert put("other", "coarse", "fine").sha256 != made.sha256, "the order matters"


def test_files_of_nested_grids_come_back_in_order(put: Callable[..., Description], store: Store) -> None:
    put("valley", "fine", "coarse", "world")
    found = aggregate_files(store, "valley")
    assert [p.name for p in found] == ["valley.arl", "valley~2.arl", "valley~3.arl"]
    assert [p.read_text() for p in found] == ["fine", "coarse", "world"]


def test_files_of_an_aggregate_of_more_grids_are_removed(put: Callable[..., Description], store: Store) -> None:
    put("valley.2", "its own")
    put("valley", "fine", "coarse", "world")
    put("valley", "fine", "coarse")
    assert {n for n in files(store) if n.endswith(".arl")} == {"valley.2.arl", "valley.arl", "valley~2.arl"}
    put("valley", "one")
    assert {n for n in files(store) if n.endswith(".arl")} == {"valley.2.arl", "valley.arl"}
    assert remove_aggregate(store, "valley") == 2
    assert files(store) == {
        "valley.2.arl": "its own",
        "content/" + read_description(store, "valley.2").sha256[:6]: "valley.2",
    }  # type: ignore[union-attr]


def test_all_files_of_a_deleted_scene_go(put: Callable[..., Description], store: Store) -> None:
    folder = store.folder("meteorology_aggregate")
    put("valley", "fine", "coarse")
    folder.remove("valley.arl")  # as what ages out of a bucket
    assert remove_aggregate(store, "valley") == 2
    put("valley", "fine", "coarse")
    folder.remove("valley.json")  # as a run that was killed while it wrote
    assert remove_aggregate(store, "valley") == 2
    assert not any(name.startswith("valley") for name in folder.names())


def test_a_grid_that_is_missing_is_an_aggregate_that_is_missing(put: Callable[..., Description], store: Store) -> None:
    put("valley", "fine", "coarse")
    store.folder("meteorology_aggregate").remove("valley~2.arl")
    with pytest.raises(IncompleteError, match="materialize meteorology_aggregate first"):
        aggregate_files(store, "valley")
    with pytest.raises(IncompleteError):
        aggregate_files(store, "nowhere")


def test_the_io_manager_hands_on_every_file(store: Store, tmp_path: Path) -> None:
    manager = ArlIOManager(store=StoreResource(url=str(store.root)))
    (tmp_path / "a.arl").write_text("a")
    (tmp_path / "b.arl").write_text("b")
    nested = [replace(g, sha256="b") for g in Description.from_dict(EARLIER).grids]
    description = replace(Description.from_dict(EARLIER), nested=nested)

    @dg.asset(partitions_def=scenes, io_manager_key="arl")
    def aggregate() -> Aggregate:
        return Aggregate((tmp_path / "a.arl", tmp_path / "b.arl"), description)

    files_type = dg.PythonObjectDagsterType(tuple)

    @dg.asset(partitions_def=scenes, ins={"aggregate": dg.AssetIn(dagster_type=files_type)})
    def used(aggregate: tuple[Path, ...]) -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata={"read": " ".join(p.read_text() for p in aggregate)})

    with dg.instance_for_test() as instance:
        instance.add_dynamic_partitions("scenes", ["valley"])
        done = dg.materialize([aggregate, used], partition_key="valley", resources={"arl": manager}, instance=instance)
    assert done.asset_materializations_for_node("used")[0].metadata["read"].value == "a b"


# -- the same content --------------------------------------------------------------------------------------------------


def test_the_same_content_is_kept_once(put: Callable[..., Description], store: Store) -> None:
    put("one", "fine", "coarse")
    put("two", "fine", "coarse")
    assert inode(store, "one.arl") == inode(store, "two.arl")
    assert inode(store, "one~2.arl") == inode(store, "two~2.arl")
    put("two", "fine", "coarse")  # again, over itself
    assert inode(store, "one.arl") == inode(store, "two.arl")
    assert not [p for p in Path(store.root).rglob(".*") if p.is_file()]
    put("three", "fine", "other")
    assert inode(store, "three.arl") != inode(store, "one.arl")


def test_what_becomes_of_one_scene_is_nothing_to_the_other(put: Callable[..., Description], store: Store) -> None:
    put("one", "air")
    put("two", "air")
    put("three", "air")
    remove_aggregate(store, "one")
    assert files(store) == {"two.arl": "air", "three.arl": "air"}
    made = put("two", "other air")
    assert files(store) == {"two.arl": "other air", "three.arl": "air", f"content/{made.sha256[:6]}": "two"}


@pytest.mark.parametrize("how", ["other content", "no description", "no file", "damaged", "no scene's name"])
def test_a_pointer_is_never_believed(how: str, put: Callable[..., Description], store: Store) -> None:
    made = put("one", "air")
    folder = store.folder("meteorology_aggregate")
    pointer = store.folder("meteorology_aggregate", "content")
    if how == "other content":
        told = {**made.to_dict(), "sha256": "2" * 64}
        folder.write("one.json", json.dumps(told))
    elif how == "no description":
        folder.remove("one.json")
    elif how == "no file":
        folder.remove("one.arl")
    else:
        pointer.write(f"{made.sha256}.json", "[1" if how == "damaged" else '{"scene": "../one"}')
    put("two", "air")
    assert files(store)["two.arl"] == "air"
    assert files(store)[f"content/{made.sha256[:6]}"] == "two", "and it is put right"
    put("three", "air")
    assert inode(store, "three.arl") == inode(store, "two.arl")


def test_without_links_files_are_put(
    put: Callable[..., Description], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*args: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    put("one", "fine", "coarse")
    monkeypatch.setattr(os, "link", no_links)
    put("two", "fine", "coarse")
    assert inode(store, "one.arl") != inode(store, "two.arl")
    assert [p.read_text() for p in aggregate_files(store, "two")] == ["fine", "coarse"]


def test_a_scene_that_changes_while_it_is_linked_is_not_taken(
    put: Callable[..., Description], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("one", "air")
    real = os.link

    def link(existing: Path, name: Path) -> None:
        monkeypatch.setattr(os, "link", real)
        put("one", "other air")
        real(existing, name)

    monkeypatch.setattr(os, "link", link)
    put("two", "air")
    assert files(store)["two.arl"] == "air"


def test_an_object_store_has_no_links_and_lists_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ObjectFolder, "_list", None)
    store = Store("memory://no-links")
    for scene in ("one", "two"):
        paths = [tmp_path / "fine", tmp_path / "coarse"]
        for path in paths:
            path.write_text(path.name)
        grids = [replace(g, sha256=sha256_of(path)) for path in paths for g in Description.from_dict(EARLIER).grids]
        put_aggregate(store, scene, paths, Description.of("k", grids, []))
    assert remove_aggregate(store, "one") == 3
    assert [p.read_text() for p in aggregate_files(store, "two")] == ["fine", "coarse"]


def test_links_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder.of(tmp_path)
    folder.write("a", "1")
    folder.write("b", "2")
    assert folder.link("a", "b")
    assert folder.read("b") == "1"
    folder.write("a", "3")
    assert folder.read("b") == "1", "a link holds the content it was made of"
    assert not folder.link("nothing", "b")
    assert folder.read("b") == "1"
    assert Folder.link(folder, "a", "b") is False, "by default a folder has no links"

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(StoreError, match="No space left"):
        folder.link("a", "c")
