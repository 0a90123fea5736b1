"""Drift: the urn by hand, the false-alarm rate by simulation, delays, bugs that are planted."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgead import Drift, InputError
from edgead.monitoring import drift
from edgead.monitoring.drift import urn_p_value

HORIZON, RUNS, RATE = 600, 250, 0.2
BOUND = RATE + 4 * math.sqrt(RATE * (1 - RATE) / RUNS)  # 4 sigma: 0.30


def bundle_of(scores: Any, reject: float = 0.1) -> Any:
    """All of a bundle that Drift looks at."""
    values = tuple(map(float, scores))
    calibration = SimpleNamespace(scores=values, own={}, false_reject_rate=reject)
    return SimpleNamespace(manifest=SimpleNamespace(calibration=calibration))


def alarms(law: Any, n: int = 19, runs: int = RUNS, horizon: int = HORIZON) -> float:
    """Share of runs with an alarm within the horizon, nothing having changed."""
    rng = np.random.default_rng(3)
    count = 0
    for _ in range(runs):
        scores = law(rng, n + horizon).tolist()
        test = Drift(bundle_of(scores[:n]), false_alarm_rate=RATE)
        count += any(test.update(score) for score in scores[n:])
    return count / runs


LAWS = {
    "lognormal": lambda rng, m: rng.lognormal(0, 0.5, m),
    "ties": lambda rng, m: rng.integers(0, 4, m).astype(float),
}


def test_urn_by_hand():
    assert urn_p_value([0, 0, 0, 0], 3, 1.0) == 1 / 4  # the top gap, no frame seen
    assert urn_p_value([0, 0, 0, 0], 0, 1.0) == 1.0
    assert urn_p_value([2, 0, 1, 0], 1, 0.5) == (2 + 1 + 0.5) / 7  # gaps weigh 3 1 2 1
    assert urn_p_value([2, 0, 1, 0], 0, 0.25) == (2 + 1 + 1 + 0.75) / 7


def test_the_urn_is_the_chance_of_the_gap_of_the_next_score():
    """Of 3 old, 2 earlier and a new uniform score, all orders are equally likely: counted."""
    rng = np.random.default_rng(4)
    draws = rng.random((60_000, 6))
    old = np.sort(draws[:, :3], axis=1)
    gaps = (draws[:, 3:, None] > old[:, None, :]).sum(axis=2)
    seen = (gaps[:, 0] == 3) & (gaps[:, 1] == 3)  # both earlier ones over all old ones
    top = (gaps[seen, 2] == 3).mean()
    assert top == pytest.approx(urn_p_value([0, 0, 0, 2], 3, 1.0), abs=0.02)  # 3 in 6; 4 sigma


@pytest.mark.parametrize("law", LAWS)
def test_false_alarms_are_as_rare_as_stated(law):
    assert alarms(LAWS[law]) <= BOUND


def test_p_values_against_the_calibration_scores_alone_would_break_the_rate(monkeypatch):
    """The planted bug: what earlier frames showed of the gaps is not used."""

    def fixed(counts: list[int], gap: int, u: float) -> float:
        return (len(counts) - gap - 1 + u) / len(counts)

    monkeypatch.setattr(drift, "urn_p_value", fixed)
    assert alarms(LAWS["lognormal"]) > 1.5 * BOUND


def test_ties_that_are_not_broken_by_chance_would_break_the_rate(monkeypatch):
    """The planted bug: equal scores always fall below the calibration's."""
    drawn = drift._uniforms
    monkeypatch.setattr(drift, "_uniforms", lambda index: (0.5, drawn(index)[1]))
    assert alarms(LAWS["ties"], n=99, runs=40) > 1.5 * BOUND


def test_defects_up_to_the_stated_share_are_no_drift():
    """Every tenth frame is a defect; the calibration's own 5 % come on top: under 20 %."""

    def law(rng: np.random.Generator, m: int) -> np.ndarray:
        scores = rng.lognormal(0, 0.5, m)
        scores[19:][rng.random(m - 19) < 0.1] += 100
        return scores

    assert alarms(law) <= BOUND


