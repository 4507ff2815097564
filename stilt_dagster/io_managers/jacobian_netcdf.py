"""Jacobians, as NetCDF-4: ``jacobian/<scene>.nc``, see :mod:`stilt_dagster.science.jacobian`."""

from pathlib import Path

import dagster as dg

from stilt_dagster.failures import explained
from stilt_dagster.io_managers.scene import missing, scene_of
from stilt_dagster.resources.store import StoreResource


class JacobianIOManager(dg.ConfigurableIOManager):
    """Keeps a finished jacobian file."""

    store: StoreResource

    @explained()
    def handle_output(self, context: dg.OutputContext, obj: Path) -> None:
        """Publish the file."""
        self.store.store.folder("jacobian").put(obj, f"{scene_of(context)}.nc")

    @explained()
    def load_input(self, context: dg.InputContext) -> Path:
        """Return the file, on this machine."""
        scene = scene_of(context)
        path = self.store.store.folder("jacobian").get(f"{scene}.nc")
        if path is None:
            raise missing("jacobian", scene)
        return path
