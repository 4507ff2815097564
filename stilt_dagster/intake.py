"""From a retrieval's file to registered scenes: reading, selecting, and keeping up with where files land.

A source says where granules land, what they are, which areas are of interest, and what their scenes are like. One scan
looks at every file of it that is new or has changed. What a scan has seen is noted in a ledger, which only saves work:
each step may be done again and comes out the same, so that a scan that was killed is completed by the next.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from stilt_dagster.partitions import register_scene
from stilt_dagster.resources.granules import GranuleFolder, Listed, fetch
from stilt_dagster.resources.meteorology_archive import MeteorologyArchive
from stilt_dagster.resources.store import Store
from stilt_dagster.retrievals import PRODUCTS, Granule, read_granule
from stilt_dagster.science.column import release
from stilt_dagster.science.errors import MeteorologyError, RetrievalError, SceneError, UnreadableError
from stilt_dagster.science.meteorology import Window, require_files
from stilt_dagster.science.scene import SCENE_ID, Retrieval, Retrieved, Scene, make_scene
from stilt_dagster.science.scratch import scratch_directory
from stilt_dagster.science.selection import Area, Selection, select
from stilt_dagster.science.soundings import Soundings
from stilt_dagster.science.spec import Spec, digest, parse_yaml, validate
from stilt_dagster.settings import meteorology_root

#: How often an unreadable file is tried, and the wait before each next try, s.
_TRIES, _WAITS = 5, (60.0, 120.0, 240.0, 480.0)

#: Granules handled between two writings of the ledger.
_NOTE_EVERY = 10

#: A remote file larger than this, bytes, is noted before it is copied: if that takes longer than a tick may, it counts
#: as a try, and does not hold up those after it.
_LARGE = 64 << 20


class Source(Spec):
    """Where granules land, and what becomes of them."""

    name: str = Field(max_length=40, description="The source's name: that of its file.")
    uri: str = Field(max_length=2000, description="A directory, gs:// or s3:// prefix.")
    pattern: str = Field("*.nc*", max_length=200, description="Of files' names; * stands for anything.")
    product: str = Field(description="Which reader, such as tropomi_ch4.")
    mapping: dict[str, Any] | None = Field(None, description="What to read otherwise than the product's table says.")
    areas: dict[str, Area] = Field(min_length=1, max_length=1000, description="Areas of interest: a scene of each.")
    select: Selection = Field(default_factory=lambda: Selection.model_validate({}), description="Which soundings.")
    geometry: Literal["vertical", "slant"] = Field("vertical", description="Upright columns, or lines of sight.")
    top: float = Field(3000.0, gt=0, le=30_000, description="Least height of the columns, m.")
    scene: dict[str, Any] = Field(description="What else scenes have: transport, footprint, meteorology, ...")
    max_scenes: int = Field(20, ge=1, le=500, description="Most new scenes a tick of the sensor.")
    settle: float = Field(10.0, ge=0, description="Seconds since its last change before a file is read.")

    def retrieval(self, uri: str, area: Area) -> dict[str, Any]:
        """Return the spec of one granule's receptors in an area."""
        chosen = self.select.model_dump(exclude_none=True)
        optional = {} if self.mapping is None else {"mapping": self.mapping}
        place = {"product": self.product, "uri": uri, "geometry": self.geometry, "top": self.top}
        return {**chosen, **optional, **place, "area": area.model_dump(exclude_none=True)}


def parse_source(text: str, name: str, where: str) -> Source:
    """Read a source from YAML.

    Raises
    ------
    RetrievalError
        One line naming *where*, each field in error, and what is allowed.
    """
    data = parse_yaml(text, where, "a source: uri, product, areas, scene", RetrievalError)
    source = validate(Source, {"name": name, **data}, where, RetrievalError)
    if source.product not in PRODUCTS:
        raise RetrievalError(f"{where}: unknown product {source.product!r}; known are {', '.join(PRODUCTS)}")
    for part in (source.name, *source.areas):
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", part):
            raise RetrievalError(f"{where}: {part!r} must be of a-z, 0-9 and '-', at most 40")
    if source.select.area is not None:
        raise RetrievalError(f"{where}: select.area: give areas instead")
    if taken := {"id", "name", "time", "receptors"} & source.scene.keys():
        raise RetrievalError(f"{where}: scene.{sorted(taken)[0]} comes from the granule: leave it out")
    try:
        trial = {**source.scene, "name": "trial", "time": "2020-01-01T00:00", "receptors": _TRIAL}
        make_scene(trial, f"{where}: scene")
    except SceneError as error:
        raise RetrievalError(str(error)) from None
    return source


