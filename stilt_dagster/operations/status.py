"""How far a scene is, read from the store alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stilt_dagster.science import versions
from stilt_dagster.science.costs.spent import Spent
from stilt_dagster.science.engine_agreement import Agreement
from stilt_dagster.science.errors import IncompleteError
from stilt_dagster.science.outcomes import Escapes
from stilt_dagster.science.part_index import find_summary, is_checked, is_current
from stilt_dagster.science.part_pool import prefetch

if TYPE_CHECKING:
    from stilt_dagster.resources.stored_scene import StoredScene
    from stilt_dagster.science.batches import Batch
    from stilt_dagster.science.outcomes import Outcome, PartSummary
    from stilt_dagster.science.part_index import IndexedFolder
    from stilt_dagster.science.scratch import Source

#: What an asset can be: not there, there in part, made of something that has changed since, or as it should be.
STATES = ("missing", "partial", "stale", "ready")


@dataclass
class Status:
    """How far a scene is.

    Attributes
    ----------
    scene : str
        The scene.
    receptors : int
        How many there are.
    outcomes : Counter of str
        Receptors by ``ok``, ``empty``, ``failed`` and ``pending``.
    failures : list of Outcome
        The failed ones.
    assets : dict of str to dict
        ``state`` (:data:`STATES`) of each asset, and of those made of parts how many are done.
    escapes : Escapes
        How many particles left the meteorology, of the parts whose index says so.
    agreement : Agreement, optional
        How the engine that simulated compares with hycs_std; None if that is hycs_std.
    warnings : list of str
        What a person should look at.
    spent : Spent
        What its parts took.
    """

    scene: str
    receptors: int
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[Outcome] = field(default_factory=list)
    assets: dict[str, dict[str, Any]] = field(default_factory=dict)
    escapes: Escapes = field(default_factory=Escapes)
    agreement: Agreement | None = None
    warnings: list[str] = field(default_factory=list)
    spent: Spent = field(default_factory=Spent)

    @property
    def is_ready(self) -> bool:
        """Whether every asset is as it should be."""
        return all(a["state"] == "ready" for a in self.assets.values())

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "scene": self.scene,
            "receptors": self.receptors,
            **{name: self.outcomes[name] for name in ("ok", "empty", "failed", "pending")},
            "failures": [{"receptor": o.receptor, "reason": o.reason, "message": o.message} for o in self.failures],
            "assets": self.assets,
            "escaped_fraction": round(self.escapes.fraction, 4),
            **({} if self.agreement is None else {"engine_check": self.agreement.to_dict()}),
            "warnings": self.warnings,
        }


def scene_status(scene: StoredScene) -> Status:
    """Return how far a scene is.

    Raises
    ------
    StoreError
        If the store cannot be read.
    """
    spec = scene.spec
    status = Status(scene.id, len(spec.receptor_list))
    status.assets["receptors"] = {"state": _receptors(scene)}
    status.assets["meteorology_aggregate"] = {"state": _aggregate(scene)}
    # Its file may have aged out of the store: what was made of it is told by its description.
    known = scene.aggregate is not None and scene.aggregate.key == versions.meteorology_key(spec)
    made = _parts(scene, [b for members in scene.batches.values() for b in members] if known else [], status)
    if spec.background is not None:
        status.assets["background"] = {"state": _background(scene)}
    state, key = _jacobian(scene, made, known, status)
    status.assets["jacobian"] = {"state": state}
    status.assets["report"] = {"state": _report(scene, key if state == "ready" else "")}
    if status.escapes.are_many and scene.aggregate is not None:
        # What reads ARL files takes a while to import, and mostly no particle leaves.
        from stilt_dagster.science.meteorology.extent.margin import escape_warning

        status.warnings.append(escape_warning(spec, scene.aggregate.grids, status.escapes))
    if status.agreement is not None:
        differs = "the native engine differs from hycs_std"
        status.warnings += [f"{differs}: {text}" for text in status.agreement.disagreements]
    return status


def spent_on(scene: StoredScene) -> Spent:
    """Return what the parts of a scene took, whose meteorology aggregate is there."""
    status = Status(scene.id, len(scene.spec.receptor_list))
    _parts(scene, [b for members in scene.batches.values() for b in members], status)
    return status.spent


def _receptors(scene: StoredScene) -> str:
    from stilt_dagster.science.scenes.receptor_table import stored_version

    found = scene.store.folder("receptors").open(f"{scene.id}.parquet", stored_version, whole=False)
    if found is None:
        return "missing"
    return "ready" if found == versions.receptors_version(scene.spec) else "stale"


def _aggregate(scene: StoredScene) -> str:
    folder = scene.store.folder("meteorology_aggregate")
    if scene.aggregate is None or not all(folder.has(name) for name in scene.aggregate.stored_names(scene.id)):
        return "missing"
    return "ready" if scene.aggregate.key == versions.meteorology_key(scene.spec) else "stale"


def _parts(scene: StoredScene, batches: list[Batch], status: Status) -> list[tuple[str, str]] | None:
    """Count outcomes over the part files; return what the jacobian is made of, if all footprints are there."""

    def simulated(batch: Batch) -> PartSummary | None:
        folder = scene.trajectories(batch.shard)
        found = find_summary(folder, f"{batch.name}.parquet", batch.key, lambda: _opened_particles(folder, batch))
        return found if found is not None and is_checked(batch, found) else None

    def gridded(batch: Batch) -> PartSummary | None:
        folder = scene.footprints(batch.shard)
        key = versions.footprint_key(scene.spec, batch.key, batch.receptors.ids)
        return find_summary(folder, f"{batch.name}.nc", key, lambda: _opened_footprints(folder, batch, scene))

    done, counted = Counter[str](), 0
    escapes: list[Escapes] = []
    agreements: list[Agreement] = []
    parts: list[tuple[PartSummary, PartSummary | None]] = []
    made: list[tuple[str, str]] = []
    for particles, part in zip(_each(simulated, batches), _each(gridded, batches), strict=True):
        if particles is None:
            continue
        done["trajectories"] += 1
        escapes += [] if particles.escapes is None else [particles.escapes]
        agreements += [] if particles.agreement is None else [particles.agreement]
        current = part if is_current(part, particles) else None
        parts.append((particles, current))
        if current is not None:
            done["footprints"] += 1
            made.append((current.key, current.simulations))
            status.outcomes.update(current.counts)
            status.failures += current.failed
            counted += sum(current.counts.values())
        else:
            status.outcomes["failed"] += particles.counts.get("failed", 0)
            status.failures += particles.failed
            counted += particles.counts.get("failed", 0)
    status.escapes, status.spent = Escapes.sum(escapes), Spent(parts)
    status.agreement = None if scene.spec.transport.engine_check is None else Agreement.sum(agreements)
    status.outcomes["pending"] = status.receptors - counted
    for asset in ("trajectories", "footprints"):
        state = "ready" if batches and done[asset] == len(batches) else "partial" if done[asset] else "missing"
        status.assets[asset] = {"state": state, "parts": done[asset], "of": len(batches)}
    return made if batches and len(made) == len(batches) else None


# What opens parts takes half a second to import, and the index mostly has the answer.


def _opened_particles(folder: IndexedFolder, batch: Batch) -> PartSummary | None:
    from stilt_dagster.science.transport.trajectories import read_summary

    return read_summary(folder, batch)


def _opened_footprints(folder: IndexedFolder, batch: Batch, scene: StoredScene) -> PartSummary | None:
    from stilt_dagster.science.footprints.footprints import read_summary

    return read_summary(folder, batch, scene.spec)


def _each(look: Callable[[Batch], PartSummary | None], batches: Iterable[Batch]) -> Iterator[PartSummary | None]:
    """Yield a summary for the part of each batch, several batches at a time in threads."""
    for _, found in prefetch(lambda some: [look(batch) for batch in some], _chunks(list(batches))):
        yield from found


def _chunks(batches: list[Batch], size: int = 32) -> Iterator[list[Batch]]:
    for start in range(0, len(batches), size):
        yield batches[start : start + size]


def _background(scene: StoredScene) -> str:
    from stilt_dagster.science.observations.background_files import background_version_of

    try:
        found = scene.store.folder("background").open(f"{scene.id}.parquet", background_version_of, whole=False)
        if found is None:
            return "missing"
        return "ready" if found == scene.versions.background else "stale"
    except (ValueError, OSError, KeyError):
        return "missing"
    except IncompleteError:
        return "stale"


def _jacobian(
    scene: StoredScene, made: list[tuple[str, str]] | None, has_meteorology: bool, status: Status
) -> tuple[str, str]:
    """Return a jacobian's state and key; where parts have aged out of the store, it has the outcomes of receptors."""
    from stilt_dagster.science.jacobian.origin import read_origin

    ids = scene.spec.receptor_ids

    def read(source: Source) -> tuple[str, str | None, list[Outcome]]:
        return read_origin(source, ids if made is None else [])

    try:
        found = scene.store.folder("jacobian").open(f"{scene.id}.nc", read, whole=False)
    except (OSError, KeyError):
        return "missing", ""
    if found is None:
        return "missing", ""
    key, version, outcomes = found
    if made is not None:
        return ("ready" if key == versions.jacobian_key(scene.spec, made, status.agreement) else "stale"), key
    if not has_meteorology or version != scene.versions.jacobian:
        return "stale", key
    # What parts there are was counted; the rest, and only if all of it is gone, is as the jacobian says.
    if not sum(status.outcomes[name] for name in ("ok", "empty", "failed")):
        status.outcomes.update(Counter(o.status for o in outcomes))
        status.outcomes["pending"] -= len(outcomes)
        status.failures += [o for o in outcomes if o.status == "failed"]
    return "ready", key


def _report(scene: StoredScene, jacobian: str) -> str:
    """Return a report's state, *jacobian* being the key of the one there is, empty if that is not ready."""
    from stilt_dagster.science.report.head import read_versions

    try:
        found = scene.store.folder("report").open(f"{scene.id}.html", read_versions, whole=False)
    except ValueError:
        return "missing"
    if found is None:
        return "missing"
    return "ready" if jacobian and found == (scene.versions.report, jacobian) else "stale"
