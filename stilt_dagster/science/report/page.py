"""The page of a report: what is known of a scene put into one HTML file that needs no other."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stilt_dagster.science.report.influence import Influence
from stilt_dagster.science.report.observations import Observations
from stilt_dagster.science.report.plume import Plume
from stilt_dagster.science.report.provenance import Table
from stilt_dagster.science.report.summary import Summary, moment
from stilt_dagster.science.scenes.spec import Scene

#: Most failed receptors that are listed.
MOST_LISTED = 100


@dataclass(frozen=True)
class StoredFile:
    """A file of a scene, or all of a kind.

    Attributes
    ----------
    path : str
        In the store.
    holds : str
        What it is.
    count : int
        How many there are; 0 if they are not in the store any more.
    size : int or None
        Bytes, of all; None if that is not known.
    """

    path: str
    holds: str
    count: int
    size: int | None

    @property
    def told(self) -> str:
        """Its size as a person reads it."""
        if not self.count:
            return "not in the store any more"
        return ("" if self.count == 1 else f"{self.count:,} files, ") + _size(self.size)


@dataclass(frozen=True)
class Content:
    """Everything a page shows.

    Attributes
    ----------
    scene : Scene
        The scene.
    summary : Summary
        Its jacobian in numbers.
    plume : Plume or None
        Particles of some receptors, if they are still kept.
    warnings : list of str
        What a person should look at.
    tables : list of Table
        What made the jacobian.
    files : list of StoredFile
        What the store has of the scene.
    version : str
        Version of the report.
    made : datetime
        When, UTC.
    """

    scene: Scene
    summary: Summary
    plume: Plume | None
    warnings: Sequence[str]
    tables: Sequence[Table]
    files: Sequence[StoredFile]
    version: str
    made: dt.datetime


def render(content: Content) -> str:
    """Return the page.

    Text of scenes, receptors and messages is escaped: by jinja2 in the page, and by bokeh in the data of its figures.
    """
    from bokeh.embed import components
    from bokeh.resources import Resources
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from stilt_dagster.science.report import figures
    from stilt_dagster.science.report.still import influence_png

    scene, summary, plume = content.scene, content.summary, content.plume
    rows, influence, grid = summary.rows, summary.influence, scene.footprint.grid
    shown = rows.thinned(figures.MOST_POINTS)
    plots = {
        "receptors": figures.receptor_map(rows, grid, shown),
        "influence": figures.influence_map(influence, rows, grid, shown),
        "distances": figures.distance_bars(influence),
    }
    if influence.by_hour is not None:
        plots["hours"] = figures.hour_bars(influence, influence.by_hour)
    if plume is not None:
        plots["heights"] = figures.plume_by_hour(plume)
        plots["section"] = figures.plume_from_south(plume)
    if summary.observations is not None:
        used = np.flatnonzero(rows.status != 2)
        drawn = shown[rows.status[shown] != 2]
        plots["observations"] = figures.observed_against_expected(summary.observations, drawn)
        plots["differences"] = figures.difference_bars(summary.observations, used)
    script, places = components(plots)
    environment = Environment(
        loader=PackageLoader(__package__, "template"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("report.html").render(
        content=content,
        scene=scene,
        rows=rows,
        summary=summary,
        influence=influence,
        plume=plume,
        facts=facts(content),
        outcomes=rows.counts,
        failures=[(rows.ids[k], rows.reason[k], rows.message[k]) for k in rows.failed[:MOST_LISTED]],
        observed=_observed(summary.observations),
        hourly=_hourly(plume),
        by_hour=_by_hour(influence),
        by_distance=_by_distance(influence),
        shown=len(shown),
        place=place_of(summary),
        span=span_of(summary),
        axes=("lat", "lon") if grid.is_longlat else ("y", "x"),
        bokeh="\n".join(Resources(mode="inline", components=["bokeh"]).js_raw),
        script=script,
        places=places,
        still=base64.b64encode(influence_png(influence, grid)).decode(),
    )


def facts(content: Content) -> list[tuple[str, str, str]]:
    """Return the figures a reader should see first: what, the figure, and what more there is to say of it."""
    summary, rows = content.summary, content.summary.rows
    influence, counts = summary.influence, rows.counts
    felt = rows.row_sum[rows.status == 0]
    found = [
        ("receptors", f"{len(rows):,}", ", ".join(f"{n:,} {name}" for name, n in counts.items())),
        (
            "matrix",
            f"{summary.size[0]:,} × {summary.size[1]:,}",
            f"{summary.entries:,} entries that are not zero",
        ),
        (
            "hours of flux",
            f"{(summary.hours[1] - summary.hours[0]) / dt.timedelta(hours=1):.0f} h",
            f"{summary.hours[0]:%Y-%m-%d %H:%M} to {summary.hours[1]:%Y-%m-%d %H:%M} UTC",
        ),
    ]
    if len(felt):
        found.append(
            (
                "row sum, median",
                f"{np.median(felt):.3g}",
                f"{felt.min():.3g} to {felt.max():.3g} ppm (µmol m⁻² s⁻¹)⁻¹",
            )
        )
    known = ~np.isnan(rows.row_sum_error) & (rows.status == 0) & (rows.row_sum > 0)
    if known.any():
        relative = rows.row_sum_error[known] / rows.row_sum[known]
        found.append(
            (
                "Monte-Carlo error of a row",
                f"{np.median(relative):.1%}",
                f"median, of its sum; {np.quantile(relative, 0.9):.1%} and less of nine rows in ten",
            )
        )
    if influence.total > 0:
        found.append(
            (
                "half the influence within",
                f"{influence.distance_of(0.5):,.0f} km",
                f"nine tenths within {influence.distance_of(0.9):,.0f} km of the receptor",
            )
        )
    if counts["ok"]:
        outside = float(rows.outside[rows.status == 0].mean())
        found.append(("influence off the grid", f"{outside:.1%}", "mean over receptors that are ok"))
    return found


def place_of(summary: Summary) -> str:
    """Return where the receptors are, as a person says it."""
    lon, lat = summary.rows.lon, summary.rows.lat
    # From the first receptor, so that those on both sides of the antimeridian have their middle between them.
    east = float(np.median((lon - lon[0] + 180) % 360 - 180) + lon[0] + 180) % 360 - 180
    north = float(np.median(lat))
    return f"{abs(north):.2f}° {'N' if north >= 0 else 'S'}, {abs(east):.2f}° {'E' if east >= 0 else 'W'}"


def span_of(summary: Summary) -> str:
    """Return when the receptors release particles, UTC."""
    first, last = (moment(m) for m in (summary.rows.minutes.min(), summary.rows.minutes.max()))
    if first == last:
        return f"{first:%Y-%m-%d %H:%M} UTC"
    return f"{first:%Y-%m-%d %H:%M} to {last:{'%H:%M' if first.date() == last.date() else '%Y-%m-%d %H:%M'}} UTC"


def _observed(found: Observations | None) -> list[tuple[str, ...]]:
    if found is None:
        return []
    return [(name, f"{n:,}", *(f"{v:.4f}" for v in values)) for name, n, *values in found.table()]


def _hourly(plume: Plume | None) -> list[tuple[str, ...]]:
    """Return heights by hours before release, two dozen rows at most."""
    if plume is None or not len(plume.hourly):
        return []
    every = -(-len(plume.hourly) // 24)
    return [
        (f"{row[0]:.0f}", *("not kept" if np.isnan(v) else f"{v:,.0f}" for v in row[1:]))
        for row in plume.hourly[::every]
    ]


def _by_hour(influence: Influence) -> list[tuple[str, str]]:
    """Return the share of the influence up to some hours before release."""
    if influence.by_hour is None or influence.total <= 0:
        return []
    inside = np.cumsum(influence.by_hour) / influence.total
    last = len(inside) - 1
    hours = sorted({h for h in (0, 1, 2, 3, 6, 12, 24, 48, 72, 120, 240) if h < last} | {last})
    return [(f"{h}", f"{inside[h]:.1%}") for h in hours]


def _by_distance(influence: Influence) -> list[tuple[str, str]]:
    """Return the share of the influence within some distances of the receptor, twice a decade until it is all."""
    if influence.total <= 0:
        return []
    inside = np.r_[0.0, np.cumsum(influence.by_distance)] / influence.total
    found = []
    for edge in range(0, len(influence.distances), 5):
        if inside[edge] > 0:
            found.append((f"{influence.distances[edge]:,.0f}", f"{inside[edge]:.1%}"))
        if inside[edge] >= 0.9995:
            break
    return found


def _size(size: int | None) -> str:
    """Return bytes as a person reads them."""
    if size is None:
        return "size not known"
    amount, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while amount >= 1000 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    return f"{amount:.3g} {units[0]}"
