"""``report``: what a scene came to, as one HTML file that opens offline."""

from collections.abc import Iterator

import dagster as dg

from stilt_dagster.assets.jacobian import jacobian
from stilt_dagster.assets.metadata import described
from stilt_dagster.operations.products.report import make_report
from stilt_dagster.partitions import scenes
from stilt_dagster.resources.configurable import StoreResource, TransportEngine, open_scene
from stilt_dagster.resources.failures import user_errors_as_failures
from stilt_dagster.science.errors import IncompleteError


@dg.asset(
    partitions_def=scenes,
    io_manager_key="report_io_manager",
    # Read in blocks from the store, and not loaded: an input would be an event more.
    deps=[jacobian],
    code_version="1",
    **described(
        "report",
        "products",
        {"html"},
        "Maps, figures, failures and origin of a scene's jacobian: one HTML file that opens offline.",
        "report",
    ),
)
def report(
    context: dg.AssetExecutionContext, store: StoreResource, transport_engine: TransportEngine
) -> Iterator[dg.Output[str]]:
    """Make the page of a scene's jacobian."""
    with user_errors_as_failures():
        scene = open_scene(store, transport_engine, context.partition_key)
        made = make_report(scene)
        if made.version != scene.versions.report:
            raise IncompleteError(f"jacobian of scene {scene.id} is of other inputs: materialize it first")
        yield dg.Output(
            made.html,
            data_version=dg.DataVersion(made.version),
            metadata={
                "stilt/bytes": len(made.html.encode()),
                "stilt/warnings": len(made.warnings),
            },
        )
