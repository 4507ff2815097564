"""A registered scene with all that its products are made of and kept in: loaded once, handed on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from stilt_dagster.resources.store import Store
from stilt_dagster.science import versions
from stilt_dagster.science.batches import Batch, plan_batches
from stilt_dagster.science.engine_agreement import Agreement
from stilt_dagster.science.errors import IncompleteError
from stilt_dagster.science.files.format_numbers import AGGREGATE_FORMAT, without_format
from stilt_dagster.science.meteorology.description import Description
from stilt_dagster.science.part_index import IndexedFolder, indexed_folders
from stilt_dagster.science.pystilt import WHEEL_BUILD
from stilt_dagster.science.scenes.receptors import SHARDS
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.scratch import scratch_directory

if TYPE_CHECKING:
    from stilt_dagster.science.meteorology.description import Meteorology
    from stilt_dagster.science.outcomes import Report
    from stilt_dagster.science.part_pool import Progress
    from stilt_dagster.science.transport.hysplit import Hysplit

    Shards = Mapping[str, Sequence[Batch]]

#: Products that are made of a shard, as parts, whatever of the others is there; and those made of all shards.
OF_SHARDS = ("trajectories", "footprints")
OF_SCENES = ("background", "jacobian", "report")


def missing(asset: str, scene: str) -> IncompleteError:
    """Return the error for an upstream file that is not in the store."""
    return IncompleteError(f"{asset} of scene {scene} is not in the store: materialize {asset} first")


def read_description(store: Store, scene: str) -> Description | None:
    """Return what a scene's meteorology aggregate is made of; None if there is none that can be read.

    Raises
    ------
    FormatError
        If a later version wrote it.
    """
    text = store.folder("meteorology_aggregate").read(f"{scene}.json")
    try:
        if text is None:
            return None
        where = f"{store.root}/meteorology_aggregate/{scene}.json"
        return Description.from_dict(without_format(json.loads(text), AGGREGATE_FORMAT, where))
    except (ValueError, TypeError):
        return None


def aggregate_files(store: Store, scene: str) -> tuple[Path, ...]:
    """Return the files of a scene's meteorology aggregate on this machine, the finest grid first.

    Raises
    ------
    IncompleteError
        If there is none, or a file of it is missing.
    """
    description = read_description(store, scene)
    names = [] if description is None else description.stored_names(scene)
    folder = store.folder("meteorology_aggregate")
    files = tuple(path for name in names if (path := folder.get(name)) is not None)
    if not files or len(files) < len(names):
        raise missing("meteorology_aggregate", scene)
    return files


@dataclass(frozen=True)
class ProductVersions:
    """What a scene's products would be made of now, see :mod:`stilt_dagster.science.versions`.

    Attributes
    ----------
    trajectories, footprints, background, jacobian, report : str
        Versions.
    """

    trajectories: str
    footprints: str
    background: str
    jacobian: str
    report: str


class StoredScene:
    """A scene of a store.

    Parameters
    ----------
    store : Store
        The store.
    spec : Scene
        Its spec, with its receptors.
    hycs_std : str, optional
        Version of this machine's hycs_std; None if it has none.
    """

    def __init__(self, store: Store, spec: Scene, hycs_std: str | None) -> None:
        self.store, self.spec, self.hycs_std = store, spec, hycs_std

    @classmethod
    def load(cls, store: Store, scene: str, hycs_std: str | None) -> StoredScene:
        """Return a registered scene.

        Raises
        ------
        SceneError
            If it is not registered, or its spec is damaged.
        """
        return cls(store, store.scene(scene), hycs_std)

    @property
    def id(self) -> str:
        """The scene's id."""
        return self.spec.id

    @property
    def engine_here(self) -> str | None:
        """Version of the engine of this machine that simulates the scene; None if it has none."""
        return self.spec.transport.engine_version(self.hycs_std)

    @cached_property
    def engine(self) -> str:
        """Version of the transport engine the scene's products are of.

        That is this machine's. Where there is none, products made elsewhere are to be read and gone on with: it is what
        the parts say they were made with, or pystilt's for x86-64 Linux where there are none, or they do not say.
        """
        if self.engine_here is not None:
            return self.engine_here
        from stilt_dagster.science.transport.trajectories import recorded_engine

        return recorded_engine(self.trajectories, SHARDS) or WHEEL_BUILD

    @cached_property
    def aggregate(self) -> Description | None:
        """What the scene's meteorology aggregate is made of; None if there is none that can be read."""
        return read_description(self.store, self.id)

    @property
    def meteorology(self) -> str:
        """Checksum of the meteorology aggregate, which is part of what makes all that follows.

        Raises
        ------
        IncompleteError
            If there is none.
        """
        if self.aggregate is None:
            raise missing("meteorology_aggregate", self.id)
        return self.aggregate.sha256

    @cached_property
    def batches(self) -> dict[str, list[Batch]]:
        """The batches of every shard.

        Raises
        ------
        IncompleteError
            If there is no meteorology aggregate, whose checksum is part of their keys.
        """
        return plan_batches(self.spec, self.meteorology, self.engine)

    def batches_of(self, shards: Iterable[str]) -> dict[str, list[Batch]]:
        """Return the batches of some shards."""
        return {shard: self.batches[shard] for shard in sorted(shards)}

    @cached_property
    def versions(self) -> ProductVersions:
        """What the scene's products would be made of now.

        Raises
        ------
        IncompleteError
            If there is no meteorology aggregate.
        """
        trajectories = versions.trajectories_version(self.spec, self.meteorology, self.engine)
        footprints = versions.footprints_version(self.spec, trajectories)
        jacobian = versions.jacobian_version(self.spec, footprints)
        return ProductVersions(
            trajectories,
            footprints,
            versions.background_version(self.spec, trajectories),
            jacobian,
            versions.report_version(jacobian),
        )

    @cached_property
    def trajectories(self) -> Callable[[str], IndexedFolder]:
        """The folder of each shard's trajectories."""
        return self._folders("trajectories")

    @cached_property
    def footprints(self) -> Callable[[str], IndexedFolder]:
        """The folder of each shard's footprints."""
        return self._folders("footprints")

    def simulate(
        self,
        shards: Shards,
        meteorology: Meteorology,
        open_engine: Callable[[Path], Hysplit],
        *,
        workers: int,
        rerun: bool = False,
        report_progress: Progress = lambda done, total: None,
    ) -> Report:
        """Simulate what of some shards is missing, failed, or was made with other inputs.

        Parameters
        ----------
        shards : mapping of str to sequence of Batch
            Whole shards, see :meth:`batches_of`.
        meteorology : Path or sequence of Path
            The files of the aggregate, on this machine.
        open_engine : callable
            Gives the hycs_std that runs in a directory: it simulates, or checks the engine that does.
        workers : int
            Simulations at a time.
        rerun : bool, optional
            Do everything again.
        report_progress : callable, optional
            Told of receptors done and in all.

        Returns
        -------
        Report
            Of all receptors of the shards, done now or before.
        """
        from stilt_dagster.science.footprints.engine_check import engine_check
        from stilt_dagster.science.footprints.row_error import row_estimator
        from stilt_dagster.science.transport.ensembles import engine_for
        from stilt_dagster.science.transport.trajectories import simulate_shards

        with self.store.scratch() as scratch, scratch_directory() as runs:
            hysplit = open_engine(runs)
            return simulate_shards(
                shards,
                self.spec.transport,
                meteorology,
                engine_for(self.spec.transport, hysplit),
                self.trajectories,
                scratch,
                workers=workers,
                rerun=rerun,
                estimator=row_estimator(self.spec),
                check=engine_check(self.spec, hysplit),
                report_progress=report_progress,
            )

    def grid(
        self, shards: Shards, *, workers: int, rerun: bool = False, report_progress: Progress = lambda done, total: None
    ) -> Report:
        """Make what of some shards' footprints is missing or was made with other particles or settings.

        Parameters and what is returned are as of :meth:`simulate`.

        Raises
        ------
        IncompleteError
            If trajectories are missing, or were made with other inputs.
        """
        from stilt_dagster.science.footprints.footprints import grid_shards

        with self.store.scratch() as scratch:
            return grid_shards(
                shards,
                self.spec,
                self.trajectories,
                self.footprints,
                scratch,
                workers=workers,
                rerun=rerun,
                report_progress=report_progress,
            )

    @property
    def agreement(self) -> Agreement | None:
        """How the engine that simulated compares with hycs_std, by the parts there are; None if that is hycs_std."""
        from stilt_dagster.science.transport.trajectories import part_summary

        if self.spec.transport.engine_check is None:
            return None
        batches = (b for members in self.batches.values() for b in members)
        found = (part_summary(self.trajectories(b.shard), b) for b in batches)
        return Agreement.sum(p.agreement for p in found if p is not None and p.agreement is not None)

    def relist(self) -> None:
        """Forget which parts there are: others may have written some."""
        for asset in ("trajectories", "footprints"):
            self.__dict__.pop(asset, None)

    def _folders(self, asset: str) -> Callable[[str], IndexedFolder]:
        return indexed_folders(partial(self.store.folder, asset, self.id), SHARDS)
