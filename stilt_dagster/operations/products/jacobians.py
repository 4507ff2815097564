"""Jacobians of finished scenes as one matrix: named by path, URL, scene or campaign."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stilt_dagster.science.errors import IncompleteError, JacobianError

if TYPE_CHECKING:
    from stilt_dagster.science.jacobian.matrix.jacobian import Jacobian
    from stilt_dagster.science.jacobian.matrix.joining import Duplicates


def open_jacobian(
    where: Path | str | Sequence[Path | str], campaign: str | None = None, duplicates: Duplicates = "refuse"
) -> Jacobian:
    """Open the jacobian of a scene, or of many as one matrix, without reading its entries.

    Parameters
    ----------
    where : path, URL, or a sequence of them
        A file, ``<store>/jacobian/<scene>.nc``, of this machine or a bucket; with *campaign* the store.
    campaign : str, optional
        Open the finished scenes of this campaign of the store.
    duplicates : {"refuse", "first"}
        Of an observation that is in two files: raise, or leave out all but the first.

    Returns
    -------
    Jacobian

    Raises
    ------
    IncompleteError
        If there is no such file.
    JacobianError
        If a file cannot be used, or they cannot be one matrix.
    """
    from stilt_dagster.science.jacobian.matrix.joining import join_files
    from stilt_dagster.science.jacobian.reading import read_jacobian_file

    if campaign is not None:
        if not isinstance(where, (str, Path)):
            raise JacobianError("a campaign is of one store: name its directory or URL")
        places = _files_of_campaign(str(where), campaign)
    else:
        places = [where] if isinstance(where, (str, Path)) else list(where)
    if not places:
        raise JacobianError("there is no jacobian: name at least one")
    files = []
    for place in places:
        path = Path(place)
        if not path.is_file():
            raise IncompleteError(f"{path} does not exist: run the scene first, or name its jacobian")
        files.append(read_jacobian_file(path, str(place)))
    return join_files(files, duplicates)


def _files_of_campaign(url: str, name: str) -> list[Path | str]:
    """Return the jacobians of a campaign's finished scenes."""
    from stilt_dagster.operations.campaigns.definition import load_campaign
    from stilt_dagster.operations.campaigns.membership import scenes_of
    from stilt_dagster.resources.store import Store

    store = Store(url)
    there = set(store.folder("jacobian").names())
    scenes = [scene for scene in scenes_of(load_campaign(store, name), store) if f"{scene}.nc" in there]
    if not scenes:
        raise IncompleteError(
            f"no scene of campaign {name} has a jacobian: `stilt-dagster campaign run {name}` runs them"
        )
    return [f"{store.root}/jacobian/{scene}.nc" for scene in scenes]
