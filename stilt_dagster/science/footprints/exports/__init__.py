"""Footprints as files of other programs: one CF file, a GeoTIFF, R STILT's layout."""
