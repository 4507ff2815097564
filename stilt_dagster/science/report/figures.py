"""The interactive figures of a report, of bokeh's own models: nothing is fetched, no script of ours runs."""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.models import (
    ColorBar,
    ColumnDataSource,
    HoverTool,
    LinearColorMapper,
    LogColorMapper,
    NumeralTickFormatter,
    Slope,
)
from bokeh.palettes import Blues256, Viridis256
from bokeh.plotting import figure
from numpy.typing import NDArray

from stilt_dagster.science.footprints.footprint_files import STATUS
from stilt_dagster.science.report.influence import Influence
from stilt_dagster.science.report.observations import Observations
from stilt_dagster.science.report.plume import Plume
from stilt_dagster.science.report.summary import Rows, moment
from stilt_dagster.science.scenes.grid import Grid

UNITS = "ppm (µmol m⁻² s⁻¹)⁻¹"
_SHARE = "share of the influence, %"

#: Most receptors and observations drawn one by one.
MOST_POINTS = 5000

#: Okabe and Ito's colours, told apart by eyes that lack one cone, and a marker each.
_OUTCOMES = {"ok": ("#0072B2", "circle"), "empty": ("#E69F00", "square"), "failed": ("#D55E00", "x")}

_INK, _RULE, _LINE = "#1b2a3a", "#d8dee4", "#0072B2"

#: Blues without the palest, which would be lost on white, and the darkest, on which lines would be.
_SHADES = Blues256[::-1][16:150]

#: Width the shape of a map is reckoned for, pixels of the page.
_WIDE = 600

#: How far below its largest value the map of influence goes.
_DECADES = 4


def _figure(name: str, x_label: str, y_label: str, **options: Any) -> Any:
    """Return an empty figure as wide as its place in the page."""
    options = {"sizing_mode": "stretch_width", "height": 380, "tools": "pan,wheel_zoom,box_zoom,reset,save", **options}
    plot = figure(name=name, x_axis_label=x_label, y_axis_label=y_label, toolbar_location="above", **options)
    plot.toolbar.logo = None
    plot.toolbar.active_scroll = None  # a page scrolls under the pointer
    plot.toolbar.autohide = True
    plot.outline_line_color = _RULE
    plot.grid.grid_line_color = "#eef1f4"
    plot.xaxis.ticker.desired_num_ticks = 5
    for axis in plot.axis:
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_color = axis.major_label_text_color = _INK
        axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = "#8a96a3"
    return plot


def _map(name: str, grid: Grid, shape: tuple[float, float]) -> Any:
    """Return an empty map, fit for what is as wide and high as *shape*; a degree is as long in both directions."""
    _, _, y0, y1 = grid.extent
    stretch = max(float(np.cos(np.radians((y0 + y1) / 2))), 0.1) if grid.is_longlat else 1.0
    labels = ("longitude, °E", "latitude, °N") if grid.is_longlat else ("x, m", "y, m")
    # Axes and what else is around the map take about as much wherever it is shown.
    ratio = shape[0] * stretch / shape[1] if min(shape) > 0 else 1.0
    height = float(np.clip((_WIDE - 80) / ratio + 100, 340, 640))
    plot = _figure(name, *labels, height=None, aspect_ratio=_WIDE / height, match_aspect=True, aspect_scale=stretch)
    if not grid.is_longlat:
        for axis in plot.axis:
            axis.formatter = NumeralTickFormatter(format="0,0")
    return plot


