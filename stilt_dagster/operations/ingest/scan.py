"""Keeping up with where granules land: one scan looks at every file of a source that is new or has changed.

What a scan has seen is kept in a ledger, which only saves work: each step may be done again and comes out the same, so
that a scan that was killed is completed by the next.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import dagster as dg

from stilt_dagster.operations.ingest.arrivals import Scan, record_scan
from stilt_dagster.operations.ingest.granules import NoReceptorsError, select_soundings
from stilt_dagster.operations.ingest.ledger import Entry, Ledger
from stilt_dagster.operations.ingest.sources import Source
from stilt_dagster.operations.registration.register import register_scene
from stilt_dagster.resources.granules import GranuleFolder, Listed, fetch
from stilt_dagster.resources.meteorology_archive import FileArchive
from stilt_dagster.resources.store import Store
from stilt_dagster.retrievals import Granule, read_granule
from stilt_dagster.science.costs.budget import BudgetError
from stilt_dagster.science.errors import MeteorologyError, RetrievalError, SceneError, UnreadableError
from stilt_dagster.science.meteorology.choice import require_available
from stilt_dagster.science.meteorology.extent.needs import scene_box
from stilt_dagster.science.meteorology.window import Window
from stilt_dagster.science.scenes.loading import make_scene
from stilt_dagster.science.scenes.observation_settings import Retrieval
from stilt_dagster.science.scenes.spec import Scene
from stilt_dagster.science.scratch import scratch_directory
from stilt_dagster.science.validation import SCENE_ID, digest, validate
from stilt_dagster.settings import meteorology_root

#: How often an unreadable file is tried, and the wait before each next try, s.
_TRIES, _WAITS = 5, (60.0, 120.0, 240.0, 480.0)

#: Verdict on a granule whose scenes exceed their budget, before the hash of that.
_OVER = "over budget"

#: A remote file larger than this, bytes, is recorded before it is copied: if that takes longer than a tick may, it
#: counts as a try, and does not hold up those after it.
_LARGE = 64 << 20


def scan(
    instance: dg.DagsterInstance,
    store: Store,
    source: Source,
    *,
    seconds: float = float("inf"),
    max_scenes: int | None = None,
    days: tuple[dt.date, dt.date] | None = None,
    started: Callable[[Sequence[str]], set[str]] | None = None,
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
        No new file is started after so many scenes.
    days : tuple of date, optional
        First and last day of granules wanted; others are left for later.
    started : callable, optional
        Returns those of some scenes whose first asset was made: others, registered by an earlier scan that did not live
        to ask for their runs, are reported as unrequested.
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
    ledger, found = Ledger(store, source.name), Scan()
    if started is not None:
        found.unrequested = ledger.unrequested(started)
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
            if known is not None and known.verdict.startswith(_OVER) and known.verdict != _over_budget(source):
                known = None
            if known is not None and known.state == listed.state:
                if known.verdict == "retry" and known.tries >= _TRIES:
                    found.failed.append((listed.key, f"it takes longer than a tick may, {known.tries} times"))
                    ledger.record(listed.key, replace(known, verdict="failed"))
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
                ledger.record(listed.key, Entry(listed.state, "retry", (known.tries if known else 0) + 1, time.time()))
                ledger.write()
            entry = _handle(instance, store, source, folder, listed, known, found, days, by_sensor)
            if entry is not None:
                ledger.record(listed.key, entry)
                found.newest = max(found.newest, (listed.modified, listed.key))
        else:
            ledger.stop_at("")
    finally:
        ledger.write()
    record_scan(instance, source.name, found)
    return found


def _over_budget(source: Source) -> str:
    """Return the verdict on a granule whose scenes exceed the budget: another budget has it looked at again."""
    budget = source.budget.model_dump() if source.budget else source.scene.get("budget")
    return f"{_OVER} {digest(budget)}"


def _handle(
    instance: dg.DagsterInstance,
    store: Store,
    source: Source,
    folder: GranuleFolder,
    listed: Listed,
    known: Entry | None,
    found: Scan,
    days: tuple[dt.date, dt.date] | None,
    by_sensor: bool,
) -> Entry | None:
    """Read one file and register its scenes; return its entry for the ledger."""
    uri, key = folder.path_of(listed.key), listed.key
    before = len(found.new) + len(found.replaced)
    reasons, scenes, refused = [], [], False
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
                except BudgetError as refusal:
                    refused = True
                    found.failed.append((key, str(refusal)))
    except UnreadableError as error:
        tries = (known.tries if known else 0) + 1
        if tries < _TRIES:
            found.waiting.append((key, str(error)))
            return Entry(listed.state, "retry", tries, time.time())
        found.failed.append((key, f"{error}; {tries} tries: put a whole file in its place"))
        return Entry(listed.state, "failed", tries, time.time())
    except MeteorologyError as error:  # which may come after the granule does
        found.waiting.append((key, str(error)))
        return Entry(listed.state, "retry", min((known.tries if known else 0) + 1, len(_WAITS)), time.time())
    except (RetrievalError, SceneError) as error:
        found.failed.append((key, str(error)))
        return Entry(listed.state, "failed", 1, time.time())
    if refused and not scenes:
        return Entry(listed.state, _over_budget(source), 1, time.time())
    if not scenes:
        found.skipped.append((key, "; ".join(reasons)))
        return Entry(listed.state, "skipped", 1, time.time())
    if len(found.new) + len(found.replaced) == before:
        found.unchanged += 1
    return Entry(listed.state, "registered", 1, time.time(), scenes)


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
    retrieved, soundings, columns = select_soundings(granule, retrieval, area)
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
    budget = {} if source.budget is None else {"budget": source.budget.model_dump(exclude_none=True)}
    data = {**source.scene, **budget, "id": name, "name": f"{source.name}-{area}", "time": first.isoformat()}
    scene: Scene = make_scene({**data, "receptors": receptors}, f"source {source.name}").with_receptors(
        columns, soundings
    )
    window = Window.of(scene.receptor_list, scene.transport.n_hours)
    archive = FileArchive(meteorology_root())
    box = scene_box(scene.receptor_list, scene.footprint.grid)
    require_available(scene.meteorology, box, window, archive)
    changed = registered is not None and bool(registered.differences(scene))
    if register_scene(instance, store, scene, replace=True, source=source.name if by_sensor else ""):
        (found.replaced if changed else found.new).append(name)
    return name
