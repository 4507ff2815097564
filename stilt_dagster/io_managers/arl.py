"""Meteorology aggregates: ``meteorology_aggregate/<scene>.arl``, and what it is made of in ``<scene>.json``."""

import json
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from stilt_dagster.failures import explained
from stilt_dagster.io_managers.scene import missing, scene_of
from stilt_dagster.resources.store import Store, StoreResource
from stilt_dagster.science.meteorology import Description


@dataclass(frozen=True)
class Aggregate:
    """A scene's meteorology: an ARL file of this machine, and what it is made of."""

    path: Path
    description: Description


def read_description(store: Store, scene: str) -> Description | None:
    """Return what a scene's aggregate is made of, or None if there is none that can be read."""
    text = store.folder("meteorology_aggregate").read(f"{scene}.json")
    try:
        return None if text is None else Description(**json.loads(text))
    except (ValueError, TypeError):
        return None


class ArlIOManager(dg.ConfigurableIOManager):
    """Keeps an aggregate as an ARL file hycs_std reads, with its description beside it."""

    store: StoreResource

    @explained()
    def handle_output(self, context: dg.OutputContext, obj: Aggregate) -> None:
        """Write the file, then its description: the one without the other is not an aggregate."""
        scene = scene_of(context)
        folder = self.store.store.folder("meteorology_aggregate")
        folder.remove(f"{scene}.json")
        folder.put(obj.path, f"{scene}.arl")
        folder.write(f"{scene}.json", json.dumps(obj.description.to_dict(), indent=1))

    @explained()
    def load_input(self, context: dg.InputContext) -> Aggregate:
        """Return the file, on this machine."""
        scene = scene_of(context)
        store = self.store.store
        description = read_description(store, scene)
        path = store.folder("meteorology_aggregate").get(f"{scene}.arl")
        if description is None or path is None:
            raise missing("meteorology_aggregate", scene)
        return Aggregate(path, description)
