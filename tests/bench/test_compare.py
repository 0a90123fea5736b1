"""--compare: samples whose ratio is known, and files that cannot be compared."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from edgead.bench.compare import changes, differences, read_old
from edgead.errors import InputError


def samples(seed: int, factor: float = 1.0, count: int = 1000) -> list[float]:
    return (factor * np.random.default_rng(seed).lognormal(2, 0.1, count)).tolist()


def report(end_to_end: list[float], **more) -> dict:
    part = {"samples_ms": end_to_end}
    found = {
        "schema_version": 1,
        "identity": {"device": "CPU: x", "bundle_sha256": "a" * 64},
        "settings": {"threads": 1},
        "scopes": {"network": part, "end_to_end": part},
        "open_loop": None,
        "warnings": [],
    }
    return {**found, **more}


def verdicts(new, old, percent=99) -> dict:
    return {
        (change.scope, change.percent): change.verdict
        for change in changes(report(new), report(old), percent)
        if change.scope == "end_to_end"
    }


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.1, "slower"), (1 / 1.1, "faster"), (1.0, "same"), (1.005, "same")]
)
def test_what_is_known_to_be_slower_is_called_so(factor, verdict):
    assert verdicts(samples(2, factor), samples(1))["end_to_end", 50] == verdict


def test_a_slower_tail_is_not_a_slower_median():
    slow_tail = [ms * (3 if n % 40 == 0 else 1) for n, ms in enumerate(samples(2))]
    found = verdicts(slow_tail, samples(1))
    assert found == {("end_to_end", 50): "same", ("end_to_end", 99): "slower"}


def test_noise_is_not_called_slower():
    """Sixty pairs of runs of one thing. At 99 %, and with the margin, more than two are a defect:
    the chance of three false alarms in sixty at 0.5 % each is 1 in 300, and the seeds are fixed."""
    found = [
        verdicts(samples(n, count=100), samples(1000 + n, count=100), 50)["end_to_end", 50]
        for n in range(60)
    ]
    assert found.count("slower") <= 2


@pytest.mark.parametrize(("factor", "verdict"), [(1.01, "same"), (1.03, "slower")])
def test_a_certain_change_below_the_margin_is_not_worth_a_failed_build(factor, verdict):
    """A spread of 0.1 %: the interval excludes 1 in both cases."""

    def steady(seed):
        return np.random.default_rng(seed).normal(10, 0.01, 1000)

    change = next(changes(report(list(factor * steady(1))), report(list(steady(2))), 50))
    assert change.low > 1.005
    assert change.verdict == verdict


def test_ratio_and_ends_by_hand():
    change = next(changes(report(samples(1, 2.0)), report(samples(1)), 50))
    assert change.new_ms == pytest.approx(2 * change.old_ms)
    assert change.ratio == pytest.approx(2)
    assert change.low < 2 < change.high < 2.1


def test_a_percentile_without_samples_above_it_is_not_judged():
    found = verdicts(samples(2, 5.0, count=999), samples(1), 99)
    assert found == {("end_to_end", 50): "slower", ("end_to_end", 99): "too few samples"}


def loop(hz):
    return {"hz": hz, "latency": {"samples_ms": samples(3)}}


def test_open_loops_of_different_cadence_are_not_compared():
    for hz, compared in ((30, True), (25, False)):
        new = report(samples(1), open_loop=loop(hz))
        old = report(samples(1), open_loop=loop(30))
        scopes = {change.scope for change in changes(new, old, 99)}
        assert ("open loop at 30 Hz" in scopes) is compared


def test_what_else_differs_is_said():
    old, new = report(samples(1)), report(samples(1))
    assert list(differences(new, old)) == []
    new["settings"] = {"threads": 2}
    new["identity"] = {"device": "CPU: x", "bundle_sha256": "b" * 64}
    old["warnings"] = ["drift: x", "few samples: y"]
    found = list(differences(new, old))
    assert found[:2] == [
        f"bundle_sha256 was {'a' * 12}…, now {'b' * 12}…",
        "threads was 1, now 2",
    ]
    assert found[2].startswith("the old run has doubts (drift): ")


def test_a_good_file_is_read(tmp_path):
    path = tmp_path / "old.json"
    path.write_text(json.dumps(report(samples(1))))
    assert read_old(path) == report(samples(1))


def without(key):
    def change(found):
        del found[key]

    return change


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda found: found.update(schema_version=2), "schema_version 2, this edgead-bench reads"),
        (without("schema_version"), "not a result of edgead-bench"),
        (without("scopes"), "not a result of edgead-bench"),
        (without("settings"), "is damaged ('settings')"),
        (without("open_loop"), "is damaged ('open_loop')"),
        (without("warnings"), "is damaged ('warnings')"),
        (lambda found: found.update(open_loop=[]), "is damaged"),
        (lambda found: found["scopes"].pop("network"), "it lacks a scope"),
        (lambda found: found["scopes"]["network"].update(samples_ms=[]), "not latencies"),
        (lambda found: found["scopes"]["network"].update(samples_ms=[1, -1]), "not latencies"),
        (lambda found: found["scopes"]["network"].update(samples_ms=["x"]), "is damaged"),
        (lambda found: found["scopes"]["network"].update(samples_ms=7), "is damaged"),
        (lambda found: found.update(identity=3), "is damaged"),
        (lambda found: found["settings"].update(batch=4), "samples of 4 frames each"),
    ],
)
def test_files_that_cannot_be_compared(tmp_path, damage, said):
    found = copy.deepcopy(report(samples(1, count=30)))
    for name in ("network", "end_to_end"):
        found["scopes"][name] = dict(found["scopes"][name])
    damage(found)
    path = tmp_path / "old.json"
    path.write_text(json.dumps(found))
    with pytest.raises(InputError) as error:
        read_old(path)
    assert said in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"schema_ver', "was cut short"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"[1]", "not a result of edgead-bench"),
        (b'{"schema_version": 1, "name": "a bundle\'s manifest"}', "not a result of edgead-bench"),
        (b"", "not valid JSON"),
    ],
)
def test_files_that_are_something_else(tmp_path, content, said):
    path = tmp_path / "old.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_old(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_old(tmp_path / "absent.json")
