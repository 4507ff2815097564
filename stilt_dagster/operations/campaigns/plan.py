"""What a campaign will take: the plans of its scenes together, and whether that keeps to its budget."""

from __future__ import annotations

from collections.abc import Sequence

from stilt_dagster.operations.campaigns.definition import Campaign
from stilt_dagster.operations.plan import plan_scene
from stilt_dagster.resources.store import Store
from stilt_dagster.science.costs.budget import require_within
from stilt_dagster.science.costs.plan import Concurrency, Plan
from stilt_dagster.science.errors import CampaignError


def campaign_plan(store: Store, campaign: Campaign, scenes: Sequence[str], concurrency: Concurrency) -> Plan:
    """Return the plan of a campaign's scenes together; every spec is read.

    Raises
    ------
    CampaignError
        If there are none.
    UserError
        If a spec or the store's price table is not usable.
    """
    if not scenes:
        raise CampaignError(
            f"campaign {campaign.name} has no scenes: register them with `stilt-dagster scene add` or "
            "`stilt-dagster retrievals scan`, or correct its patterns, sources and days"
        )
    return Plan.total(
        campaign.name, [plan_scene(store, store.scene(scene), concurrency) for scene in scenes], concurrency
    )


def require_campaign_within(store: Store, campaign: Campaign, scenes: Sequence[str], concurrency: Concurrency) -> None:
    """Make sure that all scenes of a campaign together keep to its budget, if it has one.

    Raises
    ------
    BudgetError
        Naming each figure that exceeds its limit.
    """
    if campaign.budget is not None and scenes:
        plan = campaign_plan(store, campaign, scenes, concurrency)
        require_within(plan, campaign.budget, f"campaign {campaign.name}")
