"""The price table: dated, the package's own or a store's ``prices.yaml``, and what figures cost by it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from importlib import resources
from typing import Annotated

from pydantic import Field

from stilt_dagster.science.errors import UserError
from stilt_dagster.science.files.format_numbers import PRICES_FORMAT
from stilt_dagster.science.validation import Spec, parse_yaml, validate

#: Name of the table, in the package and in a store's root.
PRICES = "prices.yaml"

Price = Annotated[float, Field(ge=0, le=1e6)]
Days = Annotated[float, Field(ge=0, le=36_500)]

_DAYS_A_MONTH = 30.4


class PriceError(UserError):
    """A price table is not usable."""


class KeptDays(Spec):
    """How long each product is kept, days."""

    meteorology: Days = Field(description="The scene's meteorology aggregate.")
    trajectories: Days = Field(description="Particles.")
    footprints: Days = Field(description="Footprints.")
    jacobian: Days = Field(description="The matrix.")


class Prices(Spec):
    """A price table."""

    currency: str = Field(pattern="^[A-Z]{3}$", description="ISO 4217 code, such as USD.")
    prices_of: dt.date = Field(description="The day the prices are of.")
    core_hour: Price = Field(description="A core-hour of simulating, its memory included.")
    idle_core_hours: Price = Field(description="Core-hours every scene pays for nodes that come and go.")
    small_core_hour: Price = Field(description="A core-hour of the small runs.")
    small_core_hours: Price = Field(description="Core-hours of the small runs of every scene.")
    gb_month: Price = Field(description="Keeping 1e9 bytes for a month.")
    writes_10000: Price = Field(description="Writing 10,000 objects.")
    reads_10000: Price = Field(description="Reading 10,000 objects.")
    network_gb: Price = Field(description="Reading 1e9 bytes of meteorology from where it is.")
    kept_days: KeptDays = Field(description="How long the store keeps each product.")


@dataclass(frozen=True)
class Usage:
    """What is paid for.

    Attributes
    ----------
    cpu_hours : float
        Core-hours.
    meteorology_read, meteorology, trajectories, footprints, jacobian : float
        Bytes read from archives, and bytes kept.
    objects : float
        Files written; each is read about twice.
    """

    cpu_hours: float
    meteorology_read: float
    meteorology: float
    trajectories: float
    footprints: float
    jacobian: float
    objects: float


def parse_prices(text: str, where: str) -> Prices:
    """Read a price table.

    Raises
    ------
    PriceError
        One line naming *where*, each field in error, and what is allowed.
    """
    data = parse_yaml(text, where, "a price table: currency, prices_of, core_hour, ...", PriceError, PRICES_FORMAT)
    return validate(Prices, data, where, PriceError)


def packaged_prices() -> Prices:
    """Return the package's own table."""
    return parse_prices(resources.files(__package__).joinpath(PRICES).read_text(), PRICES)


def price_of(usage: Usage, prices: Prices) -> float:
    """Return what something costs, in the table's currency."""
    kept, gb = prices.kept_days, 1e9
    stored = (
        usage.meteorology * kept.meteorology
        + usage.trajectories * kept.trajectories
        + usage.footprints * kept.footprints
        + usage.jacobian * kept.jacobian
    )
    return (
        (usage.cpu_hours + prices.idle_core_hours) * prices.core_hour
        + prices.small_core_hours * prices.small_core_hour
        + stored / gb / _DAYS_A_MONTH * prices.gb_month
        + usage.objects * (prices.writes_10000 + 2 * prices.reads_10000) / 10_000
        + usage.meteorology_read / gb * prices.network_gb
    )
