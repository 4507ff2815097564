"""Maps and charts of what was made, as small PNGs."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from stilt_dagster.science.errors import counted
from stilt_dagster.science.scenes.grid import Grid

# Plain characters: matplotlib's own notation for powers takes a parser and a tenth of a second a picture.
_UNITS = "ppm (µmol m⁻² s⁻¹)⁻¹"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_INK = "#1b2a3a"


def _figure(title: str) -> tuple[Figure, Any]:
    # Margins that hold every title and label: matplotlib's own layout draws each figure twice to find them.
    figure = Figure(figsize=(6.4, 4.6), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.11, 0.11, 0.84, 0.80))
    axes.set_title(title, fontsize=10, color=_INK, loc="left")
    axes.tick_params(labelsize=8, colors=_INK)
    return figure, axes


def _power(value: float, _: int) -> str:
    """Return a power of ten as text; of other values nothing."""
    exponent = round(math.log10(value))
    return f"10{str(exponent).translate(_SUPERSCRIPT)}" if math.isclose(value, 10.0**exponent) else ""


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _on_map(axes: Any, grid: Grid) -> None:
    x0, x1, y0, y1 = grid.extent
    axes.set_xlim(x0, x1)
    axes.set_ylim(y0, y1)
    if grid.is_longlat:
        axes.set_aspect(1 / max(np.cos(np.radians((y0 + y1) / 2)), 0.1))
    axes.set_xlabel("longitude, °E" if grid.is_longlat else "x", fontsize=8, color=_INK)
    axes.set_ylabel("latitude, °N" if grid.is_longlat else "y", fontsize=8, color=_INK)


def _mark_receptors(axes: Any, grid: Grid, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> None:
    x, y = (lon % 360 if grid.wraps else lon), lat
    if not grid.is_longlat:
        x, y = grid.transformer.transform(lon, lat)
    label = counted(len(lon), "receptor")
    axes.plot(x, y, "o", ms=3 if len(lon) < 500 else 1, mfc="none", mec="#d1495b", mew=0.7, label=label)
    axes.legend(fontsize=7, loc="lower left", framealpha=0.8)


def receptor_map(grid: Grid, lon: NDArray[np.float64], lat: NDArray[np.float64], title: str) -> bytes:
    """Return a map of receptors on the extent of the footprint's grid.

    Parameters
    ----------
    grid : Grid
        The grid.
    lon, lat : ndarray
        Receptors, degrees.
    title : str
        What it shows.

    Returns
    -------
    bytes
        A PNG.
    """
    figure, axes = _figure(title)
    _on_map(axes, grid)
    _mark_receptors(axes, grid, lon, lat)
    return _png(figure)


def influence_map(
    field: NDArray[np.floating[Any]], grid: Grid, lon: NDArray[np.float64], lat: NDArray[np.float64], title: str
) -> bytes:
    """Return a map of influence on a logarithmic scale, with receptors marked.

    Parameters
    ----------
    field : ndarray
        Influence, shape ``(lat, lon)``, ppm (umol m-2 s-1)-1.
    grid : Grid
        Its grid.
    lon, lat : ndarray
        Receptors, degrees.
    title : str
        What it shows.

    Returns
    -------
    bytes
        A PNG.
    """
    figure, axes = _figure(title)
    _on_map(axes, grid)
    positive = field[field > 0]
    if positive.size:
        high = float(positive.max())
        low = max(float(positive.min()), high * 1e-5)
        shown = np.ma.masked_less(field, low)
        mesh = axes.imshow(
            shown,
            origin="lower",
            extent=grid.extent,
            aspect=axes.get_aspect(),
            cmap="viridis",
            norm=LogNorm(low, max(high, low * 1.01)),
            interpolation="nearest",
        )
        bar = figure.colorbar(mesh, ax=axes, shrink=0.85, format=FuncFormatter(_power))
        bar.minorformatter = NullFormatter()
        bar.set_label(f"influence, {_UNITS}", fontsize=8, color=_INK)
        bar.ax.tick_params(labelsize=7)
    else:
        axes.text(0.5, 0.5, "no influence on this grid", ha="center", transform=axes.transAxes, fontsize=9)
    _mark_receptors(axes, grid, lon, lat)
    return _png(figure)


def plume(
    age: NDArray[np.floating[Any]],
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    at: tuple[float, float],
    title: str,
) -> bytes:
    """Return particle positions coloured by hours since release, and the receptor they left from.

    Parameters
    ----------
    age : ndarray
        Hours before release, positive.
    lon, lat : ndarray
        Positions, degrees.
    at : tuple of float
        Longitude and latitude of the receptor.
    title : str
        What it shows.

    Returns
    -------
    bytes
        A PNG.
    """
    figure, axes = _figure(title)
    dots = axes.scatter(lon, lat, c=age, s=3, cmap="viridis_r", linewidths=0, rasterized=True)
    bar = figure.colorbar(dots, ax=axes, shrink=0.85)
    bar.set_label("hours before release", fontsize=8, color=_INK)
    bar.ax.tick_params(labelsize=7)
    axes.plot(*at, "*", ms=11, mfc="#d1495b", mec="white", mew=0.6, label="receptor")
    axes.legend(fontsize=7, loc="lower left")
    axes.set_aspect(1 / max(np.cos(np.radians(at[1])), 0.1), adjustable="datalim")
    axes.set_xlabel("longitude, °E", fontsize=8, color=_INK)
    axes.set_ylabel("latitude, °N", fontsize=8, color=_INK)
    return _png(figure)
