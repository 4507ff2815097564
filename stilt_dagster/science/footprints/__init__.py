"""Footprints: particles to grids, and the files of both layouts, ours and R STILT's."""
