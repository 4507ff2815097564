"""Meteorology aggregates: ``meteorology_aggregate/<scene>.arl``, and what it is made of in ``<scene>.json``."""

import json
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from stilt_dagster.io_managers.scene_partition import scene_of
from stilt_dagster.resources.configurable import StoreResource
from stilt_dagster.resources.failures import user_errors_as_failures
from stilt_dagster.resources.stored_scene import missing
from stilt_dagster.science.meteorology.description import Description


@dataclass(frozen=True)
class Aggregate:
    """A scene's meteorology: an ARL file of this machine, and what it is made of."""

    path: Path
    description: Description


class ArlIOManager(dg.ConfigurableIOManager):
    """Keeps an aggregate as an ARL file hycs_std reads, with its description beside it."""

    store: StoreResource

    @user_errors_as_failures()
    def handle_output(self, context: dg.OutputContext, obj: Aggregate) -> None:
        """Write the file, then its description: the one without the other is not an aggregate."""
        scene = scene_of(context)
        folder = self.store.store.folder("meteorology_aggregate")
        folder.remove(f"{scene}.json")
        folder.put(obj.path, f"{scene}.arl")
        folder.write(f"{scene}.json", json.dumps(obj.description.to_dict(), indent=1))

    @user_errors_as_failures()
    def load_input(self, context: dg.InputContext) -> Path:
        """Return the file, on this machine."""
        scene = scene_of(context)
        path = self.store.store.folder("meteorology_aggregate").get(f"{scene}.arl")
        if path is None:
            raise missing("meteorology_aggregate", scene)
        return path