def _on_grid(grid: Grid, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> tuple[Any, Any]:
    """Return positions in the grid's own coordinates."""
    if grid.is_longlat:
        return (lon % 360 if grid.wraps else lon), lat
    x, y = grid.transformer.transform(lon, lat)
    return np.asarray(x), np.asarray(y)


def _with_error(value: float, error: float) -> str:
    return f"{value:.3g}" + ("" if np.isnan(error) else f" ± {error:.1g}")


def receptor_map(rows: Rows, grid: Grid, shown: NDArray[np.int64]) -> Any:
    """Return a map of receptors by outcome; *shown* are the places of those on it."""
    x, y = _on_grid(grid, rows.lon[shown], rows.lat[shown])
    plot = _map("receptors", grid, (float(np.ptp(x)), float(np.ptp(y))))
    size = 9 if len(shown) < 300 else 5 if len(shown) < 2000 else 4
    for code, status in enumerate(STATUS):
        of = rows.status[shown] == code
        if not of.any():
            continue
        color, marker = _OUTCOMES[status]
        places = shown[of]
        source = ColumnDataSource(
            {
                "x": x[of],
                "y": y[of],
                "id": [rows.ids[k] for k in places],
                "time": [f"{moment(rows.minutes[k]):%Y-%m-%d %H:%M}" for k in places],
                "sum": [_with_error(rows.row_sum[k], rows.row_sum_error[k]) for k in places],
                "why": [rows.reason[k] or "" for k in places],
                "status": [status] * len(places),
            }
        )
        points = plot.scatter(
            "x", "y", source=source, marker=marker, size=size, color=color, line_width=2 if marker == "x" else 0.5,
            fill_alpha=0.75, legend_label=f"{status} ({int(np.count_nonzero(rows.status == code)):,})",
        )  # fmt: skip
        tips = [("receptor", "@id"), ("time, UTC", "@time"), ("row sum", f"@sum {UNITS}"), ("outcome", "@status @why")]
        plot.add_tools(HoverTool(renderers=[points], tooltips=tips, point_policy="follow_mouse"))
    _legend_above(plot)
    return plot


def influence_map(influence: Influence, rows: Rows, grid: Grid, shown: NDArray[np.int64]) -> Any:
    """Return a map of the influence on all receptors, on a logarithmic scale; receptors are marked."""
    field, (x0, x1, y0, y1) = influence.field, influence.extent
    plot = _map("influence", grid, (x1 - x0, y1 - y0))
    outline = plot.quad(left=x0, right=x1, bottom=y0, top=y1, fill_color=None, line_color="#8a96a3")
    for axis in (plot.x_range, plot.y_range):
        axis.renderers, axis.range_padding = [outline], 0  # receptors may lie far outside the grid
    plot.grid.visible = False
    high = float(field.max()) if field.size else 0.0
    if high > 0:
        low = max(float(field[field > 0].min()), high * 10.0**-_DECADES)
        colors = LogColorMapper(Viridis256, low=low, high=max(high, low * 1.01), nan_color="rgba(0, 0, 0, 0)")
        values = np.where(field >= low, field, np.nan).astype(np.float32)
        image = plot.image([values], x=x0, y=y0, dw=x1 - x0, dh=y1 - y0, color_mapper=colors, level="image")
        plot.add_tools(HoverTool(renderers=[image], tooltips=[("influence", f"@image{{0.00e+0}} {UNITS}")]))
        plot.add_layout(_color_bar(colors, f"influence, {UNITS}"), "below")
    x, y = _on_grid(grid, rows.lon[shown], rows.lat[shown])
    size = 4 if len(shown) < 500 else 1
    plot.scatter(x, y, size=size, fill_color="white", line_color="#D55E00", line_width=1, legend_label="receptors")
    _legend_above(plot)
    return plot


def hour_bars(influence: Influence, by_hour: NDArray[np.float64]) -> Any:
    """Return the share of the influence by hour of UTC before that of release."""
    plot = _figure("hours", "hours of UTC before the hour of release", _SHARE, height=250)
    shares = 100 * by_hour / (influence.total or 1.0)
    source = ColumnDataSource({"hour": np.arange(len(by_hour)), "sum": by_hour, "share": shares})
    bars = plot.vbar("hour", top="share", width=0.9, source=source, color=_LINE, line_color=None)
    tips = [("hour before", "@hour"), ("share", "@share{0.0} %"), ("influence", f"@sum{{0.00e+0}} {UNITS}")]
    plot.add_tools(HoverTool(renderers=[bars], tooltips=tips))
    plot.y_range.start = min(0.0, float(shares.min()))
    return plot


def distance_bars(influence: Influence) -> Any:
    """Return the share of the influence by distance from the receptor, a tenth of a decade a bar."""
    plot = _figure("distances", "distance from the receptor, km", _SHARE, height=250, x_axis_type="log")
    found = np.flatnonzero(influence.by_distance)
    some = slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 1)
    left, right = influence.distances[:-1][some], influence.distances[1:][some]
    shares = 100 * influence.by_distance / (influence.total or 1.0)
    spans = [f"{a:.3g} to {b:.3g}" for a, b in zip(left, right, strict=True)]
    if some.start == 0:
        spans[0] = f"less than {right[0]:.3g}"
    source = ColumnDataSource(
        {"left": left, "right": right, "share": shares[some], "inside": np.cumsum(shares)[some], "span": spans}
    )
    bars = plot.quad(
        left="left", right="right", bottom=0, top="share", source=source, fill_color=_LINE, line_color="white"
    )
    tips = [("distance, km", "@span"), ("share", "@share{0.0} %"), ("share up to there", "@inside{0.0} %")]
    plot.add_tools(HoverTool(renderers=[bars], tooltips=tips))
    plot.y_range.start = min(0.0, float(shares.min()))
    plot.xaxis.formatter = NumeralTickFormatter(format="0,0")
    return plot


