"""What IO managers of assets that are partitioned by scene share."""

import dagster as dg

from stilt_dagster.science.errors import IncompleteError


def scene_of(context: dg.InputContext | dg.OutputContext) -> str:
    """Return the one scene an input or output is of.

    Raises
    ------
    IncompleteError
        If it is of several: a run covers one scene.
    """
    scenes = {key.split("|")[0] for key in context.asset_partition_keys}
    if len(scenes) != 1:
        raise IncompleteError(f"a run covers one scene, not {len(scenes)}: select the shards of one scene at a time")
    return scenes.pop()
