"""Jacobians of finished scenes as one matrix: named by path, URL, scene or campaign."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stilt_dagster.science.errors import IncompleteError, JacobianError

if TYPE_CHECKING:
    from pydantic import ValidationError

    from stilt_dagster.science.jacobian.compatibility import Duplicates
    from stilt_dagster.science.jacobian.matrix.jacobian import Jacobian
    from stilt_dagster.science.jacobian.reading import JacobianFile, Ranges

#: Files that are looked at a time.
_OPENING = 8


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
    from stilt_dagster.science.part_pool import prefetch

    if campaign is not None:
        if not isinstance(campaign, str):
            raise JacobianError(f"a campaign is named by text (got {campaign!r:.80})")
        if not isinstance(where, (str, Path)):
            raise JacobianError("a campaign is of one store: name its directory or URL")
        places = _files_of_campaign(_checked(where), campaign)
    else:
        places = [_checked(place) for place in _listed(where)]
    return join_files([file for _, file in prefetch(_read, places, _OPENING)], duplicates)


def _listed(where: Path | str | Sequence[Path | str]) -> list[Path | str]:
    """Return places one by one.

    Raises
    ------
    JacobianError
        If these are none.
    """
    try:
        places = [where] if isinstance(where, (str, Path)) else list(where)
    except TypeError:
        places = [where]  # type: ignore[list-item]
    for place in places:
        if not isinstance(place, (str, Path)):
            raise JacobianError(f"a jacobian is a path or URL, or several are a list of them (got {place!r:.80})")
    return places


def _checked(place: Path | str) -> str:
    """Return a path or URL, unless it holds credentials or names what must not be read."""
    from pydantic import TypeAdapter, ValidationError

    from stilt_dagster.science.validation import Place

    try:
        return TypeAdapter(Place).validate_python(str(place))
    except ValidationError as error:
        raise JacobianError(f"the place of a jacobian {_reason(error)}") from None


def _reason(error: ValidationError) -> str:
    return error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")


def _read(place: str) -> JacobianFile:
    """Read what a file says of its rows and columns."""
    from stilt_dagster.science.jacobian.reading import read_jacobian_file

    source: Path | Ranges | None = None
    if "://" in place and not place.startswith("file://"):
        from stilt_dagster.resources.remote.files import ranges_of

        source = ranges_of(place)
    elif (path := Path(place.removeprefix("file://")).expanduser()).is_file():
        source = path.resolve()
    elif path.is_dir():
        raise JacobianError(
            f"{place} is a directory: open a campaign of a store with open_jacobian({place!r}, campaign=NAME), or list "
            "files, <store>/jacobian/<scene>.nc"
        )
    if source is None:
        raise IncompleteError(f"there is no file {place}: run the scene first, or name its jacobian")
    return read_jacobian_file(source, place)


def _files_of_campaign(url: str, name: str) -> list[str]:
    """Return the jacobians of a campaign's finished scenes."""
    from stilt_dagster.operations.campaigns.definition import load_campaign
    from stilt_dagster.operations.campaigns.membership import scenes_of
    from stilt_dagster.resources.store import Store

    store = Store(url)
    there = set(store.folder("jacobian").names())
    scenes = [scene for scene in scenes_of(load_campaign(store, name), store) if f"{scene}.nc" in there]
    if not scenes:
        raise IncompleteError(
            f"no scene of campaign {name} has a jacobian: run them with `stilt-dagster campaign run {name}`"
        )
    return [f"{store.root}/jacobian/{scene}.nc" for scene in scenes]
