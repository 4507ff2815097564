"""Entries of a matrix on their way from the order of part files to that of its rows, through scratch files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Entries written at a time.
BLOCK = 1 << 20


class RowSpool:
    """Entries on disk: added row by row as parts come, read in the order of the matrix."""

    def __init__(self, directory: Path, n_columns: int) -> None:
        self.kind: Any = np.dtype(np.int32 if n_columns < 2**31 else np.int64)
        self.size = 0
        self._paths = (directory / "indices", directory / "data")
        self._files = [path.open("wb") for path in self._paths]
        self._rows: dict[int, tuple[int, int]] = {}

    def add(self, row: int, columns: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        """Add a row's entries."""
        self._rows[row] = (self.size, len(columns))
        self._files[0].write(columns.astype(self.kind).data)
        self._files[1].write(np.ascontiguousarray(values, np.float32).data)
        self.size += len(columns)

    @property
    def n_bytes(self) -> int:
        """Size of all entries."""
        return self.size * (int(self.kind.itemsize) + 4)

    def close_rows(self, n_rows: int) -> NDArray[np.int64]:
        """End adding; return where each row of the matrix begins, and the last ends."""
        self.close()
        counts = [self._rows[row][1] for row in range(n_rows)]
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def blocks(self, indptr: NDArray[np.int64]) -> Iterator[tuple[slice, NDArray[Any], NDArray[np.float32]]]:
        """Yield places in the matrix, and their entries, a block at a time."""
        if not self.size:  # nothing can be mapped
            return
        kinds = (self.kind, np.dtype(np.float32))
        maps = [np.memmap(path, kind, "r") for path, kind in zip(self._paths, kinds, strict=True)]
        for start in range(0, self.size, BLOCK):
            stop = min(start + BLOCK, self.size)
            block = [np.empty(stop - start, kind) for kind in kinds]
            row = int(np.searchsorted(indptr, start, side="right")) - 1
            while row < len(indptr) - 1 and (first := int(indptr[row])) < stop:
                a, b = max(first, start), min(int(indptr[row + 1]), stop)
                at = self._rows[row][0] + a - first
                for out, entries in zip(block, maps, strict=True):
                    out[a - start : b - start] = entries[at : at + b - a]
                row += 1
            yield slice(start, stop), block[0], block[1]
