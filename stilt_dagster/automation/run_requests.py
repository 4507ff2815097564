"""The request of a run that is due: which job, assets and partitions, and what tags it carries."""

import dagster as dg

from stilt_dagster.automation.due import Step
from stilt_dagster.jobs import assemble, prepare, simulate
from stilt_dagster.kubernetes.run_coverage import ASSET_TAG, SCENE_TAG

#: Run tag of runs that automation asked for.
AUTOMATION_TAG = "stilt/automation"

#: The job each asset is a part of: a run selects one asset of it, and what is made with that.
JOB_OF = {
    "receptors": prepare,
    "meteorology_aggregate": prepare,
    "trajectories": simulate,
    "footprints": simulate,
    "background": assemble,
    "jacobian": assemble,
    "report": assemble,
}


def run_request(step: Step, tags: dict[str, str], by: str = "advance_scenes", again: str = "") -> dg.RunRequest:
    """Return the request of a step's run: the same key as long as nothing has changed.

    Parameters
    ----------
    step : Step
        What is due.
    tags : dict
        Run tags the scene brings.
    by : str
        Who asks: the value of :data:`AUTOMATION_TAG`.
    again : str
        What makes it another run than one that failed.
    """
    return dg.RunRequest(
        run_key="/".join(part for part in (step.key, again) if part),
        job_name=JOB_OF[step.asset].name,
        asset_selection=[dg.AssetKey(asset) for asset in step.assets],
        tags={
            **tags,
            **step.partition,
            SCENE_TAG: step.scene,
            ASSET_TAG: ",".join(step.assets),
            AUTOMATION_TAG: by,
        },
    )
