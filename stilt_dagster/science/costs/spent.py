"""What a scene's finished parts took: CPU, time and bytes, and what they say of those to come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from stilt_dagster.science.costs.prediction import Calibration, predict
from stilt_dagster.science.outcomes import PartSummary
from stilt_dagster.science.scenes.spec import Scene

#: Share of a scene's receptors, and parts, that a calibration is of; but of no more than half of the scene.
_FIRST_SHARE, _FIRST_PARTS = 0.1, 3


@dataclass(frozen=True)
class Spent:
    """What parts took.

    Attributes
    ----------
    parts : sequence of (PartSummary, PartSummary or None)
        Of each batch that was simulated its trajectories, and its footprints if they are made of these.
    """

    parts: Sequence[tuple[PartSummary, PartSummary | None]] = field(default_factory=list)

    @property
    def receptors(self) -> int:
        """Receptors that have a footprint, or have failed before it."""
        return sum(_receptors(particles) for particles, footprints in self.parts if footprints is not None)

    @property
    def cpu_seconds(self) -> float | None:
        """CPU of all parts, s; None where there are none, or one was made before that was kept."""
        efforts = [part.effort for part in self._files()]
        known = [effort.cpu_seconds for effort in efforts if effort is not None]
        return sum(known) if known and len(known) == len(efforts) else None

    @property
    def seconds(self) -> float | None:
        """Time in which one part at least was worked on, s; None where that is not known."""
        spans = sorted((part.effort.began, part.effort.ended) for part in self._files() if part.effort is not None)
        if not spans:
            return None
        total, until = 0.0, spans[0][0]
        for began, ended in spans:
            total += max(0.0, ended - max(began, until))
            until = max(until, ended)
        return total

    @property
    def trajectories(self) -> int:
        """Bytes of trajectories."""
        return sum(particles.size for particles, _ in self.parts)

    @property
    def footprints(self) -> int:
        """Bytes of footprints."""
        return sum(footprints.size for _, footprints in self.parts if footprints is not None)

    @property
    def particles(self) -> float:
        """Particles of these receptors that moved, without error runs."""
        return sum(p.escapes.particles for p, footprints in self.parts if footprints is not None and p.escapes)

    def _files(self) -> Iterable[PartSummary]:
        return (part for pair in self.parts for part in pair if part is not None)


def _receptors(part: PartSummary) -> int:
    return sum(part.counts.values())


def calibrate(scene: Scene, spent: Spent, *, first: bool = True) -> Calibration | None:
    """Return what parts took over what was predicted of them; None if there are none that tell.

    Parameters
    ----------
    scene : Scene
        The scene.
    spent : Spent
        Its parts.
    first : bool
        Take those that were done first, so that the plan stays what it is while the others are made; else all.
    """
    pairs = _telling(scene, spent, first)
    n = sum(_receptors(particles) for particles, _ in pairs)
    if n == 0:
        return None
    scene = as_simulated(scene, spent, first=first)
    transport = scene.transport
    most = n * transport.released * abs(transport.n_hours) * 60
    inside = min(1.0, sum(particles.rows for particles, _ in pairs) / most) or 1.0
    expected = predict(scene, Calibration(inside=inside), receptors=n, files=len(pairs))
    cpu = sum(part.effort.cpu_seconds for pair in pairs for part in pair if part.effort is not None)
    size = sum(particles.size for particles, _ in pairs)
    entries = sum(footprints.rows for _, footprints in pairs)
    grids = sum(footprints.size for _, footprints in pairs)
    bare = predict(scene, Calibration(rows=0.0, layers=0.0), receptors=n, files=len(pairs))
    return Calibration(
        cpu=cpu / expected.cpu_seconds,
        rows=max(size - bare.trajectories, 0.0) / (expected.trajectories - bare.trajectories),
        entries=entries / expected.entries,
        layers=max(grids - bare.footprints, 0.0) / (expected.footprints - bare.footprints),
        inside=inside,
    )


def as_simulated(scene: Scene, spent: Spent, *, first: bool = True) -> Scene:
    """Return a scene with ``precision`` as one of as many particles a receptor as parts of it have in the mean.

    Others are returned as they are, and so are those without a part that tells.
    """
    pairs = _telling(scene, spent, first)
    ok = sum(particles.counts["ok"] for particles, _ in pairs)
    if scene.transport.precision is None or not ok:
        return scene
    mean = sum(particles.escapes.particles for particles, _ in pairs if particles.escapes) / ok
    known = {"numpar": max(round(mean), 1), "precision": None, "max_numpar": None}
    return scene.model_copy(update={"transport": scene.transport.model_copy(update=known)})


def _telling(scene: Scene, spent: Spent, first: bool) -> list[tuple[PartSummary, PartSummary]]:
    """Return the parts a calibration is of, in the order they were done."""
    pairs = [
        (particles, footprints)
        for particles, footprints in spent.parts
        if footprints is not None and footprints.effort and particles.effort and particles.counts.get("ok")
    ]
    pairs.sort(key=lambda pair: (pair[1].effort.ended if pair[1].effort else 0.0, pair[0].key))
    return _first(pairs, len(scene.receptor_list)) if first else pairs


def _first(pairs: Sequence[tuple[PartSummary, PartSummary]], receptors: int) -> list[tuple[PartSummary, PartSummary]]:
    """Return the first of some parts: enough of them to tell, and no more than half of the scene."""
    chosen: list[tuple[PartSummary, PartSummary]] = []
    n = 0
    for particles, footprints in pairs:
        if len(chosen) >= _FIRST_PARTS and n >= _FIRST_SHARE * receptors:
            break
        if chosen and n + _receptors(particles) > receptors / 2:
            break
        chosen.append((particles, footprints))
        n += _receptors(particles)
    return chosen
