"""The boundary of a jacobian's observations, beside the matrix: by which side and how high their air came in.

``hbc(obs, side, boundary_height)`` is what an inversion multiplies with mole fractions of the boundary; ``side_name``
says which side is which. The group ``boundary`` holds the same shares along the sides too, as a sparse matrix of the
matrix's own form::

    b = xr.open_dataset("jacobian/<scene>.nc", group="boundary")
    scipy.sparse.csr_matrix((b.share, b.cell, b.indptr), shape=b.attrs["shape"])

Its columns are the cells of :class:`~stilt_dagster.science.observations.boundary.Box`.
"""
