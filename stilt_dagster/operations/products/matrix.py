"""What is made of all shards of a scene, background and jacobian: for assets and array jobs alike."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stilt_dagster.science.errors import BackgroundError, FluxError, IncompleteError
from stilt_dagster.science.meteorology.files import Window
from stilt_dagster.science.outcomes import Report

if TYPE_CHECKING:
    import pyarrow as pa

    from stilt_dagster.resources.meteorology_archive import FileArchive
    from stilt_dagster.resources.stored_scene import StoredScene
    from stilt_dagster.science.observations.background_files import BackgroundFile


@dataclass(frozen=True)
class Jacobian:
    """A jacobian.

    Attributes
    ----------
    path : Path or None
        The file, to be published; None of one that is in the store already.
    report : Report
        Of all receptors.
    errors : mapping of str to ndarray
        ``transport_error`` and ``transport_error_covered`` of each observation; empty where the scene asks for none.
    """

    path: Path | None
    report: Report
    errors: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


def make_background(scene: StoredScene, archive: FileArchive, scratch: Path) -> Path | None:
    """Look at where the particles of all shards of a scene end; return the file, None of a scene that names no field.

    Raises
    ------
    BackgroundError
        If the field is not there, or does not cover the scene.
    IncompleteError
        If trajectories are missing.
    """
    # xarray takes half a second to import, and most scenes name no background.
    from stilt_dagster.science.observations.background import open_field, sample_background
    from stilt_dagster.science.observations.background_files import write_background

    settings = scene.spec.background
    if settings is None:
        return None
    found = None
    if settings.uri is not None:
        place = archive.fetch([settings.uri], scratch)
        if place is None:
            raise BackgroundError(f"background {settings.uri} does not exist: put it there, or correct the spec")
        window = Window.of(scene.spec.receptor_list, scene.spec.transport.n_hours)
        found = open_field(place, settings, window.first, window.last)
    path = scratch / "background.parquet"
    sampled = sample_background(scene.spec, scene.batches, scene.trajectories, found)
    write_background(sampled, scene.versions.background, path)
    return path


def make_jacobian(
    scene: StoredScene, archive: FileArchive, background: BackgroundFile | None, scratch: Path
) -> Jacobian:
    """Stack the footprints of all shards of a scene.

    Parameters
    ----------
    scene : StoredScene
        The scene.
    archive : FileArchive
        Where the fluxes of its error of transport are found.
    background : BackgroundFile or None
        Its background; closed when this returns.
    scratch : Path
        Where the file is made.

    Raises
    ------
    FluxError
        If fluxes are not there, or do not cover the scene.
    IncompleteError
        If footprints are missing, or anything was made with other inputs.
    """
    from stilt_dagster.science.jacobian.jacobian import build_jacobian

    with nullcontext() if background is None else closing(background):
        if background is not None and background.key != scene.versions.background:
            raise IncompleteError(f"background of scene {scene.id} is of other trajectories: materialize it first")
        errors = _transport_error(scene, archive, scratch)
        attributes = {
            "meteorology_digest": scene.meteorology,
            "transport_engine": scene.engine,
            "stilt_version": scene.versions.jacobian,
        }
        path = scratch / "jacobian.nc"
        report = build_jacobian(
            scene.spec, scene.batches, scene.footprints, path, attributes, background, errors, scene.agreement
        )
    names = [] if errors is None else ["transport_error", "transport_error_covered"]
    return Jacobian(path, report, {name: errors[name].to_numpy() for name in names} if errors is not None else {})


def stored_background(scene: StoredScene) -> Path | None:
    """Return the file of a scene's background in the store; None unless it was made of what there is of it now."""
    from stilt_dagster.operations.status import scene_status

    state = scene_status(scene).assets.get("background", {"state": "missing"})["state"]
    return scene.store.folder("background").get(f"{scene.id}.parquet") if state == "ready" else None


def stored_jacobian(scene: StoredScene) -> Jacobian | None:
    """Return a scene's jacobian as it is in the store; None unless it was made of what there is of the scene now."""
    from stilt_dagster.operations.status import scene_status
    from stilt_dagster.science.jacobian.origin import read_stored

    if scene_status(scene).assets["jacobian"]["state"] != "ready":
        return None
    found = scene.store.folder("jacobian").open(
        f"{scene.id}.nc", lambda source: read_stored(source, scene.spec), whole=True
    )
    if found is None or found.version != scene.versions.jacobian:
        return None
    return Jacobian(None, found.report, found.errors)


def _transport_error(scene: StoredScene, archive: FileArchive, scratch: Path) -> pa.Table | None:
    """Return the transport error of each observation; None of a scene that does not ask for it."""
    if scene.spec.transport_error is None:
        return None
    # xarray takes half a second to import, and most scenes name no fluxes.
    from stilt_dagster.science.observations.flux_field import open_flux
    from stilt_dagster.science.observations.transport_error import sample_transport_error

    source = scene.spec.transport_error.flux
    found = archive.fetch([source.uri], scratch)
    if found is None:
        raise FluxError(f"fluxes {source.uri} do not exist: put them there, or correct transport_error of the spec")
    window = Window.of(scene.spec.receptor_list, scene.spec.transport.n_hours)
    field = open_flux(found, source, window.first, window.last)
    return sample_transport_error(scene.spec, scene.batches, scene.trajectories, field)
