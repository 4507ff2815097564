"""What the site's pages are filled with, by the name that a page calls it by."""

from __future__ import annotations

from collections.abc import Callable

from generate import commands, environment, files, metadata, models, python

SECTIONS: dict[str, Callable[[], str]] = {
    "scene fields": models.scene_fields,
    "source fields": models.source_fields,
    "campaign fields": models.campaign_fields,
    "mapping fields": models.mapping_fields,
    "commands": commands.commands,
    "environment": environment.environment,
    "environment of a cluster": environment.cluster_environment,
    "receptors file": lambda: files.columns("receptors"),
    "particles file": lambda: files.columns("trajectories"),
    "footprints file": lambda: files.variables("footprints"),
    "background file": lambda: files.columns("background"),
    "jacobian file": lambda: files.variables("jacobian"),
    "metadata keys": metadata.metadata_keys,
    **python.SECTIONS,
}
