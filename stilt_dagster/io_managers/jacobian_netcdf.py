"""Jacobians, as NetCDF-4: ``jacobian/<scene>.nc``, see :mod:`stilt_dagster.science.jacobian.jacobian`."""

from pathlib import Path

import dagster as dg

from stilt_dagster.io_managers.scene_partition import record_location, scene_of
from stilt_dagster.resources.configurable import StoreResource
from stilt_dagster.resources.failures import user_errors_as_failures
from stilt_dagster.resources.stored_scene import missing


class JacobianIOManager(dg.ConfigurableIOManager):
    """Keeps a finished jacobian file."""

    store: StoreResource

    @user_errors_as_failures()
    def handle_output(self, context: dg.OutputContext, obj: Path | None) -> None:
        """Publish the file; nothing, if that of the store is to be kept."""
        if obj is not None:
            self.store.store.folder("jacobian").put(obj, f"{scene_of(context)}.nc")
        record_location(context, self.store.store, f"jacobian/{scene_of(context)}.nc")

    @user_errors_as_failures()
    def load_input(self, context: dg.InputContext) -> Path:
        """Return the file, on this machine."""
        scene = scene_of(context)
        path = self.store.store.folder("jacobian").get(f"{scene}.nc")
        if path is None:
            raise missing("jacobian", scene)
        return path
