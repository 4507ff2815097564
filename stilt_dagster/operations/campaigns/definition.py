"""Campaigns: which scenes belong together, what they may cost, how often one should finish."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field, model_validator

from stilt_dagster.resources.store import Store
from stilt_dagster.science.errors import CampaignError
from stilt_dagster.science.files.format_numbers import CAMPAIGN_FORMAT
from stilt_dagster.science.scenes.settings import Budget
from stilt_dagster.science.validation import Day, Hours, Spec, parse_yaml, validate

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")

_PATTERN = r"[a-z0-9._*?\[\]!-]{1,100}"


class Campaign(Spec):
    """Scenes that belong together: those of some ids and patterns, and those of the granules of some sources."""

    name: str = Field(max_length=40, description="The campaign's name: that of its file.")
    scenes: list[Annotated[str, Field(pattern=rf"^{_PATTERN}$")]] = Field(
        default_factory=list, max_length=10_000, description="Ids of scenes; * and ? stand for any characters."
    )
    sources: list[Annotated[str, Field(pattern=rf"^{_NAME.pattern}$")]] = Field(
        default_factory=list, max_length=100, description="Sources of retrievals: scenes of their granules."
    )
    first: Day | None = Field(None, alias="from", description="First day of measurements of sources, UTC.")
    last: Day | None = Field(None, alias="to", description="Last day of these, too.")
    budget: Budget | None = Field(None, description="The most that may be planned for all its scenes together.")
    fresh_within: Hours | None = Field(
        None, description="A scene should end at least that often, h or a text such as 2 days; the UI says if none did."
    )

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if not (self.scenes or self.sources):
            raise ValueError("names no scenes: give scenes (ids or patterns) or sources")
        if (self.first or self.last) and not self.sources:
            raise ValueError("from and to choose among the scenes of sources: give sources")
        if self.first and self.last and self.last < self.first:
            raise ValueError(f"to {self.last} lies before from {self.first}: exchange them")
        return self


def parse_campaign(text: str, name: str, where: str) -> Campaign:
    """Read a campaign from YAML.

    Parameters
    ----------
    text : str
        The YAML.
    name : str
        The campaign's name.
    where : str
        What errors call it.

    Raises
    ------
    CampaignError
        One line naming *where*, each field in error, and what is allowed.
    """
    if not _NAME.fullmatch(name):
        raise CampaignError(
            f"{where}: {name!r} cannot be a campaign's name, that of its file: use a-z, 0-9 and '-', at most 40"
        )
    data = parse_yaml(text, where, "a campaign: scenes or sources, and from, to", CampaignError, CAMPAIGN_FORMAT)
    if "name" in data:
        raise CampaignError(f"{where}: name: a campaign has the name of its file: leave it out")
    return validate(Campaign, {"name": name, **data}, where, CampaignError)


def load_campaign(store: Store, name: str) -> Campaign:
    """Return a campaign of a store.

    Raises
    ------
    CampaignError
        If there is none of that name, or it is not usable.
    """
    text = store.folder("campaigns").read(f"{name}.yaml") if _NAME.fullmatch(name) else None
    if text is None:
        raise CampaignError(
            f"there is no campaign {name!r}: add one with `stilt-dagster campaign add FILE`; `campaign list` shows "
            "those there are"
        )
    return parse_campaign(text, name, f"campaigns/{name}.yaml")


def load_campaigns(store: Store) -> Iterator[Campaign | CampaignError]:
    """Yield the campaigns of a store, ``campaigns/<name>.yaml``; of one that is not usable, its error."""
    folder = store.folder("campaigns")
    for file in (n for n in folder.names() if n.endswith(".yaml")):
        try:
            yield parse_campaign(folder.read(file) or "", file.removesuffix(".yaml"), f"campaigns/{file}")
        except CampaignError as error:
            yield error


def add_campaign(store: Store, text: str, name: str, where: str, *, replace: bool = False) -> tuple[Campaign, bool]:
    """Check a campaign's YAML and keep it in the store, as it is written.

    Parameters
    ----------
    store : Store
        Where it is kept.
    text, name, where : str
        As for :func:`parse_campaign`.
    replace : bool
        Take the place of another campaign of that name.

    Returns
    -------
    Campaign, bool
        The campaign, and whether anything was new.

    Raises
    ------
    CampaignError
        If it is not usable, names a source there is not, or another one has its name.
    """
    campaign = parse_campaign(text, name, where)
    sources = set(store.folder("sources").names()) if campaign.sources else set()
    for source in campaign.sources:
        if f"{source}.yaml" not in sources:
            raise CampaignError(
                f"{where}: sources: there is no source {source}: write {store.root}/sources/{source}.yaml"
            )
    folder = store.folder("campaigns")
    known = folder.read(f"{name}.yaml")
    if known == text:
        return campaign, False
    if known is not None and not replace:
        raise CampaignError(f"campaign {name} is there already, with other content: use --replace, or another name")
    folder.write(f"{name}.yaml", text)
    return campaign, True


def delete_campaign(store: Store, name: str) -> None:
    """Remove a campaign from the store; its scenes stay.

    Raises
    ------
    CampaignError
        If there is none of that name.
    """
    folder = store.folder("campaigns")
    if not (_NAME.fullmatch(name) and folder.has(f"{name}.yaml")):
        raise CampaignError(f"there is no campaign {name!r}: `stilt-dagster campaign list` shows those there are")
    folder.remove(f"{name}.yaml")
