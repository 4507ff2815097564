"""A matrix for inversion codes: the doors of the adapters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stilt_dagster.science.jacobian.adapters.operator import Operator
from stilt_dagster.science.jacobian.cells import Floats

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import ArrayLike

    from stilt_dagster.science.jacobian.adapters.openghg.curtains import Rows


class _WithFluxes(Operator, Protocol):
    def flux_vector(self, flux: xr.DataArray) -> Floats: ...


class _WithFiles(Operator, Protocol):
    @property
    def _pieces(self) -> Sequence[Rows]: ...


class Conversions:
    """What a :class:`Jacobian` can be made into. All refuse failed observations: use ``H.without_failed()``."""

    def to_fips(
        self: Operator, *, observations: str = "concentration", state: str = "flux", sparse: bool = False
    ) -> Any:
        """Return a ``fips.ForwardOperator``.

        See :func:`stilt_dagster.science.jacobian.adapters.fips.forward_operator`.
        """
        from stilt_dagster.science.jacobian.adapters.fips import forward_operator

        return forward_operator(self, observations=observations, state=state, sparse=sparse)

    def to_openghg(self: _WithFiles, directory: Path | str, *, time_resolved: bool = False) -> dict[str, Path]:
        """Write files of OpenGHG: ``footprints.nc`` and, of a retrieval, ``observations.nc``.

        Where the air came in is known of scenes with a ``background.boundary``.
        See :func:`stilt_dagster.science.jacobian.adapters.openghg.files.write_files`.
        """
        from stilt_dagster.science.jacobian.adapters.openghg.curtains import curtains_of
        from stilt_dagster.science.jacobian.adapters.openghg.files import write_files

        curtains = curtains_of(self, self._pieces)
        return write_files(self, Path(directory), time_resolved=time_resolved, curtains=curtains)

    def boundary(self: _WithFiles) -> xr.DataArray:
        """Return what 1 ppm of each side and height of the scenes' grid adds to each observation.

        See :func:`stilt_dagster.science.jacobian.boundary.sensitivity.boundary_sensitivity`. It is of the grid of the
        files, whatever part of it the matrix has.
        """
        from stilt_dagster.science.jacobian.boundary.sensitivity import boundary_sensitivity

        return boundary_sensitivity(self.obs, self._pieces)

    def to_imi(
        self: _WithFluxes,
        directory: Path | str,
        *,
        prior: xr.DataArray,
        state_vector: Any,
        background: ArrayLike | None = None,
    ) -> dict[str, Path]:
        """Write the Integrated Methane Inversion's file of each granule.

        See :func:`stilt_dagster.science.jacobian.adapters.imi.write_granules`; *prior* is a flux as
        :meth:`Jacobian.flux_vector` takes it.
        """
        from stilt_dagster.science.jacobian.adapters.imi import write_granules

        flux = self.flux_vector(prior)
        return write_granules(self, Path(directory), prior=flux, state_vector=state_vector, background=background)

    def to_pystilt(self: Operator, directory: Path | str, *, name: str = "stilt_dagster") -> dict[str, Path]:
        """Write a footprint file of PYSTILT of each observation.

        See :func:`stilt_dagster.science.jacobian.adapters.pystilt.write_footprints`.
        """
        from stilt_dagster.science.jacobian.adapters.pystilt import write_footprints

        return write_footprints(self, Path(directory), name=name)
