"""The rule by which an engine agrees with hycs_std: what it lets pass and what it finds; it adds up over parts."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from stilt_dagster.science.engine_agreement import Agreement, ReceptorCheck
from stilt_dagster.science.outcomes import Outcome, PartSummary


def outcomes(seed: int, n: int, *, factor: float = 1.0, apart: float = 1.0, noise: float = 0.05) -> list[Outcome]:
    """Return receptors at which three runs differ by noise, and the engine by more if it is not the same.

    Footprints are 200 cells, each with noise of its own; an engine whose footprints are ``apart`` has so many times it.
    """
    rng = np.random.default_rng(seed)
    made = []
    for k in range(n):
        size = rng.uniform(0.5, 2.0)
        each = noise * np.sqrt(200)
        cells = (1 + rng.normal(size=(3, 200)) * np.array([[apart], [1.0], [1.0]]) * each) * size / 200
        cells[0] *= factor
        sums, mean = cells.sum(axis=1), abs(cells[1:].sum()) / 2
        distances = [np.abs(cells[i] - cells[j]).sum() / mean for i, j in ((0, 1), (0, 2), (1, 2))]
        check = ReceptorCheck(tuple(sums), (noise * size * apart, noise * size, noise * size), tuple(distances), "h")
        made.append(Outcome(f"r{k}", check=check))
    return made


@pytest.mark.parametrize("n", [3, 20])
def test_the_same_engine_agrees(n: int) -> None:
    verdicts = [Agreement.of(outcomes(seed, n)).verdict for seed in range(400)]
    assert verdicts.count("differs") <= 4


def test_a_bias_of_a_tenth_is_found() -> None:
    for seed in range(50):
        found = Agreement.of(outcomes(seed, 60, factor=1.1))
        assert found.verdict == "differs"
        assert found.bias == pytest.approx(0.1, abs=4 * found.bias_error)
        assert any("row sums are +" in text and "of hycs_std's off" in text for text in found.disagreements)


def test_footprints_elsewhere_are_found() -> None:
    for seed in range(50):
        found = Agreement.of(outcomes(seed, 20, apart=3.0))
        assert found.distance_ratio > 1.3
        assert any("times as far from hycs_std's" in text for text in found.disagreements)


def test_it_adds_up_over_parts_and_goes_through_their_index() -> None:
    every = [*outcomes(1, 9), Outcome("x", check=ReceptorCheck(reason="no hycs_std")), Outcome("y")]
    parts = [PartSummary.of("k", every[a:b], 1) for a, b in ((0, 4), (4, 9), (9, 11))]
    parts = [PartSummary.from_dict(json.loads(json.dumps(asdict(part)))) for part in parts]
    found, whole = Agreement.sum(p.agreement for p in parts if p.agreement), Agreement.of(every)
    assert (found.compared, found.not_compared, found.reason, found.reference) == (9, 1, "no hycs_std", "h")
    assert found.summary == pytest.approx(whole.summary)
    assert [w["receptor"] for w in found.worst] == [w["receptor"] for w in whole.worst]
    assert [Outcome.from_dict(json.loads(json.dumps(o.to_dict()))).receptor for o in every] == [
        o.receptor for o in every
    ]
    assert "check" not in Outcome("y").to_dict(), "versions before read parts without checks"
    assert PartSummary.of("k", [Outcome("y")], 1).agreement is None


def test_without_influence_or_without_hycs_std_nothing_is_told() -> None:
    none = ReceptorCheck((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), "h")
    for check in (none, ReceptorCheck(reason="no hycs_std")):
        found = Agreement.of([Outcome("x", check=check)])
        assert (found.verdict, found.summary) == ("not checked", {})
