"""Files of others: what a NetCDF-4 file may not make its reader do.

HDF5 lets a file show as its own what lies elsewhere: a link into another file, a variable whose numbers are the bytes
of any file of the machine, a variable put together of such ones. Libraries follow them without a word, so that a
granule could carry a password of whoever reads it into a result. And a file of a few kB can declare axes of any length.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py

#: Longest axis that is read; the largest products have some ten million soundings.
MAX_AXIS = 200_000_000

#: Most groups and variables looked at.
_MAX_OBJECTS = 100_000


def find_hostile_part(path: Path) -> str | None:
    """Return what in a file must not be read, in some words, or None; a file that is no HDF5 holds only itself.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    OSError, RuntimeError
        If it is HDF5 and damaged.
    """
    if not h5py.is_hdf5(path):
        return None
    with h5py.File(path, "r") as file:
        return find_hostile_part_of(file)


def find_hostile_part_of(root: h5py.Group, streamed: Sequence[str] = ()) -> str | None:
    """Return what in an open file must not be read, or None: walks all links, without following those that lead out.

    Parameters
    ----------
    root : h5py.File
        The file.
    streamed : sequence of str
        Variables that are read a block at a time, and so may be of any length.
    """
    seen, groups, known = 0, [root], {root.id}
    while groups:
        group = groups.pop()
        for name in group:
            seen += 1
            if seen > _MAX_OBJECTS:
                return f"it has more than {_MAX_OBJECTS} groups and variables"
            where = f"{group.name.rstrip('/')}/{name}".removeprefix("/")
            try:
                link = group.get(name, getlink=True)
            except TypeError:
                return f"{where!r} is a link of a kind of its own"
            if isinstance(link, h5py.ExternalLink):
                return f"{where!r} is a link into another file"
            if isinstance(link, h5py.SoftLink):
                continue  # inside the file, where what it names is met by itself
            found = group[name]
            if isinstance(found, h5py.Group) and found.id not in known:
                known.add(found.id)
                groups.append(found)
            elif isinstance(found, h5py.Dataset) and (why := _hostile(found, where in streamed)):
                return f"{where!r} {why}"
    return None


def _hostile(dataset: h5py.Dataset, is_streamed: bool) -> str | None:
    if dataset.is_virtual:
        return "is put together of variables of other files"
    if dataset.external:
        return "has its numbers in another file"
    longest = max(dataset.shape or (), default=0)
    if longest > MAX_AXIS and not is_streamed:
        return f"is {longest} long, and at most {MAX_AXIS} is read"
    return None
