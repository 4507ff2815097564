"""Assets made of part files, which their simulations write themselves, batch by batch, as they finish.

What passes between assets is then not the content but where it is: a run of 100,000 receptors holds a few in memory.
"""

import dagster as dg

from stilt_dagster.io_managers.scene_partition import record_location, scene_of
from stilt_dagster.resources.configurable import StoreResource
from stilt_dagster.resources.failures import user_errors_as_failures


class ShardsIOManager(dg.ConfigurableIOManager):
    """Hands on where an asset's part files are; they are in the store already."""

    store: StoreResource

    @user_errors_as_failures()
    def handle_output(self, context: dg.OutputContext, obj: str) -> None:
        """Record where the files are."""
        record_location(context, self.store.store, f"{context.asset_key.path[-1]}/{scene_of(context)}")

    @user_errors_as_failures()
    def load_input(self, context: dg.InputContext) -> str:
        """Return where the files of the upstream asset are."""
        return self._place(context, context.asset_key)

    def _place(self, context: dg.InputContext | dg.OutputContext, asset: dg.AssetKey) -> str:
        return f"{self.store.store.root}/{asset.path[-1]}/{scene_of(context)}"
