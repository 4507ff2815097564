"""Backgrounds, as Parquet: ``background/<scene>.parquet``, a row a receptor."""

import dagster as dg
import pandas as pd

from stilt_dagster.failures import explained
from stilt_dagster.io_managers.scene import missing, scene_of
from stilt_dagster.resources.store import StoreResource
from stilt_dagster.science.background import read_background, write_background


class BackgroundIOManager(dg.ConfigurableIOManager):
    """Keeps a background and the version it is of; nothing for scenes that name no field."""

    store: StoreResource

    @explained()
    def handle_output(self, context: dg.OutputContext, obj: tuple[pd.DataFrame, str] | None) -> None:
        """Publish the table."""
        if obj is None:
            return
        with self.store.store.scratch() as scratch:
            write_background(*obj, scratch / "background.parquet")
            self.store.store.folder("background").put(scratch / "background.parquet", f"{scene_of(context)}.parquet")

    @explained()
    def load_input(self, context: dg.InputContext) -> tuple[pd.DataFrame, str] | None:
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
