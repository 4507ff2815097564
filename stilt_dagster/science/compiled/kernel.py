"""The decorator of all compiled loops: the machine code kept on disk is that of the sources there are now.

numba keeps machine code beside the module of a function, or below ``NUMBA_CACHE_DIR``, or in the user's cache where the
folder of the module is read-only, and takes it until that one module changes. But the code holds what the function
calls and the constants it uses as well, of whatever modules: when one of those changes, in an upgrade or an edit, the
old numbers would go on. Here code is taken while no module changes that the function's module imports, or they import.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile

F = TypeVar("F", bound=Callable[..., Any])

_ROOT = Path(__file__).parents[2]

#: An import of the package's, anywhere in a module. Syntax trees say the same, but take twenty times as long.
_IMPORT = re.compile(rf"^\s*(?:from|import)\s+({_ROOT.name}[\w.]*)(?:\s+import\s+(\([^)]*\)|.*))?", re.MULTILINE)
_NAME = re.compile(r"\w+")


def kernel(**options: Any) -> Callable[[F], F]:
    """Return a decorator that compiles a function at its first call, and keeps the machine code for later processes.

    Other threads run meanwhile: the function holds no GIL.

    Parameters
    ----------
    **options
        More of ``numba.njit``, such as ``error_model``.
    """

    def decorate(function: F) -> F:
        compiled: Any = numba.njit(nogil=True, **options)(function)
        compiled._cache = _Cache(function)
        decorated: F = compiled
        return decorated

    return decorate


class _Cache(FunctionCache):  # type: ignore[misc]
    """numba's cache of a function, stale as soon as a source it is made from is another."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        stamp = _digest(Path(inspect.getfile(function)))
        self._cache_file = IndexDataCacheFile(self.cache_path, self._impl.filename_base, stamp)


@functools.cache
def _digest(source: Path) -> str:
    """Return the digest of a module and of all of the package that it imports, or they import."""
    found, left = {source}, [source]
    while left:
        new = _imports(left.pop()) - found
        found |= new
        left += new
    digest = hashlib.sha256()
    for path in sorted(found):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@functools.cache
def _imports(source: Path) -> frozenset[Path]:
    """Return the files of the package's modules that a file imports."""
    found = set()
    for module, names in _IMPORT.findall(source.read_text(encoding="utf-8")):
        # What is imported from a package may be a module.
        for parts in ([], *([name] for name in _NAME.findall(names))):
            path = _ROOT.joinpath(*module.split(".")[1:], *parts)
            found |= {p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()}
    return frozenset(found)
