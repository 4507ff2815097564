"""The files of meteorology aggregates; those of the same content are kept once.

``meteorology_aggregate/content/<sha256>.json`` names a scene that has an aggregate of that checksum. It saves looking
through all scenes, and is never believed: what that scene's own description says now is what counts. So it may be
missing, or late; and since a file that is linked stays when another name of it goes, no scene depends on another.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from stilt_dagster.resources.folders import Folder
from stilt_dagster.resources.store import Store
from stilt_dagster.resources.stored_scene import read_description
from stilt_dagster.science.meteorology.description import Description, stored_name
from stilt_dagster.science.validation import SCENE_ID


def put_aggregate(store: Store, scene: str, paths: Sequence[Path], description: Description) -> None:
    """Move a scene's files to the store, then write their description: the one without the other is no aggregate."""
    folder, earlier = store.folder("meteorology_aggregate"), read_description(store, scene)
    _forget(store, scene, earlier)
    folder.remove(f"{scene}.json")
    same = _same_content(store, scene, description)
    if same is None or not _link(store, same, scene, description):
        for path, name in zip(paths, description.stored_names(scene), strict=True):
            folder.put(path, name)
    _remove_files(folder, scene, len(paths) + 1, earlier)
    folder.write(f"{scene}.json", json.dumps(description.to_dict(), indent=1))
    if same is None:
        _contents(store).write(f"{description.sha256}.json", json.dumps({"scene": scene}))


def remove_aggregate(store: Store, scene: str) -> int:
    """Remove a scene's aggregate; return how many files that were."""
    folder, earlier = store.folder("meteorology_aggregate"), read_description(store, scene)
    _forget(store, scene, earlier)
    described = folder.has(f"{scene}.json")
    folder.remove(f"{scene}.json")
    return int(described) + _remove_files(folder, scene, 1, earlier)


def _remove_files(folder: Folder, scene: str, first: int, earlier: Description | None) -> int:
    """Remove a scene's files from a number on, those its description told of and those that are there without one."""
    told = 0 if earlier is None else len(earlier.grids)
    count, number = 0, first
    while (there := folder.has(name := stored_name(scene, number))) or number <= told:
        count += there
        folder.remove(name)
        number += 1
    return count


def _contents(store: Store) -> Folder:
    return store.folder("meteorology_aggregate", "content")


def _scene_of(store: Store, sha256: str) -> str | None:
    """Return the scene that is said to have a content."""
    try:
        scene = json.loads(_contents(store).read(f"{sha256}.json") or "null")["scene"]
    except (ValueError, TypeError, KeyError):
        return None
    return scene if isinstance(scene, str) and SCENE_ID.fullmatch(scene) else None


def _forget(store: Store, scene: str, description: Description | None) -> None:
    """Remove what names a scene as one that has the content it had so far."""
    if description is not None and _scene_of(store, description.sha256) == scene:
        _contents(store).remove(f"{description.sha256}.json")


def _same_content(store: Store, scene: str, description: Description) -> str | None:
    """Return another scene whose aggregate has this content, all of it there."""
    other = _scene_of(store, description.sha256)
    if other is None or other == scene or not _has(store, other, description):
        return None
    return other


def _has(store: Store, scene: str, wanted: Description) -> bool:
    found = read_description(store, scene)
    folder = store.folder("meteorology_aggregate")
    same = found is not None and [g.sha256 for g in found.grids] == [g.sha256 for g in wanted.grids]
    return same and all(folder.has(name) for name in wanted.stored_names(scene))


def _link(store: Store, other: str, scene: str, description: Description) -> bool:
    """Make a scene's files those of another; return False if they had to be put, or the other's changed meanwhile."""
    folder = store.folder("meteorology_aggregate")
    names = zip(description.stored_names(other), description.stored_names(scene), strict=True)
    # An aggregate that is replaced loses its description first: one that has it still had these files all the time.
    return all(folder.link(theirs, ours) for theirs, ours in names) and _has(store, other, description)
