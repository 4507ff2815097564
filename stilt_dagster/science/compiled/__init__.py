"""Loops that numba compiles, once for a machine."""
