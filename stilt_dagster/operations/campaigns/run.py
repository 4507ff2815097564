"""Running what of a campaign is not done in this process, one scene after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import dagster as dg

from stilt_dagster.kubernetes.run_coverage import CAMPAIGN_TAG
from stilt_dagster.operations.campaigns.definition import Campaign
from stilt_dagster.operations.campaigns.events import record_progress
from stilt_dagster.operations.campaigns.progress import Progress, campaign_progress
from stilt_dagster.operations.run import run_scene
from stilt_dagster.resources.store import Store
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster.science.errors import UserError
from stilt_dagster.science.pystilt import WHEEL_BUILD


def due_scenes(progress: Progress, *, failed: bool) -> list[str]:
    """Return the scenes of a campaign that are not done, those no run is working on first; or those that failed."""
    states = ("failed",) if failed else ("waiting", "failed", "running")
    return [scene.scene for state in states for scene in progress.of_state(state)]


@dataclass
class CampaignRun:
    """What became of a campaign's scenes.

    Attributes
    ----------
    done : list of str
        Scenes that are done.
    failed : dict of str to str
        Scenes that are not, and why, in one line.
    """

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def run_campaign(
    instance: dg.DagsterInstance,
    store: Store,
    campaign: Campaign,
    scenes: Sequence[str],
    engine_here: str | None,
    definitions: Callable[[], dg.Definitions],
    report: Callable[[str], None] = lambda line: None,
) -> CampaignRun:
    """Run scenes of a campaign in this process, one after the other; one that fails does not stop the others.

    Parameters
    ----------
    instance : DagsterInstance
        Where runs are recorded.
    store : Store
        Where the scenes are.
    campaign : Campaign
        The campaign; its runs carry its name.
    scenes : sequence of str
        Which of its scenes.
    engine_here : str, optional
        Version of this machine's transport engine; None if it has none.
    definitions : callable
        Gives the code location, which is loaded only if there is something to run.
    report : callable
        Called with a line on each scene.

    Returns
    -------
    CampaignRun

    Raises
    ------
    KeyboardInterrupt
        If it was told to end.
    """
    result = CampaignRun()
    try:
        for number, name in enumerate(scenes, 1):
            report(f"{name}: scene {number} of {len(scenes)}")
            try:
                scene = StoredScene.load(store, name, engine_here)
                run_scene(instance, scene, definitions, report=report, tags={CAMPAIGN_TAG: campaign.name})
            except UserError as error:
                result.failed[name] = str(error)
                report(f"{name}: failed: {error}")
            else:
                result.done.append(name)
    finally:
        if scenes:
            record_progress(instance, campaign_progress(instance, store, campaign, engine_here or WHEEL_BUILD))
    return result