_TRIAL = {"points": [{"longitude": 0, "latitude": 0, "height": [0, 1]}]}


def load_sources(store: Store, names: list[str] | None = None) -> Iterator[Source | RetrievalError]:
    """Yield the sources of a store, ``sources/<name>.yaml``; of one that is not usable, its error."""
    folder = store.folder("sources")
    known = [n.removesuffix(".yaml") for n in folder.names() if n.endswith(".yaml")]
    for name in known if names is None else names:
        text = folder.read(f"{name}.yaml") if name in known else None
        try:
            if text is None:
                raise RetrievalError(f"there is no source {name}: write {store.root}/sources/{name}.yaml")
            yield parse_source(text, name, f"sources/{name}.yaml")
        except RetrievalError as error:
            yield error


# -- one granule -----------------------------------------------------------------------------------------------------


def retrieve(retrieval: Retrieval, where: str) -> tuple[Retrieved, Soundings]:
    """Read a retrieval and select its soundings, for the scene *where*.

    Raises
    ------
    RetrievalError
        If it cannot be read, or nothing is left of it.
    """
    with scratch_directory() as scratch:
        path = fetch(retrieval.uri, scratch)
        granule = read_granule(path, retrieval.product, mapping=retrieval.mapping, area=retrieval.area)
    return chosen(granule, retrieval, where)


def chosen(granule: Granule, retrieval: Retrieval, where: str) -> tuple[Retrieved, Soundings]:
    """Return what becomes of a granule's soundings.

    Raises
    ------
    RetrievalError
        If nothing does; it says why.
    """
    soundings, counts = select(granule.soundings, retrieval, granule.n_read)
    if not len(soundings):
        raise NoReceptorsError(f"{where}: {Path(retrieval.uri).name}: {counts.why_none()}")
    try:
        receptors = release(soundings, retrieval.top, slant=retrieval.geometry == "slant")
    except ValueError as error:
        raise RetrievalError(f"{where}: {Path(retrieval.uri).name}: {error}") from None
    retrieved = Retrieved(
        granule=granule.key,
        version=granule.version,
        soundings=len(soundings),
        counts=asdict(counts),
        positions=digest([r.id for r in receptors]),
        **soundings.digests(),
    )
    return retrieved, soundings


class NoReceptorsError(RetrievalError):
    """Nothing of a granule becomes a receptor: no fault, and no scene."""


# -- scans -----------------------------------------------------------------------------------------------------------


