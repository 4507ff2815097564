"""What IO managers of assets that are partitioned by scene share."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import dagster as dg

from stilt_dagster.resources.store import Store
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


def record_location(context: dg.OutputContext, store: Store, path: str) -> None:
    """Record where an output is in the store, its scene's report, and all runs of the scene, as links.

    Parameters
    ----------
    context : OutputContext
        Of the output.
    store : Store
        The store.
    path : str
        A file, or a folder of files, below the store's root.
    """
    scene = scene_of(context)
    runs = quote(f"tag:stilt/scene={scene}", safe="")
    uri = Path(store.root, path).as_uri() if store.is_local else f"{store.root}/{path}"
    context.add_output_metadata(
        {
            "dagster/uri": uri,
            "stilt/location": _link(store, path),
            "stilt/report": _link(store, f"report/{scene}.html"),
            "stilt/runs": dg.MetadataValue.url(f"/runs?q[0]={runs}"),
        }
    )


def _link(store: Store, path: str) -> dg.MetadataValue[Any]:
    """Return what a person opens: a path, or a page of Google's console, which asks who they are."""
    scheme, _, place = store.root.partition("://")
    if scheme == "gs" and place:
        return dg.MetadataValue.url(f"https://console.cloud.google.com/storage/browser/{quote(f'{place}/{path}')}")
    return dg.MetadataValue.path(f"{store.root}/{path}")
