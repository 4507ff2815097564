"""Backgrounds, as Parquet: ``background/<scene>.parquet``, a row a receptor."""

from pathlib import Path

import dagster as dg

from stilt_dagster.io_managers.scene_partition import record_location, scene_of
from stilt_dagster.resources.configurable import StoreResource
from stilt_dagster.resources.failures import user_errors_as_failures
from stilt_dagster.resources.stored_scene import missing
from stilt_dagster.science.observations.background_files import BackgroundFile


class BackgroundIOManager(dg.ConfigurableIOManager):
    """Keeps the file of a background; nothing for scenes that name none."""

    store: StoreResource

    @user_errors_as_failures()
    def handle_output(self, context: dg.OutputContext, obj: Path | None) -> None:
        """Publish the file."""
        if obj is None:
            return
        self.store.store.folder("background").put(obj, f"{scene_of(context)}.parquet")
        record_location(context, self.store.store, f"background/{scene_of(context)}.parquet")

    @user_errors_as_failures()
    def load_input(self, context: dg.InputContext) -> BackgroundFile | None:
        """Open the file; None for a scene that names none."""
        scene = scene_of(context)
        if self.store.store.scene(scene).background is None:
            return None
        try:
            found = self.store.store.folder("background").open(f"{scene}.parquet", BackgroundFile, whole=True)
        except ValueError:
            found = None
        if found is None:
            raise missing("background", scene)
        return found
