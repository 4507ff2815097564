"""Alerts: a line for whatever watches the logs, when a scene stops."""

import logging

import dagster as dg

from stilt_dagster.automation.in_progress import scene_of_run
from stilt_dagster.kubernetes.dagster_internals import WILL_RETRY_TAG
from stilt_dagster.kubernetes.run_coverage import ASSET_TAG
from stilt_dagster.settings import is_automatic

#: Everything that says ALERT is logged here.
ALERTS = logging.getLogger("stilt_dagster.alert")


@dg.run_failure_sensor(
    default_status=dg.DefaultSensorStatus.RUNNING if is_automatic() else dg.DefaultSensorStatus.STOPPED,
    description="Logs an error line that starts with ALERT when a scene stops: its run failed and is not retried.",
)
def alert(context: dg.RunFailureSensorContext) -> None:
    """Say which scene stopped where, and why, for whatever watches the logs."""
    run = context.dagster_run
    if run.tags.get(WILL_RETRY_TAG) == "true":
        return
    asset = run.tags.get(ASSET_TAG, run.job_name)
    message = (
        f"ALERT: scene {scene_of_run(run) or '-'} stopped at {asset}, run {run.run_id}: {context.failure_event.message}"
    )
    context.log.error(message)
    ALERTS.error(message)
