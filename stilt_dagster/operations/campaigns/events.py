"""What Dagster records of a campaign as an asset: how far it is, and that somebody asked for its runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from stilt_dagster.operations.campaigns.definition import Campaign
from stilt_dagster.operations.campaigns.progress import Progress
from stilt_dagster.science.errors import counted

#: Metadata of a request for runs: its scenes.
LAUNCHED = "stilt/launched"


def campaign_key(name: str) -> dg.AssetKey:
    """Return the asset a campaign is."""
    return dg.AssetKey(["campaigns", name])


def launch_campaign(instance: dg.DagsterInstance, campaign: Campaign, scenes: Sequence[str], *, failed: bool) -> None:
    """Ask for the runs of scenes of a campaign: the sensor ``campaigns`` starts them, as they become due.

    The request is an observation of the campaign's asset, so that it needs no workspace, takes one row of the event
    log, and is seen in the UI. A later one takes its place.

    Parameters
    ----------
    instance : DagsterInstance
        Where it is recorded.
    campaign : Campaign
        The campaign.
    scenes : sequence of str
        Which of its scenes.
    failed : bool
        Whether these are the ones that failed.
    """
    what = "scenes that failed" if failed else "scenes that are not done"
    instance.report_runless_asset_event(
        dg.AssetObservation(
            campaign_key(campaign.name),
            description=f"asked for the runs of {len(scenes)} {what}",
            metadata={"stilt/scenes_launched": len(scenes), LAUNCHED: json.dumps(list(scenes))},
        )
    )


@dataclass(frozen=True)
class Launch:
    """A request for the runs of a campaign.

    Attributes
    ----------
    number : int
        Its place in the event log.
    time : float
        When, s since 1970.
    scenes : list of str
        The scenes.
    """

    number: int
    time: float
    scenes: list[str]


def last_launch(instance: dg.DagsterInstance, campaign: str) -> Launch | None:
    """Return the last request for a campaign's runs."""
    for record in instance.fetch_observations(campaign_key(campaign), limit=1).records:
        observation = record.asset_observation
        if observation is not None and LAUNCHED in observation.metadata:
            scenes = json.loads(str(observation.metadata[LAUNCHED].value))
            return Launch(record.storage_id, record.timestamp, [str(scene) for scene in scenes])
    return None


def record_progress(instance: dg.DagsterInstance, progress: Progress) -> None:
    """Record how far a campaign is, as a materialization of its asset: numbers the UI plots."""
    counts, receptors, cost = progress.counts, progress.receptors, progress.cost
    hours = progress.hours_left
    numbers = {
        "stilt/scenes": len(progress.scenes),
        **{f"stilt/scenes_{state}": n for state, n in counts.items()},
        "stilt/receptors": receptors["all"],
        "stilt/receptors_done": receptors["done"],
        "stilt/receptors_failed": receptors["failed"],
        "plan/cost": cost["planned"],
        "actual/cost": cost["so_far"],
        "stilt/hours_left": None if hours is None else round(hours, 3),
    }
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            campaign_key(progress.campaign),
            description=f"{counts['done']} of {counted(len(progress.scenes), 'scene')} done, {counts['failed']} failed",
            metadata={name: value for name, value in numbers.items() if value is not None},
        )
    )
