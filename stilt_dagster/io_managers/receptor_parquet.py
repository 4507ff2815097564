"""Receptor tables, as Parquet: ``receptors/<scene>.parquet``."""

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq

from stilt_dagster.io_managers.scene_partition import record_location, scene_of
from stilt_dagster.resources.configurable import StoreResource
from stilt_dagster.resources.failures import user_errors_as_failures
from stilt_dagster.resources.stored_scene import missing
from stilt_dagster.science.errors import StoreError
from stilt_dagster.science.scenes.receptor_table import RECEPTOR_COLUMNS


class ReceptorIOManager(dg.ConfigurableIOManager):
    """Keeps a receptor table as one Parquet file; its columns carry their units."""

    store: StoreResource

    @user_errors_as_failures()
    def handle_output(self, context: dg.OutputContext, obj: pa.Table) -> None:
        """Write the table."""
        store = self.store.store
        with store.scratch() as scratch:
            path = scratch / "receptors.parquet"
            try:
                pq.write_table(obj, path, compression="zstd")
            except OSError as error:
                raise StoreError(f"cannot write receptors: {error}; free space, or set STILT_STORE") from error
            store.folder("receptors").put(path, f"{scene_of(context)}.parquet")
        record_location(context, store, f"receptors/{scene_of(context)}.parquet")

    @user_errors_as_failures()
    def load_input(self, context: dg.InputContext) -> pa.Table:
        """Read where and when particles are released; its metadata says what it was made of."""
        scene = scene_of(context)
        path = self.store.store.folder("receptors").get(f"{scene}.parquet")
        if path is None:
            raise missing("receptors", scene)
        return pq.read_table(path, columns=list(RECEPTOR_COLUMNS), use_threads=False)
