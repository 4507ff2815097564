"""Meteorology as particles meet it: an ARL file decoded once, on hycs_std's levels, with mixing heights and turbulence.

Each module is a step of it: the map projection, the vertical grid, fields of the file on it, the surface layer, mixing
heights, turbulence, winds in grid units, and all of it for the particle loop.
"""