@dataclass
class Scan:
    """What a scan found.

    Attributes
    ----------
    new, replaced : list of str
        Scenes registered, and registered anew from a newer version.
    unchanged : int
        Granules that changed nothing: known content, or an older version.
    skipped, waiting, failed : list of (str, str)
        Files no scene was made of, that will be tried again, and that were given up: name and reason.
    listed : int
        Files there are.
    finished : bool
        Whether all were looked at.
    newest : (float, str)
        The file that changed last, of those handled: when, and its name.
    owed : list of str
        Scenes of earlier scans whose first run may not have been asked for.
    """

    new: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    unchanged: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    waiting: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    listed: int = 0
    finished: bool = True
    newest: tuple[float, str] = (0.0, "")
    owed: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return what a person wants to know, a line each."""
        told = [f"{name}: registered" for name in self.new]
        told += [f"{name}: registered again, from a newer version" for name in self.replaced]
        kinds = (("skipped", self.skipped), ("tried again later", self.waiting), ("given up", self.failed))
        told += [f"{name}: {kind}: {reason}" for kind, group in kinds for name, reason in group]
        return told

    def summary(self) -> str:
        """Return the counts in one line."""
        return (
            f"{self.listed} files: {len(self.new)} new scenes, {len(self.replaced)} replaced, {self.unchanged} "
            f"granules unchanged, {len(self.skipped)} skipped, {len(self.waiting)} waiting, {len(self.failed)} given up"
            + ("" if self.finished else "; more to come")
        )


@dataclass
class _Entry:
    """What is known of a file: its state when it was handled, how that ended, and of which scenes."""

    state: str
    verdict: str
    tries: int = 0
    tried: float = 0.0
    scenes: list[str] = field(default_factory=list)


class _Ledger:
    """What was handled of a source, kept in the store."""

    def __init__(self, store: Store, source: str) -> None:
        self._folder, self._name = store.folder("sources"), f"{source}.ledger.json"
        try:
            kept = json.loads(self._folder.read(self._name) or '{"place": "", "entries": {}}')
            self.entries = {str(key): _Entry(*values) for key, values in kept["entries"].items()}
            self.place = str(kept["place"])
        except (
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
        ):  # damaged: all is looked at again
            self.entries, self.place = {}, ""
        self._noted = 0

    def stop_at(self, place: str) -> None:
        """Keep where in the listing the next scan is to go on; empty for its beginning."""
        self._noted += place != self.place
        self.place = place

    def note(self, key: str, entry: _Entry) -> None:
        """Keep an entry, and all of them every now and then."""
        self.entries[key] = entry
        self._noted += 1
        if self._noted >= _NOTE_EVERY:
            self.write()

    def owed(self, begun: Callable[[Sequence[str]], set[str]]) -> list[str]:
        """Return registered scenes that were not begun, and take it down of those that were."""
        registered = {k: e for k, e in self.entries.items() if e.verdict == "registered"}
        done = begun(sorted({name for e in registered.values() for name in e.scenes}))
        for key, entry in registered.items():
            if done.issuperset(entry.scenes):
                self.note(key, replace(entry, verdict="done"))
        return [name for e in registered.values() for name in e.scenes if name not in done]

    def write(self) -> None:
        """Write what is known, if anything is new."""
        if self._noted:
            rows = {k: list(asdict(e).values()) for k, e in self.entries.items()}
            text = json.dumps({"place": self.place, "entries": rows}, separators=(",", ":"))
            self._folder.write(self._name, text)
            self._noted = 0


def scan(
    instance: dg.DagsterInstance,
    store: Store,
    source: Source,
    *,
    seconds: float = float("inf"),
    max_scenes: int | None = None,
    days: tuple[dt.date, dt.date] | None = None,
    begun: Callable[[Sequence[str]], set[str]] | None = None,
    by_sensor: bool = False,
) -> Scan:
    """Register the scenes of a source's new and changed files.

    Parameters
    ----------
    instance : DagsterInstance
        Where partitions are kept.
    store : Store
        Where scenes and the ledger are kept.
    source : Source
        The source.
    seconds : float
        The listing is left after that long; the next such scan goes on there. Without, all of it is looked at.
    max_scenes : int, optional
        No new file is begun after so many scenes.
    days : tuple of date, optional
        First and last day of granules wanted; others are left for later.
    begun : callable, optional
        Returns those of some scenes whose first asset was made: others, registered by an earlier scan that did not live
        to ask for their runs, are reported as owed.
    by_sensor : bool
        The caller asks for the first runs of what is registered.

    Returns
    -------
    Scan

    Raises
    ------
    RetrievalError
        If the source cannot be listed.
    StoreError
        If the store cannot be used.
    """
    ledger, found = _Ledger(store, source.name), Scan()
    if begun is not None:
        found.owed = ledger.owed(begun)
    end, now = time.monotonic() + seconds, time.time()
    folder = GranuleFolder(source.uri)
    place = ledger.place if seconds < float("inf") else ""
    found.finished = not place
    try:
        for listed in folder.list(source.pattern, after=place):
            if time.monotonic() > end:
                found.finished = False
                ledger.stop_at(place)
                break
            place = listed.key
            found.listed += 1
            known = ledger.entries.get(listed.key)
            if known is not None and known.state == listed.state:
                if known.verdict == "retry" and known.tries >= _TRIES:
                    found.failed.append((listed.key, f"it takes longer than a tick may, {known.tries} times"))
                    ledger.note(listed.key, replace(known, verdict="failed"))
                    continue
                if known.verdict != "retry" or now < known.tried + _WAITS[min(known.tries, len(_WAITS)) - 1]:
                    continue
            else:
                known = None
            if now - listed.modified < source.settle:
                found.waiting.append((listed.key, "it changed just now"))
                continue
            if max_scenes is not None and len(found.new) + len(found.replaced) >= max_scenes:
                found.finished = False
                continue
            if folder.is_remote and listed.size > _LARGE:
                ledger.note(listed.key, _Entry(listed.state, "retry", (known.tries if known else 0) + 1, time.time()))
                ledger.write()
            entry = _handle(instance, store, source, folder, listed, known, found, days, by_sensor)
            if entry is not None:
                ledger.note(listed.key, entry)
                found.newest = max(found.newest, (listed.modified, listed.key))
        else:
            ledger.stop_at("")
    finally:
        ledger.write()
    return found


def _handle(
    instance: dg.DagsterInstance,
    store: Store,
    source: Source,
    folder: GranuleFolder,
    listed: Listed,
    known: _Entry | None,
    found: Scan,
    days: tuple[dt.date, dt.date] | None,
    by_sensor: bool,
) -> _Entry | None:
    """Read one file and register its scenes; return what to note of it."""
    uri, key = folder.path_of(listed.key), listed.key
    before = len(found.new) + len(found.replaced)
    reasons, scenes = [], []
    try:
        with scratch_directory() as scratch:
            path = fetch(uri, scratch)
            for name, area in source.areas.items():
                granule = read_granule(path, source.product, mapping=source.mapping, area=area)
                if days is not None and not days[0] <= dt.date.fromisoformat(granule.key[:8]) <= days[1]:
                    return None
                try:
                    scenes.append(_register(instance, store, source, granule, uri, name, found, by_sensor))
                except NoReceptorsError as reason:
                    reasons.append(f"{name}: {str(reason).split(': ', 2)[-1]}")
    except UnreadableError as error:
        tries = (known.tries if known else 0) + 1
        if tries < _TRIES:
            found.waiting.append((key, str(error)))
            return _Entry(listed.state, "retry", tries, time.time())
        found.failed.append((key, f"{error}; {tries} tries: put a whole file in its place"))
        return _Entry(listed.state, "failed", tries, time.time())
    except MeteorologyError as error:  # which may come after the granule does
        found.waiting.append((key, str(error)))
        return _Entry(listed.state, "retry", min((known.tries if known else 0) + 1, len(_WAITS)), time.time())
    except (RetrievalError, SceneError) as error:
        found.failed.append((key, str(error)))
        return _Entry(listed.state, "failed", 1, time.time())
    if not scenes:
        found.skipped.append((key, "; ".join(reasons)))
        return _Entry(listed.state, "skipped", 1, time.time())
    if len(found.new) + len(found.replaced) == before:
        found.unchanged += 1
    return _Entry(listed.state, "registered", 1, time.time(), scenes)


def _register(
    instance: dg.DagsterInstance,
    store: Store,
    source: Source,
    granule: Granule,
    uri: str,
    area: str,
    found: Scan,
    by_sensor: bool,
) -> str:
    """Register the scene of a granule in an area, unless what is registered is as new; return its id.

    A copy under another name changes nothing, and neither does an older version that comes late.
    """
    name = f"{source.name}-{area}-{granule.key}"
    if not SCENE_ID.fullmatch(name):
        raise SceneError(f"{name!r} cannot be a scene's id: shorten the names of source {source.name} and its area")
    retrieval = validate(Retrieval, source.retrieval(uri, source.areas[area]), f"source {source.name}", RetrievalError)
    retrieved, soundings = chosen(granule, retrieval, area)
    registered = store.scene(name) if store.has_scene(name) else None
    if registered is not None and registered.receptors.retrieval is not None:
        was = registered.receptors.retrieval
        assert was.retrieved is not None
        if was.retrieved.version > retrieved.version:
            # Registration may have been cut short after the spec was written.
            register_scene(instance, store, registered)
            return name
        if was.retrieved.model_copy(update={"version": retrieved.version}) == retrieved:
            retrieval = retrieval.model_copy(update={"uri": was.uri})
            retrieved = was.retrieved
    receptors = {"retrieval": {**retrieval.model_dump(exclude_none=True), "retrieved": retrieved.model_dump()}}
    first = soundings.time.min().astype("datetime64[s]").item()
    data = {**source.scene, "id": name, "name": f"{source.name}-{area}", "time": first.isoformat()}
    scene: Scene = make_scene({**data, "receptors": receptors}, f"source {source.name}").with_soundings(soundings)
    window = Window.of(scene.receptor_list, scene.transport.n_hours)
    require_files(scene.meteorology, window, MeteorologyArchive(root=meteorology_root()).open())
    changed = registered is not None and bool(registered.differences(scene))
    if register_scene(instance, store, scene, replace=True, source=source.name if by_sensor else ""):
        (found.replaced if changed else found.new).append(name)
    return name
