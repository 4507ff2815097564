"""Jobs: the three runs that take a scene from its spec to its report, and what else the UI can do to scenes."""

from collections.abc import Callable, Sequence
from pathlib import Path

import dagster as dg
from pydantic import Field

from stilt_dagster.assets import (
    background,
    footprints,
    jacobian,
    meteorology_aggregate,
    receptors,
    report,
    trajectories,
)
from stilt_dagster.operations.campaigns.definition import load_campaign
from stilt_dagster.operations.campaigns.events import launch_campaign
from stilt_dagster.operations.campaigns.plan import require_campaign_within
from stilt_dagster.operations.campaigns.progress import campaign_progress
from stilt_dagster.operations.campaigns.run import due_scenes
from stilt_dagster.operations.ingest.granules import retrieve
from stilt_dagster.operations.plan import concurrency_of
from stilt_dagster.operations.products import maps
from stilt_dagster.operations.products.conversions import Options, convert_scenes
from stilt_dagster.operations.products.export import concatenate_scenes, export_rstilt
from stilt_dagster.operations.registration.delete import delete_scene, require_no_run
from stilt_dagster.operations.registration.inputs import require_inputs
from stilt_dagster.operations.registration.register import register_scene
from stilt_dagster.partitions import scene_by_shard, scenes
from stilt_dagster.resources.configurable import StoreResource, TransportEngine, open_scene
from stilt_dagster.resources.failures import user_errors_as_failures
from stilt_dagster.resources.store import Store
from stilt_dagster.resources.stored_scene import StoredScene
from stilt_dagster.science.errors import counted
from stilt_dagster.science.jacobian.adapters.codes import Code
from stilt_dagster.science.scenes.loading import load_scene, parse_scene

prepare = dg.define_asset_job(
    "prepare",
    selection=dg.AssetSelection.assets(receptors, meteorology_aggregate),
    partitions_def=scenes,
    description="Receptors and meteorology of a scene.",
)
simulate = dg.define_asset_job(
    "simulate",
    selection=dg.AssetSelection.assets(trajectories, footprints),
    partitions_def=scene_by_shard,
    description="Trajectories and footprints of shards of a scene.",
)
assemble = dg.define_asset_job(
    "assemble",
    selection=dg.AssetSelection.assets(background, jacobian, report),
    partitions_def=scenes,
    description="Background, jacobian and report of a scene.",
)


class RegisterConfig(dg.Config):
    """A scene to register: a file the code location can read, or its YAML."""

    file: str = Field("", description="Path of a scene's YAML.")
    yaml: str = Field("", description="The YAML itself.")
    replace: bool = Field(False, description="Take the place of another spec with the same id.")


@dg.op
def register(context: dg.OpExecutionContext, config: RegisterConfig, store: StoreResource) -> str:
    """Check a scene's spec, write it to the store, and add its partition."""
    with user_errors_as_failures():
        if config.file:
            scene = load_scene(Path(config.file), retrieve)
        else:
            scene = parse_scene(config.yaml, "the scene's YAML", Path.cwd(), retrieve=retrieve)
        require_inputs(context.instance, store.store, scene)
        new = register_scene(context.instance, store.store, scene, replace=config.replace)
    context.log.info(
        f"scene {scene.id}: {counted(len(scene.receptor_list), 'receptor')}, {'registered' if new else 'known already'}"
    )
    return scene.id


@dg.job(description="Register a scene, as `stilt-dagster scene add` does.", executor_def=dg.in_process_executor)
def register_scenes() -> None:
    """Register a scene from the UI."""
    register()


class DeleteConfig(dg.Config):
    """Scenes to delete."""

    scenes: list[str] = Field(description="Ids of the scenes.")
    keep_files: bool = Field(False, description="Leave the files of their products in the store.")


@dg.op
def delete(context: dg.OpExecutionContext, config: DeleteConfig, store: StoreResource) -> int:
    """Delete scenes: partition, spec and files; refused while a run of one is in progress."""
    files = 0
    with user_errors_as_failures():
        for scene in config.scenes:
            require_no_run(context.instance, scene)
        for scene in config.scenes:
            deleted = delete_scene(context.instance, store.store, scene, keep_files=config.keep_files)
            files += deleted.files
            context.log.info(f"scene {scene}: deleted, {counted(deleted.files, 'file')}")
    return files


@dg.job(description="Delete scenes, as `stilt-dagster scene delete` does.", executor_def=dg.in_process_executor)
def delete_scenes() -> None:
    """Delete scenes from the UI."""
    delete()


class ConcatConfig(dg.Config):
    """Jacobians to concatenate."""

    scenes: list[str] = Field(description="Scenes whose jacobians are finished.")
    output: str = Field(description="Path of the file to write.")


@dg.op
def concatenate(context: dg.OpExecutionContext, config: ConcatConfig, store: StoreResource) -> str:
    """Write the jacobians of several scenes as one."""
    with user_errors_as_failures():
        rows, columns = concatenate_scenes(store.store, config.scenes, Path(config.output))
    context.log.info(f"{config.output}: {counted(rows, 'observation')}, {counted(columns, 'column')}")
    return config.output


@dg.job(
    description="Write the jacobians of several scenes as one, as `stilt-dagster jacobian concat` does.",
    executor_def=dg.in_process_executor,
)
def concat_jacobians() -> None:
    """Concatenate jacobians from the UI."""
    concatenate()


