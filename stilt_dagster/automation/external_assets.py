"""Sources and campaigns as assets of the UI, with how fresh they should be: what is not made by a run, but watched."""

from __future__ import annotations

import logging
from datetime import timedelta

import dagster as dg

from stilt_dagster.assets.metadata.definition import OWNERS
from stilt_dagster.kubernetes.dagster_internals import DefinitionsLoadContext, DefinitionsLoadType
from stilt_dagster.operations.campaigns.definition import Campaign, load_campaigns
from stilt_dagster.operations.campaigns.events import campaign_key
from stilt_dagster.operations.ingest.arrivals import source_key
from stilt_dagster.operations.ingest.sources import Source, load_sources
from stilt_dagster.resources.store import Store
from stilt_dagster.science.errors import UserError
from stilt_dagster.science.validation import without_query
from stilt_dagster.settings import docs_page

_LOG = logging.getLogger("stilt_dagster")


def is_code_server() -> bool:
    """Return whether a code server loads the code location; run pods and the command line read no store for it."""
    context = DefinitionsLoadContext.get() if DefinitionsLoadContext.is_set() else None
    return context is not None and context.load_type is DefinitionsLoadType.INITIALIZATION


def external_assets(url: str) -> list[dg.AssetSpec]:
    """Return an asset for each source and each campaign of a store, when a code server asks for the code location.

    One that is not usable is left out, and said so.
    """
    if not is_code_server():
        return []
    try:
        store = Store(url)
        found = [*load_sources(store), *load_campaigns(store)]
    except UserError as error:
        _LOG.error("sources and campaigns are not shown: %s", error)
        return []
    specs = []
    for item in found:
        if isinstance(item, Source):
            specs.append(source_asset(item))
        elif isinstance(item, Campaign):
            specs.append(campaign_asset(item))
        else:
            _LOG.error("a source or campaign is not shown: %s", item)
    return specs


def source_asset(source: Source) -> dg.AssetSpec:
    """Return a source as an asset: each scan that handles granules is a materialization."""
    text = f"Granules of {source.product} that land in {without_query(source.uri)}; areas: {', '.join(source.areas)}."
    page = docs_page("how-to/retrievals", "Sources")
    return _watched(source_key(source.name), "observations", "satellite", text, page, source.fresh_within)


def campaign_asset(campaign: Campaign) -> dg.AssetSpec:
    """Return a campaign as an asset: it is materialized when scenes of it end."""
    which = [*campaign.scenes, *(f"scenes of source {name}" for name in campaign.sources)]
    days = "".join(f" {word} {day}" for word, day in (("from", campaign.first), ("to", campaign.last)) if day)
    text = (
        f"Scenes that belong together: {', '.join(which)}{days}. Its runs carry the tag "
        f"stilt/campaign={campaign.name}; the job run_campaign runs what is not done."
    )
    page = docs_page("how-to/campaigns", "On a cluster, and in the UI")
    return _watched(campaign_key(campaign.name), "products", "campaign", text, page, campaign.fresh_within)


def _watched(key: dg.AssetKey, stage: str, kind: str, text: str, page: str, hours: float | None) -> dg.AssetSpec:
    """Return an asset that no run makes, of a stage, and how many hours it stays fresh."""
    return dg.AssetSpec(
        key,
        group_name=stage,
        owners=OWNERS,
        tags={"stilt/stage": stage},
        kinds={kind},
        description=f"{text}\n\nSee {page}",
        freshness_policy=_policy(hours),
    )


def _policy(hours: float | None) -> dg.FreshnessPolicy | None:
    """Return the policy that fails after so many hours, and warns a quarter of them before."""
    if hours is None:
        return None
    return dg.FreshnessPolicy.time_window(timedelta(hours=hours), timedelta(hours=0.75 * hours))
