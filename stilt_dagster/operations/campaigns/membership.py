"""Which scenes belong to a campaign, by their ids alone: no spec is opened."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import translate

from stilt_dagster.operations.campaigns.definition import Campaign, load_campaigns
from stilt_dagster.operations.ingest.sources import Source, load_sources
from stilt_dagster.resources.store import Store
from stilt_dagster.science.errors import UserError


@dataclass(frozen=True)
class Membership:
    """Which scenes belong to a campaign.

    Attributes
    ----------
    campaign : str
        The campaign.
    named : re.Pattern
        Matches ids the campaign names, itself or by a pattern.
    measured : re.Pattern or None
        Matches ids of the scenes of its sources; its group is the day of measurements, ``YYYYMMDD``.
    first, last : str
        First and last of these days.
    """

    campaign: str
    named: re.Pattern[str]
    measured: re.Pattern[str] | None
    first: str = "00000000"
    last: str = "99999999"

    @classmethod
    def of(cls, campaign: Campaign, store: Store) -> Membership:
        """Return the membership of a campaign, whose sources say which areas they have.

        Raises
        ------
        RetrievalError
            If a source it names is not there, or not usable.
        """
        prefixes = []
        for source in load_sources(store, campaign.sources) if campaign.sources else ():
            if not isinstance(source, Source):
                raise source
            prefixes += [re.escape(f"{source.name}-{area}-") for area in source.areas]
        # A scene of a source is <source>-<area>-<what was measured>, and that begins with the day.
        measured = re.compile(rf"(?:{'|'.join(prefixes)})(\d{{8}})(?!\d).*") if prefixes else None
        days = {
            name: f"{day:%Y%m%d}"
            for name, day in (("first", campaign.first), ("last", campaign.last))
            if day is not None
        }
        return cls(campaign.name, re.compile("|".join(map(translate, campaign.scenes)) or r"(?!)"), measured, **days)

    def has(self, scene: str) -> bool:
        """Return whether a scene belongs to the campaign."""
        if self.named.match(scene):
            return True
        found = self.measured.fullmatch(scene) if self.measured else None
        return found is not None and self.first <= found[1] <= self.last


def scenes_of(campaign: Campaign, store: Store) -> list[str]:
    """Return the registered scenes of a campaign, sorted.

    Raises
    ------
    RetrievalError
        If a source it names is not there, or not usable.
    """
    membership = Membership.of(campaign, store)
    return [scene for scene in store.scenes() if membership.has(scene)]


def campaign_tags(store: Store) -> Callable[[str], dict[str, str]]:
    """Return a function that gives the run tag of a scene's campaign, and none for a scene of no campaign.

    A tag has one value: of several campaigns a scene belongs to, the first by name. What is wrong with a campaign is
    told where it is used, and keeps no run from being started.
    """
    from stilt_dagster.kubernetes.run_coverage import CAMPAIGN_TAG  # imports Dagster, and matrices open without it

    known: list[Membership] = []
    for campaign in load_campaigns(store):
        try:
            if isinstance(campaign, Campaign):
                known.append(Membership.of(campaign, store))
        except UserError:
            continue

    def tags(scene: str) -> dict[str, str]:
        return next(({CAMPAIGN_TAG: m.campaign} for m in known if m.has(scene)), {})

    return tags
