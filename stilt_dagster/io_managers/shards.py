"""Assets made of part files, which their simulations write themselves, batch by batch, as they finish.

What passes between assets is then not the content but where it is: a run of 100,000 receptors holds a few in memory.
"""

from dataclasses import dataclass

import dagster as dg

from stilt_dagster.failures import explained
from stilt_dagster.io_managers.scene import scene_of
from stilt_dagster.resources.store import Folder, Store, StoreResource


@dataclass(frozen=True)
class Shards:
    """The part files of one asset of a scene.

    Attributes
    ----------
    store : Store
        Where they are.
    asset : str
        ``trajectories`` or ``footprints``.
    scene : str
        The scene.
    """

    store: Store
    asset: str
    scene: str

    def folder(self, shard: str) -> Folder:
        """Return the folder of a shard."""
        return self.store.folder(self.asset, self.scene, shard)


class ShardsIOManager(dg.ConfigurableIOManager):
    """Hands on where an asset's part files are; they are in the store already."""

    store: StoreResource

    @explained()
    def handle_output(self, context: dg.OutputContext, obj: Shards) -> None:
        """Record where the files are."""
        context.add_output_metadata({"path": dg.MetadataValue.path(str(obj.store.root / obj.asset / obj.scene))})

    @explained()
    def load_input(self, context: dg.InputContext) -> Shards:
        """Return where the files of the upstream asset are."""
        return Shards(self.store.store, context.asset_key.path[-1], scene_of(context))
