"""Transport: the engine, its particles, and the files that keep them."""
