"""Scenes: the spec and its settings, receptors and their files, the grid of the footprint."""
