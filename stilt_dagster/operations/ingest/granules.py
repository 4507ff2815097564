"""From one retrieval's file to the soundings and receptors of a scene."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from stilt_dagster.resources.granules import fetch
from stilt_dagster.retrievals import Granule, read_granule
from stilt_dagster.science.errors import RetrievalError
from stilt_dagster.science.observations.column_operator import column_receptors
from stilt_dagster.science.observations.selection import select
from stilt_dagster.science.observations.soundings import Soundings
from stilt_dagster.science.scenes.observation_settings import Retrieval, Retrieved
from stilt_dagster.science.scenes.receptors import Receptors
from stilt_dagster.science.scratch import scratch_directory
from stilt_dagster.science.validation import digest


def retrieve(retrieval: Retrieval, where: str) -> tuple[Retrieved, Soundings, Receptors]:
    """Read a retrieval and select its soundings, for the scene *where*.

    Raises
    ------
    RetrievalError
        If it cannot be read, or nothing is left of it.
    """
    with scratch_directory() as scratch:
        path = fetch(retrieval.uri, scratch)
        granule = read_granule(path, retrieval.product, mapping=retrieval.mapping, area=retrieval.area)
    return select_soundings(granule, retrieval, where)


def select_soundings(granule: Granule, retrieval: Retrieval, where: str) -> tuple[Retrieved, Soundings, Receptors]:
    """Return what becomes of a granule's soundings: those selected, and the receptors they are.

    Raises
    ------
    RetrievalError
        If nothing does; it says why.
    """
    soundings, counts = select(granule.soundings, retrieval, granule.n_read)
    if not len(soundings):
        raise NoReceptorsError(f"{where}: {Path(retrieval.uri).name}: {counts.reason_for_none()}")
    try:
        receptors = column_receptors(soundings, retrieval.top, slant=retrieval.geometry == "slant")
    except ValueError as error:
        raise RetrievalError(f"{where}: {Path(retrieval.uri).name}: {error}") from None
    retrieved = Retrieved(
        granule=granule.key,
        version=granule.version,
        soundings=len(soundings),
        counts=asdict(counts),
        positions=digest(receptors.ids),
        **soundings.digests(),
    )
    return retrieved, soundings, receptors


class NoReceptorsError(RetrievalError):
    """Nothing of a granule becomes a receptor: no fault, and no scene."""
