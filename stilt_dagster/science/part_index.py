"""How the receptors of a shard's part files ended, in one small file beside them, so that they need not be opened.

An entry holds for one state of its part file: where the file has been written anew, copied or damaged since, the entry
says nothing, and the file itself is read. So the index can be missing, or late, and never wrong.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from stilt_dagster.science.batches import Batch, PartFolder
from stilt_dagster.science.outcomes import PartSummary
from stilt_dagster.science.scratch import Source

T = TypeVar("T")

INDEX = "outcomes.json"

#: Format of the index; one of another format is not read.
_FORMAT = 1

#: Seconds between two writings of an index whose shard is being worked on.
_SAVE_EVERY = 60.0


class IndexedFolder:
    """A shard's folder of part files, with its index.

    Parameters
    ----------
    folder : PartFolder
        The folder of the store.
    """

    def __init__(self, folder: PartFolder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._loaded: dict[str, tuple[str, PartSummary]] | None = None
        self._states: dict[str, str] = {}
        self._changed = False
        self._saved = time.monotonic()

    def _entries(self) -> dict[str, tuple[str, PartSummary]]:
        if self._loaded is None:
            self._states = self._folder.states()
            text = self._folder.read(INDEX) if INDEX in self._states else None
            self._loaded = _parse(text)
        return self._loaded

    def summary(self, name: str) -> PartSummary | None:
        """Return what the index says of a part file; None if it says nothing of what the file is now."""
        with self._lock:
            state, summary = self._entries().get(name, ("", None))
            return summary if state and state == self._states.get(name) else None

    def names(self) -> list[str]:
        """Return the names of the part files there are."""
        with self._lock:
            self._entries()
            return [name for name in self._states if name != INDEX]

    def open(self, name: str, kind: Callable[[Source], T], *, whole: bool) -> T | None:
        """Return what *kind* makes of *name*, or None; all of it will be read, or else some of it."""
        with self._lock:
            self._entries()
            if name not in self._states:
                return None
        return self._folder.open(name, kind, whole=whole)

    def put(self, path: Path, name: str, summary: PartSummary) -> None:
        """Move a finished file of this machine to *name*, all at once."""
        state = self._folder.put(path, name)
        with self._lock:
            self._entries()[name] = (state, summary)
            self._states[name] = state
            self._changed = True
            late = time.monotonic() - self._saved > _SAVE_EVERY
        if late:
            self.save()

    def record(self, name: str, summary: PartSummary) -> None:
        """Keep the summary of a part file that was read."""
        with self._lock:
            entries = self._entries()
            if state := self._states.get(name):
                entries[name] = (state, summary)
                self._changed = True

    def remove(self, name: str) -> None:
        """Remove a part file."""
        self._folder.remove(name)
        with self._lock:
            self._entries().pop(name, None)
            self._states.pop(name, None)
            self._changed = True

    def save(self) -> None:
        """Write the index, if it has changed."""
        with self._lock:
            if not self._changed:
                return
            current = {n: e for n, e in self._entries().items() if self._states.get(n) == e[0]}
            rows = {name: [state, asdict(summary)] for name, (state, summary) in sorted(current.items())}
            self._changed, self._saved = False, time.monotonic()
        self._folder.write(INDEX, json.dumps({"format": _FORMAT, "parts": rows}, separators=(",", ":")))


def find_summary(
    folder: IndexedFolder, name: str, key: str, read: Callable[[], PartSummary | None]
) -> PartSummary | None:
    """Return how a part's receptors ended, from the index or else the file; None if it was made of something else.

    Parameters
    ----------
    folder : IndexedFolder
        Its folder.
    name : str
        The part file.
    key : str
        What makes it now.
    read : callable
        Opens the file and summarises it; None if it is not good.
    """
    summary = folder.summary(name)
    if summary is None:
        summary = read()
        if summary is None:
            return None
        folder.record(name, summary)
    return summary if summary.key == key else None


def is_checked(batch: Batch, trajectories: PartSummary) -> bool:
    """Return whether a batch's simulations say how each compares with hycs_std that is to; failed ones cannot.

    A part has the checks that were asked for when it was made, of the same order of receptors: so many are enough.
    """
    if not batch.checked:
        return True
    there = 0 if trajectories.agreement is None else trajectories.agreement.receptors
    return there + sum(o["receptor"] in batch.checked for o in trajectories.failures) >= len(batch.checked)


def is_current(footprints: PartSummary | None, trajectories: PartSummary) -> bool:
    """Return whether a batch's footprints are there, and of its simulations as they ended last."""
    return footprints is not None and footprints.simulations == trajectories.simulations


def _parse(text: str | None) -> dict[str, tuple[str, PartSummary]]:
    """Return the entries of an index; none, if it is damaged or of another format."""
    try:
        data = json.loads(text or "{}")
        if data.get("format") != _FORMAT:
            return {}
        return {name: (str(state), PartSummary.from_dict(row)) for name, (state, row) in data["parts"].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def indexed_folders(folder_of: Callable[[str], PartFolder], shards: Iterable[str]) -> Callable[[str], IndexedFolder]:
    """Return the same indexed folder for a shard each time: it knows what it has listed."""
    return {shard: IndexedFolder(folder_of(shard)) for shard in shards}.__getitem__


def remove_stale_parts(
    shards: Mapping[str, Sequence[Batch]], folder_of: Callable[[str], IndexedFolder], ending: str
) -> None:
    """Remove part files that no batch of their shard has, left by an earlier spec, so that nothing counts twice."""
    for shard, batches in shards.items():
        wanted = {f"{batch.name}{ending}" for batch in batches}
        folder = folder_of(shard)
        for name in folder.names():
            if name.startswith("part-") and name not in wanted:
                folder.remove(name)
