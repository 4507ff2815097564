"""How far a campaign is: from what Dagster recorded of its scenes, all of them at once."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import dagster as dg

from stilt_dagster.operations.campaigns.definition import Campaign
from stilt_dagster.operations.campaigns.membership import scenes_of
from stilt_dagster.operations.campaigns.records import Event, Failed, Records, failure_reason
from stilt_dagster.resources.store import Store
from stilt_dagster.science import versions
from stilt_dagster.science.errors import UserError

#: What a scene of a campaign can be.
STATES = ("done", "failed", "running", "waiting")

#: Scenes that finished last, whose pace is measured.
_PACE_OF = 20


@dataclass(frozen=True)
class SceneProgress:
    """How far a scene is.

    Attributes
    ----------
    scene : str
        The scene.
    state : str
        One of :data:`STATES`.
    receptors, failed : int
        Receptors, and of a scene that is done those that failed.
    planned, cost : float or None
        Money it was planned to cost, and of a scene that is done what it did cost, as far as that is recorded.
    currency : str
        Of both.
    cpu_seconds : float
        CPU it was expected to need when it was registered, s: what its share of the campaign's work is measured by.
    finished : float
        When its jacobian was made, s since 1970; 0 if it is not.
    reason, run : str
        Of a scene that failed: why, in one line, and the run.
    failed_at : float
        When that run ended, s since 1970.
    """

    scene: str
    state: str
    receptors: int
    failed: int = 0
    planned: float | None = None
    cost: float | None = None
    currency: str = ""
    cpu_seconds: float = 0.0
    finished: float = 0.0
    reason: str = ""
    run: str = ""
    failed_at: float = 0.0


@dataclass(frozen=True)
class Progress:
    """How far a campaign is.

    Attributes
    ----------
    campaign : str
        The campaign.
    scenes : list of SceneProgress
        Its scenes.
    at : float
        When, s since 1970.
    """

    campaign: str
    scenes: list[SceneProgress]
    at: float = field(default_factory=time.time)

    def of_state(self, *states: str) -> list[SceneProgress]:
        """Return the scenes of some states."""
        return [scene for scene in self.scenes if scene.state in states]

    @property
    def counts(self) -> dict[str, int]:
        """Scenes by state."""
        return {state: len(self.of_state(state)) for state in STATES}

    @property
    def receptors(self) -> dict[str, int]:
        """Receptors: of all scenes, of those that are done, and of these the failed ones."""
        done = self.of_state("done")
        return {
            "all": sum(scene.receptors for scene in self.scenes),
            "done": sum(scene.receptors - scene.failed for scene in done),
            "failed": sum(scene.failed for scene in done),
        }

    @property
    def cost(self) -> dict[str, Any]:
        """Money: planned for all scenes, and what those that are done did cost."""
        currencies = {scene.currency for scene in self.scenes if scene.currency}
        planned = [scene.planned for scene in self.scenes]
        done = [scene.planned if scene.cost is None else scene.cost for scene in self.of_state("done")]
        return {
            "planned": _sum(planned) if len(currencies) == 1 else None,
            "so_far": _sum(done) if len(currencies) == 1 else None,
            "currency": currencies.pop() if len(currencies) == 1 else None,
        }

    @property
    def hours_left(self) -> float | None:
        """Hours the scenes that wait or run will take, if it goes on as before; None where no pace is known.

        The pace is CPU expected when they were registered, of the last twenty scenes that finished but the first of
        these, over the time between the first one's end and the last's.
        """
        left = sum(scene.cpu_seconds for scene in self.of_state("waiting", "running"))
        if not left:
            return 0.0
        last = sorted(self.of_state("done"), key=lambda scene: scene.finished)[-_PACE_OF:]
        if len(last) < 2 or not (seconds := last[-1].finished - last[0].finished):
            return None
        pace = sum(scene.cpu_seconds for scene in last[1:]) / seconds
        return left / pace / 3600 if pace else None

    @property
    def expected_end(self) -> dt.datetime | None:
        """When the last scene will be done, UTC, if it goes on as before."""
        hours = self.hours_left
        if not hours or hours > 1e6:
            return None
        return dt.datetime.fromtimestamp(self.at + hours * 3600, dt.UTC).replace(microsecond=0)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        hours, end = self.hours_left, self.expected_end
        return {
            "campaign": self.campaign,
            "scenes": {"all": len(self.scenes), **self.counts},
            "receptors": self.receptors,
            "cost": self.cost,
            "hours_left": None if hours is None else round(hours, 3),
            "expected_end": None if end is None else end.isoformat(),
            "failures": [{"scene": s.scene, "reason": s.reason, "run": s.run} for s in self.of_state("failed")],
        }


def campaign_progress(instance: dg.DagsterInstance, store: Store, campaign: Campaign, engine: str) -> Progress:
    """Return how far a campaign is.

    Few queries tell it of a thousand scenes, and no file is opened but the specs of scenes that were registered again
    since they were done: whether these are still done, their versions say.

    Parameters
    ----------
    instance : DagsterInstance
        Where runs and products are recorded.
    store : Store
        Where scenes are listed.
    campaign : Campaign
        The campaign.
    engine : str
        Version of the transport engine.

    Raises
    ------
    UserError
        If a source of the campaign is not usable, or the store cannot be read.
    """
    return progress_of(instance, store, campaign.name, scenes_of(campaign, store), engine)


def progress_of(
    instance: dg.DagsterInstance, store: Store, campaign: str, scenes: Sequence[str], engine: str
) -> Progress:
    """Return how far some scenes are; *campaign* is what they are called together. See :func:`campaign_progress`."""
    records = Records(instance, scenes)
    done = {scene for scene in scenes if _is_done(store, records, scene, engine)}
    running = records.in_progress()
    failed = {} if len(done) == len(scenes) else _failed(records, done)

    def one(scene: str) -> SceneProgress:
        if scene in done:
            return _scene(scene, "done", records)
        if scene in running:
            return _scene(scene, "running", records)
        if (run := failed.get(scene)) is not None:
            found = _scene(scene, "failed", records)
            return replace(found, reason=failure_reason(instance, run.run), run=run.run, failed_at=run.ended)
        return _scene(scene, "waiting", records)

    return Progress(campaign, [one(scene) for scene in scenes])


def _scene(scene: str, state: str, records: Records) -> SceneProgress:
    registered = records.registered.get(scene, Event(0.0))
    load, plan = registered.json("load"), registered.json("plan")
    finished = records.finished.get(scene, Event(0.0)) if state == "done" else Event(0.0)
    receptors = load.get("receptors", 0)
    return SceneProgress(
        scene,
        state,
        int(receptors) if isinstance(receptors, int) else 0,
        failed=int(finished.number("stilt/receptors_failed", "failed") or 0),
        planned=_number(plan.get("cost")),
        cost=finished.number("actual/cost"),
        currency=str(plan.get("currency", "")),
        cpu_seconds=_number(load.get("cpu_seconds")) or 0.0,
        finished=finished.time,
    )


def _is_done(store: Store, records: Records, scene: str, engine: str) -> bool:
    finished = records.finished.get(scene)
    if finished is None or not records.is_newest(scene):
        return False
    if not records.is_registered_since(scene):
        return True
    try:
        spec = store.scene(scene)
    except UserError:
        return False
    aggregate = records.made("meteorology_aggregate", scene)
    key, _, checksum = ("" if aggregate is None else aggregate.version).partition(".")
    trajectories = versions.trajectories_version(spec, checksum, spec.transport.engine_version(engine) or "")
    wanted = versions.jacobian_version(spec, versions.footprints_version(spec, trajectories))
    return key == versions.meteorology_key(spec) and finished.version == wanted


def _failed(records: Records, done: set[str]) -> dict[str, Failed]:
    """Return the newest failed run of each scene that is not done, unless what it was to make was made later.

    A scene that was registered again since is none either: its runs were of another spec.
    """
    found: dict[str, Failed] = {}
    for run in records.failed():
        if run.scene not in done and run.scene not in found and not _is_past(records, run):
            found[run.scene] = run
    return found


def _is_past(records: Records, run: Failed) -> bool:
    later: Iterable[Event | None] = [records.registered.get(run.scene)]
    if run.assets:
        later = [*later, records.made(run.assets[-1], run.scene)]
    return any(event is not None and event.time > run.ended for event in later)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _sum(amounts: Sequence[float | None]) -> float | None:
    known = [amount for amount in amounts if amount is not None]
    return round(sum(known), 4) if known else None
