"""Alerts: a log line, and a message to people where these are named, when a scene stops."""

import logging

import dagster as dg

from stilt_dagster.automation.in_progress import scene_of_run
from stilt_dagster.automation.notify import notify
from stilt_dagster.kubernetes.dagster_internals import WILL_RETRY_TAG
from stilt_dagster.kubernetes.run_coverage import ASSET_TAG
from stilt_dagster.settings import is_automatic, ui_url

#: Everything that says ALERT is logged here.
ALERTS = logging.getLogger("stilt_dagster.alert")


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.RUNNING if is_automatic() else dg.DefaultSensorStatus.STOPPED,
    description="Says that a scene stopped (its run failed and is not retried): a log line that starts with ALERT, and "
    "a message to the services of STILT_ALERTS.",
)
def alert(context: dg.RunFailureSensorContext) -> None:
    """Say which scene stopped where, and why, for whatever watches the logs, and to people."""
    run = context.dagster_run
    if run.tags.get(WILL_RETRY_TAG) == "true":
        return
    asset, scene = run.tags.get(ASSET_TAG, run.job_name), scene_of_run(run) or "-"
    message = f"ALERT: scene {scene} stopped at {asset}, run {run.run_id}: {_reason(context)}"
    context.log.error(message)
    ALERTS.error(message)
    place = f"{ui_url()}/runs/{run.run_id}" if ui_url() else f"run {run.run_id}"
    problem = notify(f"STILT scene {scene} stopped at {asset}", f"{_reason(context)}\n\n{place}")
    if problem:
        context.log.warning(problem)


def _reason(context: dg.RunFailureSensorContext) -> str:
    """Return what the step that failed first says a person should do; what Dagster says where no step did."""
    for event in context.get_step_failure_events():
        data = event.step_failure_data.user_failure_data
        if data is not None and data.description:
            return data.description
    return context.failure_event.message or "no reason is recorded"
