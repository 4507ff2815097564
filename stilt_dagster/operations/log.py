"""What is known of one receptor's simulation: how it ended, HYSPLIT's log, and how to run it again by hand."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from stilt_dagster.resources.stored_scene import StoredScene, aggregate_files
from stilt_dagster.science.batches import Batch
from stilt_dagster.science.errors import IncompleteError, SceneError
from stilt_dagster.science.outcomes import Outcome
from stilt_dagster.science.scenes.receptors import Receptor
from stilt_dagster.science.scratch import writing
from stilt_dagster.science.transport.hysplit import Hysplit
from stilt_dagster.science.transport.trajectories import read_part

#: Lines of a log a person is shown in the UI.
_LOG_LINES = 15


def outcome_of(scene: StoredScene, receptor: str) -> Outcome:
    """Return how a receptor's simulation ended, with HYSPLIT's log if it failed.

    Raises
    ------
    SceneError
        If the scene has no such receptor.
    IncompleteError
        If it was not simulated, or with other inputs.
    """
    batch, _ = _find(scene, receptor)
    part = read_part(scene.trajectories(batch.shard), batch)
    if part is None:
        raise IncompleteError(
            f"receptor {receptor} is not simulated yet: run it with `stilt-dagster scene run {scene.id} --shards "
            f"{batch.shard}`"
        )
    with closing(part):
        return next(o for o in part.outcomes if o.receptor == receptor)


def log_of_failures(scene: StoredScene, failed: Sequence[Outcome], most: int = 3) -> str:
    """Return the end of HYSPLIT's log of the first failed receptors as Markdown; of those that have one."""
    sections = []
    for outcome in failed[:most]:
        try:
            log = outcome.log or outcome_of(scene, outcome.receptor).log
        except IncompleteError:  # its part was replaced meanwhile
            continue
        lines = log.rstrip().replace("```", "...").splitlines()[-_LOG_LINES:]
        if lines:
            sections.append("\n".join([f"`{outcome.receptor}` {outcome.reason}", "```", *lines, "```"]))
    return "\n\n".join(sections) or "no log: they failed before hycs_std ran, or after it"


def prepare_run(scene: StoredScene, receptor: str, engine: Hysplit, directory: Path) -> None:
    """Write a directory in which ``./hycs_std`` simulates a receptor as the scene does.

    Where the scene has error runs, ``error_run`` in it is such a directory of the receptor's.

    Raises
    ------
    SceneError
        If the scene has no such receptor, or there is something in the directory.
    IncompleteError
        If the scene has no meteorology aggregate.
    """
    _, found = _find(scene, receptor)
    meteorology = aggregate_files(scene.store, scene.id)
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise SceneError(f"{directory} is not empty: name another directory")
        transport = scene.spec.transport
        engine.prepare(directory.resolve(), found, transport.unperturbed, meteorology)
        if transport.has_error_run:
            again = directory.resolve() / "error_run"
            again.mkdir()
            engine.prepare(again, found, transport.perturbed(found), meteorology)


def _find(scene: StoredScene, receptor: str) -> tuple[Batch, Receptor]:
    for batch in (b for members in scene.batches.values() for b in members):
        if receptor in batch.receptors.ids:
            return batch, batch.receptors[batch.receptors.ids.index(receptor)]
    raise SceneError(
        f"scene {scene.id} has no receptor {receptor!r}: `stilt-dagster scene status --json` lists failed ones"
    )
