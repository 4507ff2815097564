"""Receptor tables, as Parquet: ``receptors/<scene>.parquet``."""

import dagster as dg
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from stilt_dagster.failures import explained
from stilt_dagster.io_managers.scene import missing, scene_of
from stilt_dagster.resources.store import StoreResource
from stilt_dagster.science.errors import StoreError
from stilt_dagster.science.receptors import RECEPTOR_COLUMNS


class ReceptorIOManager(dg.ConfigurableIOManager):
    """Keeps a receptor table as one Parquet file; its columns carry their units."""

    store: StoreResource

    @explained()
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

    @explained()
    def load_input(self, context: dg.InputContext) -> pd.DataFrame:
        """Read where and when particles are released."""
        scene = scene_of(context)
        path = self.store.store.folder("receptors").get(f"{scene}.parquet")
        if path is None:
            raise missing("receptors", scene)
        return pd.read_parquet(path, columns=list(RECEPTOR_COLUMNS))
