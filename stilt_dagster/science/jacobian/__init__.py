"""The jacobian: a scene's footprints as one sparse matrix, its file, and what must hold of it."""