class ConvertConfig(dg.Config):
    """Jacobians to write for an inversion code."""

    scenes: list[str] = Field(description="Scenes whose jacobians are finished.")
    code: Code = Field(description="The inversion code.")
    output: str = Field(description="Path of the directory to write to; of fips of the file, .pkl.")
    without_failed: bool = Field(False, description="Leave out observations that failed.")
    coarsen: int = Field(1, ge=1, description="Cells that make one, along each axis.")
    time_resolved: bool = Field(False, description="OpenGHG: hours back too.")
    prior: str | None = Field(None, description="IMI: path of a NetCDF with `flux`, umol m-2 s-1.")
    state_vector: str | None = Field(None, description="IMI: path of its StateVector.nc.")
    background: float | None = Field(None, description="IMI: ppm, where the scenes have none.")


@dg.op
def convert(context: dg.OpExecutionContext, config: ConvertConfig, store: StoreResource) -> int:
    """Write the jacobians of scenes as files of an inversion code."""
    options = Options(
        without_failed=config.without_failed,
        coarsen=config.coarsen,
        time_resolved=config.time_resolved,
        prior=config.prior and Path(config.prior),
        state_vector=config.state_vector and Path(config.state_vector),
        background=config.background,
    )
    with user_errors_as_failures():
        files = convert_scenes(store.store, config.scenes, config.code, Path(config.output), options)
    context.log.info(
        f"{config.output}: {counted(len(config.scenes), 'scene')} in {counted(len(files), 'file')} for {config.code}"
    )
    return len(files)


@dg.job(
    description="Write the jacobians of scenes for an inversion code, as `stilt-dagster jacobian export` does.",
    executor_def=dg.in_process_executor,
)
def convert_jacobians() -> None:
    """Write jacobians for an inversion code from the UI."""
    convert()


class ExportConfig(dg.Config):
    """A scene to export."""

    scene: str = Field(description="The scene.")
    directory: str = Field(description="Where to write.")


@dg.op
def export(
    context: dg.OpExecutionContext, config: ExportConfig, store: StoreResource, transport_engine: TransportEngine
) -> int:
    """Write a scene's particles and footprints as R STILT lays out its own."""
    with user_errors_as_failures():
        return export_rstilt(open_scene(store, transport_engine, config.scene), Path(config.directory))


@dg.job(
    description="Write a scene as R STILT lays out its own results, as `stilt-dagster export` does.",
    executor_def=dg.in_process_executor,
)
def export_scene() -> None:
    """Export a scene from the UI."""
    export()


class MapConfig(dg.Config):
    """Receptors whose footprints to write."""

    scene: str = Field(description="The scene.")
    receptors: list[str] = Field([], description="Ids of receptors; all if there is none.")
    output: str = Field(description="Path of the file to write.")


def _write_map(
    write: Callable[[Store, StoredScene, Sequence[str], Path], tuple[int, int]],
    context: dg.OpExecutionContext,
    config: MapConfig,
    store: StoreResource,
    transport_engine: TransportEngine,
) -> str:
    """Write a file of some receptors' footprints, and say how many they are."""
    with user_errors_as_failures():
        scene = open_scene(store, transport_engine, config.scene)
        count, failed = write(store.store, scene, config.receptors, Path(config.output))
    context.log.info(f"{config.output}: {counted(count, 'receptor')}, {failed} of them failed")
    return config.output


@dg.op
def write_footprints(
    context: dg.OpExecutionContext, config: MapConfig, store: StoreResource, transport_engine: TransportEngine
) -> str:
    """Write footprints of receptors as one CF NetCDF file."""
    return _write_map(maps.export_footprints, context, config, store, transport_engine)


@dg.job(
    description="Write footprints of receptors as one CF file, as `stilt-dagster export footprints` does.",
    executor_def=dg.in_process_executor,
)
def export_footprints() -> None:
    """Export footprints from the UI."""
    write_footprints()


@dg.op
def write_geotiff(
    context: dg.OpExecutionContext, config: MapConfig, store: StoreResource, transport_engine: TransportEngine
) -> str:
    """Write the sum of footprints over receptors and hours as a GeoTIFF."""
    return _write_map(maps.export_geotiff, context, config, store, transport_engine)


@dg.job(
    description="Write the sum of footprints as a GeoTIFF, as `stilt-dagster export geotiff` does.",
    executor_def=dg.in_process_executor,
)
def export_geotiff() -> None:
    """Export a map from the UI."""
    write_geotiff()


class CampaignConfig(dg.Config):
    """A campaign to run."""

    campaign: str = Field(description="The campaign.")
    failed: bool = Field(False, description="Only its scenes that failed, once more.")


@dg.op
def launch(
    context: dg.OpExecutionContext, config: CampaignConfig, store: StoreResource, transport_engine: TransportEngine
) -> int:
    """Ask for the runs of what of a campaign is not done, if all of it keeps to its budget."""
    with user_errors_as_failures():
        campaign = load_campaign(store.store, config.campaign)
        progress = campaign_progress(context.instance, store.store, campaign, transport_engine.expected_version)
        scenes = [scene.scene for scene in progress.scenes]
        require_campaign_within(store.store, campaign, scenes, concurrency_of(context.instance))
    due = due_scenes(progress, failed=config.failed)
    if due:
        launch_campaign(context.instance, campaign, due, failed=config.failed)
    context.log.info(
        f"campaign {campaign.name}: {len(due)} of {counted(len(scenes), 'scene')}: the sensor campaigns runs them"
    )
    return len(due)


@dg.job(
    description="Run what of a campaign is not done, as `stilt-dagster campaign run --launch` does.",
    executor_def=dg.in_process_executor,
)
def run_campaign() -> None:
    """Run a campaign from the UI."""
    launch()


JOBS = (
    prepare,
    simulate,
    assemble,
    register_scenes,
    delete_scenes,
    concat_jacobians,
    convert_jacobians,
    export_scene,
    export_footprints,
    export_geotiff,
    run_campaign,
)
