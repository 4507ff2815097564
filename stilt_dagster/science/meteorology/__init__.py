"""Meteorology: sources and their files, ARL files, and the aggregate a scene is run with."""
