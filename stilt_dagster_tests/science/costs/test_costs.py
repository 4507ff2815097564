"""Prices, budgets and predictions: what is refused, what adds up, and what a prediction follows."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from stilt_dagster.science.costs.budget import Budget, BudgetError, require_within
from stilt_dagster.science.costs.plan import Bytes, Concurrency, Cost, Figures, Plan
from stilt_dagster.science.costs.prediction import Calibration, count_files, predict
from stilt_dagster.science.costs.prices import PriceError, Usage, packaged_prices, parse_prices, price_of
from stilt_dagster.science.costs.spent import Spent, calibrate
from stilt_dagster.science.errors import SceneError
from stilt_dagster.science.meteorology.sources import SOURCES
from stilt_dagster.science.outcomes import PartSummary
from stilt_dagster.science.transport.effort import Effort
from stilt_dagster.science.versions import meteorology_key, simulation_key
from stilt_dagster_tests.science.scenes.test_spec import scene

TABLE = """
currency: EUR
prices_of: 2026-01-31
core_hour: 1
idle_core_hours: 0
small_core_hour: 0
small_core_hours: 0
gb_month: 0
writes_10000: 0
reads_10000: 0
network_gb: 0
kept_days: {meteorology: 1, trajectories: 1, footprints: 1, jacobian: 1}
"""


def figures(cpu_hours: float = 2.0, wall_hours: float = 1.0, amount: float = 3.0) -> Figures:
    return Figures(4, 400, cpu_hours, 1, wall_hours, Bytes(10, 100, 20, 3), Cost(amount, "EUR", "2026-01-31"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must hold a price table"),
        ("- 1", "must hold a price table"),
        ("{", "not valid YAML"),
        (TABLE.replace("core_hour: 1\n", "core_hour: -1\n", 1), "core_hour"),
        (TABLE.replace("core_hour: 1\n", "core_hour: .inf\n", 1), "core_hour"),
        (TABLE.replace("EUR", "Euro"), "currency"),
        (TABLE.replace("2026-01-31", "soon"), "prices_of"),
        (TABLE + "core_hours: 1\n", "core_hours: unknown name"),
        (TABLE + "network_gb: 1\n", "given twice"),
        (TABLE.replace("currency: EUR\n", ""), "currency: is missing"),
        (TABLE.replace("jacobian: 1", "jacobian: *x"), "not valid YAML"),
    ],
)
def test_a_price_table_that_cannot_be_used_is_one_line(text: str, said: str) -> None:
    with pytest.raises(PriceError, match=r"^prices\.yaml") as refusal:
        parse_prices(text, "prices.yaml")
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_what_is_used_is_paid_for() -> None:
    """The documented example: 1,000 receptors of 24 h and 200 particles."""
    usage = Usage(2.69, 5e9, 40e6, 2.59e9, 0.78e9, 0.39e9, 100)
    assert price_of(usage, packaged_prices()) == pytest.approx(0.24 + 0.23, abs=0.03)
    assert price_of(usage, parse_prices(TABLE, "")) == pytest.approx(2.69)


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ({"cpu_hours": 1.5}, "2 CPU-hours of at most 1.5 (cpu_hours)"),
        ({"cost": 2}, "3 EUR of at most 2 (cost)"),
        ({"bytes": 100}, "123B of at most 100B (bytes)"),
    ],
)
def test_what_exceeds_its_budget_is_refused(budget: dict[str, float], said: str) -> None:
    with pytest.raises(BudgetError, match="raise the budget, or use fewer") as refusal:
        require_within(Plan("s", figures()), Budget.model_validate(budget), "scene s")
    assert said in str(refusal.value)


def test_what_keeps_to_its_budget_is_not() -> None:
    for budget in (None, Budget.model_validate({"cpu_hours": 2, "cost": 3, "bytes": "123 B"})):
        require_within(Plan("s", figures()), budget, "scene s")


@pytest.mark.parametrize(
    "budget", [{}, {"cpu_hours": 0}, {"cost": -1}, {"bytes": "much"}, {"cost": float("nan")}, {"euros": 3}, 7]
)
def test_a_budget_that_is_none_is_refused(budget: object) -> None:
    with pytest.raises(SceneError, match="budget"):
        scene(budget=budget)


def test_a_budget_changes_nothing_that_is_made() -> None:
    with_budget, without = scene(budget={"cost": 5}), scene()
    assert "budget" not in without.to_json()
    assert with_budget.differences(without) == ["budget"]
    assert meteorology_key(with_budget) == meteorology_key(without)
    assert simulation_key(with_budget, "m", "e") == simulation_key(without, "m", "e")


def test_plans_add_up() -> None:
    """Time is what all the cores need for all of it, and at least that of the longest."""
    plans = [Plan("a", figures(2.0, 1.0), figures(3.0)), Plan("b", figures(4.0, 5.0))]
    total = Plan.total("both", plans, Concurrency(2))
    assert (total.planned.receptors, total.planned.cpu_hours, total.planned.wall_hours) == (8, 6.0, 5.0)
    assert total.planned.bytes == Bytes(20, 200, 40, 6)
    assert total.planned.cost.amount == 6.0
    assert Plan.total("both", plans, Concurrency(1)).planned.wall_hours == 6.0
    assert total.actual is not None
    assert total.actual.cpu_hours == 3.0
    assert set(total.to_dict()) == {"scene", "calibrated", "actual", *total.to_dict()["actual"]}


def test_a_prediction_follows_what_is_asked_for() -> None:
    least = predict(scene())
    for change in ({"transport": {"n_hours": -20, "numpar": 20}}, {"transport": {"n_hours": -2, "numpar": 200}}):
        assert predict(scene(**change)).cpu_seconds > 1.5 * least.cpu_seconds
        assert predict(scene(**change)).trajectories > 4 * least.trajectories
    fine = {"footprint": {"xres": 0.002, "yres": 0.002}}
    assert predict(scene(**fine)).footprints > 2 * least.footprints
    assert predict(scene(footprint={"time_integrate": True})).entries < least.entries
    assert count_files(scene()) <= len(scene().receptor_list)


#: Rows of a receptor none of whose particles leave the meteorology.
ROWS = 20 * 2 * 60


def part(cpu: float | None, size: int, rows: int, ended: float = 1.0) -> PartSummary:
    effort = None if cpu is None else Effort(cpu, ended - 1, ended)
    return PartSummary(f"{ended}", "", {"ok": 1}, size=size, rows=rows, effort=effort)


def test_first_parts_calibrate_the_rest() -> None:
    spec = scene()
    one = predict(spec, receptors=1, files=1)
    pairs = [(part(2 * one.cpu_seconds, 99_000, ROWS, k), part(0.0, 50_000, 700, k)) for k in range(1, 5)]
    found = calibrate(spec, Spent(pairs))
    assert found is not None
    assert found.cpu == pytest.approx(2.0)
    again = predict(spec, found, receptors=1, files=1)
    assert (again.trajectories, again.footprints, again.entries) == pytest.approx((99_000, 50_000, 700))
    half = [(part(1.0, 40_000, ROWS // 2, k), part(0.0, 50_000, 700, k)) for k in range(1, 5)]
    escaped = calibrate(spec, Spent(half))
    assert escaped is not None
    assert escaped.inside == 0.5
    assert predict(spec, escaped, receptors=1, files=1).cpu_seconds == pytest.approx(1.0)
    slow = [*pairs, (part(1e6, 10**9, ROWS, 9.0), part(1e6, 10**9, 10**9, 9.0))]
    assert calibrate(spec, Spent(slow)) == found  # a later part changes no plan
    assert calibrate(spec, Spent(slow), first=False) != found


def test_parts_of_before_calibrate_nothing() -> None:
    old = Spent([(part(None, 99_000, 0), part(None, 50_000, 0))])
    assert calibrate(scene(), old) is None
    assert (old.cpu_seconds, old.seconds, old.trajectories) == (None, None, 99_000)
    known = {k: v for k, v in asdict(part(None, 5, 5)).items() if k not in ("effort", "escapes")}
    assert PartSummary.from_dict(known).effort is None


def test_time_is_counted_once() -> None:
    spans = [(0.0, 10.0), (5.0, 12.0), (100.0, 101.0)]
    parts = [(PartSummary("", "", {"ok": 1}, effort=Effort(1.0, *span)), None) for span in spans]
    assert Spent(parts).seconds == 13.0
    assert Spent(parts).cpu_seconds == 3.0


@pytest.mark.parametrize("source", [*SOURCES, "auto"])
def test_meteorology_that_is_not_asked_is_estimated(source: str) -> None:
    from stilt_dagster.science.costs.meteorology import typical_aggregate

    found = typical_aggregate(scene(meteorology={"source": source, "directory": None, "pattern": None}))
    read, kept = found.bytes_read, found.bytes_written
    assert read is not None
    assert 1e6 < read < 1e10
    assert 0 < kept < read


def test_calibration_scales_what_it_is_of() -> None:
    spec = scene()
    plain, doubled = predict(spec), predict(spec, Calibration(cpu=2.0))
    assert doubled.cpu_seconds == pytest.approx(2 * plain.cpu_seconds)
    assert doubled.trajectories == plain.trajectories
