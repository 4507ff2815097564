"""The map of influence as a small picture, for readers whose browser runs no scripts."""

from __future__ import annotations

import io

import numpy as np

from stilt_dagster.science.report.influence import Influence
from stilt_dagster.science.scenes.grid import Grid


def influence_png(influence: Influence, grid: Grid) -> bytes:
    """Return a PNG of the influence on all receptors, on a logarithmic scale."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(6.4, 4.6), dpi=80)
    FigureCanvasAgg(drawing)
    axes = drawing.add_axes((0.12, 0.12, 0.84, 0.84))
    field = influence.field
    high = float(field.max()) if field.size else 0.0
    if high > 0:
        low = max(float(field[field > 0].min()), high * 1e-4)
        image = axes.imshow(
            np.ma.masked_less(field, low),
            origin="lower",
            extent=influence.extent,
            norm=LogNorm(low, max(high, low * 1.01)),
            interpolation="nearest",
            aspect="auto",
        )
        drawing.colorbar(image, ax=axes, label="influence, ppm (µmol m⁻² s⁻¹)⁻¹")
    axes.set_xlabel("longitude, °E" if grid.is_longlat else "x, m")
    axes.set_ylabel("latitude, °N" if grid.is_longlat else "y, m")
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png")
    return buffer.getvalue()