def plume_by_hour(plume: Plume) -> Any:
    """Return the share of particles at each height by hours before release, with their median and mixing height."""
    plot = _figure(
        "heights", "hours relative to release", "height above ground, m",
        x_range=(-plume.hours, 0.0), y_range=(0.0, plume.top),
    )  # fmt: skip
    shares = np.where(plume.density > 0, plume.density, np.nan).astype(np.float32)[:, ::-1]
    # All particles start at one height: a scale up to that share would leave the rest pale.
    high = max(float(np.nanpercentile(shares, 98)), 1e-3) if np.isfinite(shares).any() else 1.0
    colors = LinearColorMapper(_SHADES, low=0.0, high=high, nan_color="rgba(0, 0, 0, 0)")
    plot.image([shares], x=-plume.hours, y=0.0, dw=plume.hours, dh=plume.top, color_mapper=colors, level="image")
    plot.grid.visible = False
    hour, low, median, up, mixed = plume.hourly.T
    source = ColumnDataSource({"hour": -hour, "low": low, "median": median, "up": up, "mixed": mixed})
    for name in ("low", "up"):
        plot.line("hour", name, source=source, color=_INK, line_dash="dotted", legend_label="10, 90 %")
    middle = plot.line("hour", "median", source=source, color=_INK, line_width=2, legend_label="median")
    if np.isfinite(mixed).any():
        plot.line("hour", "mixed", source=source, color="#D55E00", line_width=2, legend_label="mixing height")
    tips = [("hour", "@hour"), ("median, m", "@median{0}"), ("10 to 90 %, m", "@low{0} to @up{0}"),
            ("mixing height, m", "@mixed{0}")]  # fmt: skip
    plot.add_tools(HoverTool(renderers=[middle], tooltips=tips, mode="vline"))
    _legend_above(plot)
    return plot


def plume_from_south(plume: Plume) -> Any:
    """Return the particles of one receptor seen from the south, coloured by hours before release."""
    plot = _figure("section", "longitude, °E", "height above ground, m", y_range=(0.0, plume.top))
    lon, height, hours = plume.dots
    colors = LinearColorMapper(Viridis256[::-1], low=0.0, high=plume.hours)
    source = ColumnDataSource({"lon": lon.astype(np.float32), "height": height.astype(np.float32),
                               "hours": hours.astype(np.float32)})  # fmt: skip
    plot.scatter(
        "lon", "height", source=source, size=3, line_color=None, fill_alpha=0.6,
        fill_color={"field": "hours", "transform": colors},
    )  # fmt: skip
    plot.add_layout(_color_bar(colors, "hours before release"), "below")
    return plot


