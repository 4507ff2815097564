"""Meteorology aggregates: ``meteorology_aggregate/<scene>.arl``, and what it is made of in ``<scene>.json``.

Of nested grids ``<scene>.arl`` is the finest, ``<scene>~2.arl`` the next, and so on.
"""

from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from stilt_dagster.io_managers.aggregate_files import put_aggregate
from stilt_dagster.io_managers.scene_partition import record_location, scene_of
from stilt_dagster.resources.configurable import StoreResource
from stilt_dagster.resources.failures import user_errors_as_failures
from stilt_dagster.resources.stored_scene import aggregate_files
from stilt_dagster.science.meteorology.description import Description


@dataclass(frozen=True)
class Aggregate:
    """A scene's meteorology: ARL files of this machine, the finest grid first, and what they are made of."""

    paths: tuple[Path, ...]
    description: Description


class ArlIOManager(dg.ConfigurableIOManager):
    """Keeps an aggregate as ARL files hycs_std reads, with its description beside them."""

    store: StoreResource

    @user_errors_as_failures()
    def handle_output(self, context: dg.OutputContext, obj: Aggregate) -> None:
        """Write the files, or link them to those of a scene that has the same, then their description."""
        put_aggregate(self.store.store, scene_of(context), obj.paths, obj.description)
        record_location(context, self.store.store, f"meteorology_aggregate/{scene_of(context)}.arl")

    @user_errors_as_failures()
    def load_input(self, context: dg.InputContext) -> tuple[Path, ...]:
        """Return the files, on this machine."""
        return aggregate_files(self.store.store, scene_of(context))
