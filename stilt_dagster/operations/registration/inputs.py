"""Files a scene names beside its meteorology, looked for before hours of CPU are spent on what needs them last."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from stilt_dagster.operations.plan import concurrency_of
from stilt_dagster.resources.meteorology_archive import FileArchive
from stilt_dagster.resources.store import Store
from stilt_dagster.science.errors import SceneError
from stilt_dagster.science.scenes.spec import Scene


def require_inputs(instance: dg.DagsterInstance, store: Store, scene: Scene) -> None:
    """Make sure that the files of a scene's background and fluxes are there, as far as it can be seen from here.

    Nothing is said of files of buckets and web servers, nor where runs are pods or the store is no directory of this
    machine: what is a path there is not one here.

    Parameters
    ----------
    instance : DagsterInstance
        Where runs are launched.
    store : Store
        Where the scene is to be registered.
    scene : Scene
        The scene, read from a file, so that its paths are absolute.

    Raises
    ------
    SceneError
        Naming the field of the spec and the file that is not there.
    """
    named = list(_files(scene))
    if not named or not store.is_local or concurrency_of(instance).in_pods:
        return
    here = FileArchive("")
    for field, uri in named:
        if not here.has([uri]):
            raise SceneError(
                f"scene {scene.id}: {field}: there is no file {uri}: put it there, or correct the spec; it would be "
                "missed only when trajectories and footprints are done"
            )


def _files(scene: Scene) -> Iterator[tuple[str, str]]:
    """Yield the files a scene names for what comes after its footprints, each with its field of the spec."""
    if scene.background is not None and scene.background.uri is not None:
        yield "background.uri", scene.background.uri
    if scene.transport_error is not None:
        yield "transport_error.flux.uri", scene.transport_error.flux.uri
