"""What was handled of a source, kept in the store: it only saves work, and a damaged one is begun anew."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace

from stilt_dagster.resources.store import Store
from stilt_dagster.science.errors import FormatError, RetrievalError
from stilt_dagster.science.files.format_numbers import LEDGER_FORMAT, without_format

#: Granules handled between two writings of the ledger.
_WRITE_EVERY = 10


@dataclass
class Entry:
    """What is known of a file: its state when it was handled, how that ended, and of which scenes."""

    state: str
    verdict: str
    tries: int = 0
    tried: float = 0.0
    scenes: list[str] = field(default_factory=list)


class Ledger:
    """What was handled of a source, kept in the store.

    Raises
    ------
    RetrievalError
        If a later version wrote it.
    """

    def __init__(self, store: Store, source: str) -> None:
        self._folder, self._name = store.folder("sources"), f"{source}.ledger.json"
        try:
            kept = json.loads(self._folder.read(self._name) or '{"place": "", "entries": {}}')
            kept = without_format(kept, LEDGER_FORMAT, f"sources/{self._name}")
            self.entries = {str(key): Entry(*values) for key, values in kept["entries"].items()}
            self.place = str(kept["place"])
        except (ValueError, TypeError, KeyError, AttributeError):  # damaged: all is looked at again
            self.entries, self.place = {}, ""
        except FormatError as error:
            raise RetrievalError(str(error)) from None
        self._unwritten = 0

    def stop_at(self, place: str) -> None:
        """Keep where in the listing the next scan is to go on; empty for its beginning."""
        self._unwritten += place != self.place
        self.place = place

    def record(self, key: str, entry: Entry) -> None:
        """Keep an entry, and all of them every now and then."""
        self.entries[key] = entry
        self._unwritten += 1
        if self._unwritten >= _WRITE_EVERY:
            self.write()

    def unrequested(self, started: Callable[[Sequence[str]], set[str]]) -> list[str]:
        """Return registered scenes whose first run was not started, and close the entries of the others."""
        registered = {k: e for k, e in self.entries.items() if e.verdict == "registered"}
        done = started(sorted({name for e in registered.values() for name in e.scenes}))
        for key, entry in registered.items():
            if done.issuperset(entry.scenes):
                self.record(key, replace(entry, verdict="done"))
        return [name for e in registered.values() for name in e.scenes if name not in done]

    def write(self) -> None:
        """Write what is known, if anything is new."""
        if self._unwritten:
            rows = {k: list(asdict(e).values()) for k, e in self.entries.items()}
            text = json.dumps({"place": self.place, "entries": rows}, separators=(",", ":"))
            self._folder.write(self._name, text)
            self._unwritten = 0
