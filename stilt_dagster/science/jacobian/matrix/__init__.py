"""Jacobians of many scenes as one matrix: read in blocks of rows, its columns coarsened, its products."""
