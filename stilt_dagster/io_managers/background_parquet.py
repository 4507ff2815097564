"""Backgrounds, as Parquet: ``background/<scene>.parquet``, a row a receptor."""

import dagster as dg
import pyarrow as pa

from stilt_dagster.io_managers.scene_partition import record_location, scene_of
from stilt_dagster.resources.configurable import StoreResource
from stilt_dagster.resources.failures import user_errors_as_failures
from stilt_dagster.resources.stored_scene import missing
from stilt_dagster.science.observations.background_files import read_background, write_background

#: A background, and the version it is of.
BackgroundTable = tuple[pa.Table, str]


class BackgroundIOManager(dg.ConfigurableIOManager):
    """Keeps a background and the version it is of; nothing for scenes that name no field."""

    store: StoreResource

    @user_errors_as_failures()
    def handle_output(self, context: dg.OutputContext, obj: BackgroundTable | None) -> None:
        """Publish the table."""
        if obj is None:
            return
        with self.store.store.scratch() as scratch:
            write_background(*obj, scratch / "background.parquet")
            self.store.store.folder("background").put(scratch / "background.parquet", f"{scene_of(context)}.parquet")
        record_location(context, self.store.store, f"background/{scene_of(context)}.parquet")

    @user_errors_as_failures()
    def load_input(self, context: dg.InputContext) -> BackgroundTable | None:
        """Read the table; None for a scene that names no field."""
        scene = scene_of(context)
        if self.store.store.scene(scene).background is None:
            return None
        try:
            found = self.store.store.folder("background").open(f"{scene}.parquet", read_background, whole=True)
        except ValueError:
            found = None
        if found is None:
            raise missing("background", scene)
        return found
