"""How the functions of the particle loop are compiled."""

from __future__ import annotations

from stilt_dagster.science.compiled.kernel import kernel

#: Compiles a function that reads arrays, and makes none. Arrays are those of the caller for as long as it runs, so that
#: counting references to them (``_nrt``) is needless: it took twice as long as all else. Nor is each division tested
#: for zero; who could divide by it tests it.
compiled = kernel(error_model="numpy", _nrt=False)