def observed_against_expected(found: Observations, shown: NDArray[np.int64]) -> Any:
    """Return observations against what is expected of them: the prior, and background and prior term where known."""
    value, error = found.value[shown], found.uncertainty[shown]
    expected = np.concatenate([x[shown] for _, x, _, _ in _expectations(found)])
    low, high = _span(expected, _span(value)[1] - _span(value)[0])
    plot = _figure("observations", "expected, ppm", "observed, ppm", x_range=(low, high))
    for name, expected, color, marker in _expectations(found):
        x = expected[shown]
        source = ColumnDataSource({"x": x, "y": value, "error": error, "low": value - error, "up": value + error})
        plot.segment("x", "low", "x", "up", source=source, color=color, alpha=0.35)
        points = plot.scatter(
            "x", "y", source=source, marker=marker, size=6, color=color, fill_alpha=0.7, legend_label=name
        )
        tips = [("observed, ppm", "@y{0.0000} ± @error{0.0000}"), (f"{name}, ppm", "@x{0.0000}")]
        plot.add_tools(HoverTool(renderers=[points], tooltips=tips))
    plot.add_layout(Slope(gradient=1, y_intercept=0, line_color="#8a96a3", line_dash="dashed"))
    _legend_above(plot, "vertical")
    return plot


def difference_bars(found: Observations, used: NDArray[np.int64]) -> Any:
    """Return how many observations differ from what is expected of them by how much."""
    plot = _figure("differences", "observed minus expected, ppm", "observations")
    differences = {name: (found.value - x)[used] for name, x, _, _ in _expectations(found)}
    known = np.concatenate([d[np.isfinite(d)] for d in differences.values()])
    edges = np.histogram_bin_edges(known, min(max(len(used) // 4, 8), 40)) if len(known) else np.array([0.0, 1.0])
    for name, _, color, _ in _expectations(found):
        counts, _ = np.histogram(differences[name][np.isfinite(differences[name])], edges)
        source = ColumnDataSource({"left": edges[:-1], "right": edges[1:], "count": counts})
        bars = plot.quad(
            left="left", right="right", bottom=0, top="count", source=source, fill_color=color, fill_alpha=0.6,
            line_color="white", legend_label=name,
        )  # fmt: skip
        tips = [(f"over {name}, ppm", "@left{0.0000} to @right{0.0000}"), ("observations", "@count")]
        plot.add_tools(HoverTool(renderers=[bars], tooltips=tips))
    plot.y_range.start = 0
    _legend_above(plot, "vertical")
    return plot


def _span(values: NDArray[np.float64], least: float = 1e-6) -> tuple[float, float]:
    """Return the ends of an axis that holds *values*, at least as far apart as *least*."""
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    half = max(0.55 * (high - low), least / 2)
    return (low + high) / 2 - half, (low + high) / 2 + half


def _expectations(found: Observations) -> list[tuple[str, NDArray[np.float64], str, str]]:
    """Return what observations are compared with: its name, its values, and how it is drawn."""
    expected = [("the retrieval's prior", found.prior, "#E69F00", "square")]
    if found.without_fluxes is not None:
        expected.append(("background + prior_term", found.without_fluxes, _LINE, "circle"))
    return expected


def _color_bar(colors: Any, title: str) -> ColorBar:
    return ColorBar(
        color_mapper=colors, title=title, height=10, padding=4, title_text_font_style="normal",
        title_text_color=_INK, major_label_text_color=_INK, bar_line_color=_RULE,
    )  # fmt: skip


def _legend_above(plot: Any, orientation: str = "horizontal") -> None:
    """Put the legend where it hides no data; a click on an entry hides what it names."""
    legend = plot.legend[0]
    plot.add_layout(legend, "above")
    legend.orientation, legend.location, legend.click_policy = orientation, "left", "hide"
    legend.border_line_color = None
    legend.label_text_font_size, legend.label_text_color = "12px", _INK
    legend.padding, legend.margin, legend.spacing = 2, 0, 10 if orientation == "horizontal" else 0
    legend.label_standoff = 4
