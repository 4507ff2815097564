"""What starts runs without a person: sensors on scenes, campaigns and retrievals, the schedule of domains, alerts."""

from stilt_dagster.automation.alerts import alert
from stilt_dagster.automation.campaign_sensor import campaigns
from stilt_dagster.automation.domain_schedule import domains
from stilt_dagster.automation.external_assets import external_assets
from stilt_dagster.automation.retrieval_sensors import retrieval_sensors
from stilt_dagster.automation.scene_sensor import advance_scenes

SENSORS = (advance_scenes, alert, campaigns)
SCHEDULES = (domains,)

__all__ = ["SCHEDULES", "SENSORS", "external_assets", "retrieval_sensors"]
