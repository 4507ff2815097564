"""What the site's pages are filled with, by the name that a page calls it by."""

from __future__ import annotations

from collections.abc import Callable

from generate import commands, environment, files, models, python

SECTIONS: dict[str, Callable[[], str]] = {
    "scene fields": models.scene_fields,
    "source fields": models.source_fields,
    "mapping fields": models.mapping_fields,
    "commands": commands.commands,
    "environment": environment.environment,
    "environment of a cluster": environment.cluster_environment,
    "receptors file": files.receptors,
    "particles file": files.particles,
    "footprints file": files.footprints,
    "background file": files.background,
    "jacobian file": files.jacobian,
    "aggregate file": files.aggregate,
    **python.SECTIONS,
}
