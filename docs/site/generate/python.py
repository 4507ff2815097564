"""Which names of the package are shown, for mkdocstrings to fill in from their docstrings."""

from __future__ import annotations

from collections.abc import Callable

import stilt_dagster

_WHERE = stilt_dagster._WHERE

#: Names by the section of the page; those of the public face are what the package says they are.
_SHOWN = {
    "python face": [f"{_WHERE[name]}.{name}" for name in stilt_dagster.__all__ if name in _WHERE],
    "python scenes": [
        "stilt_dagster.science.scenes.loading.load_scene",
        "stilt_dagster.science.scenes.spec.Scene",
        "stilt_dagster.science.scenes.grid.Grid",
        "stilt_dagster.operations.registration.schema.scene_schema",
    ],
    "python jacobian": [
        "stilt_dagster.science.jacobian.matrix.jacobian.Jacobian",
        "stilt_dagster.science.jacobian.concatenate.concatenate",
        "stilt_dagster.science.jacobian.boundary.curtains.Curtains",
        "stilt_dagster.science.observations.boundary.Box",
    ],
    "python codes": [
        "stilt_dagster.science.jacobian.adapters.conversions.Conversions",
        "stilt_dagster.science.jacobian.adapters.fips",
        "stilt_dagster.science.jacobian.adapters.openghg",
        "stilt_dagster.science.jacobian.adapters.openghg.files.write_files",
        "stilt_dagster.science.jacobian.adapters.openghg.footprints.write_footprints",
        "stilt_dagster.science.jacobian.adapters.imi",
        "stilt_dagster.science.jacobian.adapters.pystilt",
    ],
    "python footprints": [
        "stilt_dagster.science.footprints.gridding",
        "stilt_dagster.science.observations.column_operator",
    ],
    "python retrievals": [
        "stilt_dagster.retrievals.read_granule",
        "stilt_dagster.retrievals.granule.Granule",
        "stilt_dagster.science.observations.soundings.Soundings",
    ],
}


def _directives(names: list[str]) -> str:
    return "\n\n".join(f"::: {name}" for name in names) + "\n"


SECTIONS: dict[str, Callable[[], str]] = {
    section: lambda names=names: _directives(names)  # type: ignore[misc]
    for section, names in _SHOWN.items()
}