def delay(change: Any, before: int, n: int = 100) -> list[tuple[int, str]]:
    """(frames from the change to the alarm, its name) of 10 runs at a rate of 1 %."""
    found = []
    for seed in range(10):
        rng = np.random.default_rng(100 + seed)
        test = Drift(bundle_of(rng.normal(10, 1, n), 0.05))
        assert not any(test.update(s) for s in rng.normal(10, 1, before))
        for frames, score in enumerate(rng.normal(10, 1, 2000), 1):
            finding = test.update(change(score))
            if finding:
                found.append((frames, finding.name))
                break
    return found


@pytest.mark.parametrize(
    ("change", "name", "most"),
    [
        (lambda s: s + 1, "rising", 400),
        (lambda s: s - 1, "falling", 100),
        (lambda s: s + 5, "anomalies", 20),
        (lambda s: s - 5, "falling", 20),
    ],
)
@pytest.mark.parametrize("before", [0, 500])
def test_a_change_is_found_soon_and_named(change, name, most, before):
    found = delay(change, before)
    assert len(found) == 10
    assert np.median([frames for frames, _ in found]) <= most
    names = [kind for _, kind in found]
    assert names.count(name) >= 7 or (name == "rising" and "falling" not in names)


def test_an_alarm_says_what_it_saw_and_stays():
    test = Drift(bundle_of(range(40)))
    finding = None
    while finding is None:
        finding = test.update(-1.0)
    assert finding.name == "falling" and finding.frames == 1
    assert "lower than the calibration images" in finding.reason and "0.01" in finding.reason
    again = test.update(20.0)
    assert again is not None and again.frames == 2
    assert finding.value >= finding.limit == 100


def test_saved_and_resumed_it_is_the_same_test():
    rng = np.random.default_rng(5)
    bundle = bundle_of(rng.normal(size=30))
    scores = rng.normal(0.5, 1, 200).tolist()
    whole, first = Drift(bundle), Drift(bundle)
    for score in scores:
        whole.update(score)
    for score in scores[:77]:
        first.update(score)
    second = Drift.resume(bundle, json.loads(json.dumps(first.state())))
    for score in scores[77:]:
        second.update(score)
    assert second.state() == whole.state()
    assert second.evidence == whole.evidence


def test_resumed_it_goes_on_in_its_precision():
    """Int8 has a calibration of its own: the scores of float32 are another test."""
    rng = np.random.default_rng(6)
    bundle = bundle_of(rng.normal(size=30))
    own = SimpleNamespace(scores=tuple(rng.normal(3, 1, 30).tolist()))
    bundle.manifest.calibration.own["int8"] = own
    test = Drift(bundle, precision="int8")
    for score in rng.normal(3, 1, 50).tolist():
        test.update(score)
    second = Drift.resume(bundle, json.loads(json.dumps(test.state())))
    assert second.update(3.5) == test.update(3.5)
    assert second.state() == test.state()
    with pytest.raises(InputError, match="another calibration"):
        Drift.resume(bundle, {**test.state(), "precision": "float32"})


def test_states_that_do_not_fit():
    bundle = bundle_of(range(30))
    state = Drift(bundle).state()
    with pytest.raises(InputError, match="another calibration"):
        Drift.resume(bundle_of(range(31)), state)
    with pytest.raises(InputError, match="another calibration"):
        Drift.resume(bundle_of(range(30), 0.15), state)
    for change in ({"frames": "many"}, {"counts": [1]}, {"extra": 1}, {"capitals": None}):
        with pytest.raises(InputError, match="damaged"):
            Drift.resume(bundle, {**state, **change})
    with pytest.raises(InputError, match="damaged"):
        Drift.resume(bundle, {})


def test_arguments_that_cannot_be():
    for rate in (0, 1, math.nan):
        with pytest.raises(InputError, match="false_alarm_rate"):
            Drift(bundle_of(range(30)), false_alarm_rate=rate)
    for share in (0.1, 1.0):
        with pytest.raises(InputError, match="anomalous_share"):
            Drift(bundle_of(range(30)), anomalous_share=share)
    with pytest.raises(InputError, match="finite"):
        Drift(bundle_of(range(30))).update(math.nan)
