"""Reports, as HTML: ``report/<scene>.html``, see :mod:`stilt_dagster.science.report.page`."""

from pathlib import Path

import dagster as dg

from stilt_dagster.io_managers.scene_partition import record_location, scene_of
from stilt_dagster.resources.configurable import StoreResource
from stilt_dagster.resources.failures import user_errors_as_failures
from stilt_dagster.resources.stored_scene import missing


class ReportIOManager(dg.ConfigurableIOManager):
    """Keeps the page of a scene."""

    store: StoreResource

    @user_errors_as_failures()
    def handle_output(self, context: dg.OutputContext, obj: str) -> None:
        """Write the page, all at once."""
        self.store.store.folder("report").write(f"{scene_of(context)}.html", obj)
        record_location(context, self.store.store, f"report/{scene_of(context)}.html")

    @user_errors_as_failures()
    def load_input(self, context: dg.InputContext) -> Path:
        """Return the page, on this machine."""
        scene = scene_of(context)
        path = self.store.store.folder("report").get(f"{scene}.html")
        if path is None:
            raise missing("report", scene)
        return path
