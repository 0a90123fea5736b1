"""Training and calibration: categories in the same share, parts kept together, few shots."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from edgead_training.data import Sample, count_parts, split
from edgead_training.data.splitting import check_rate_of_parts
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead.errors import CalibrationError, DataError

EXPOSURES = r"_num_(\d+)"


def _samples(n: int, category: str = "") -> list[Sample]:
    names = [f"{category}/train/good/{i:03}.png".lstrip("/") for i in range(n)]
    return [Sample(path=f"/x/{name}", name=name, category=category) for name in names]


def _exposures(parts: dict[int, int], category: str = "") -> list[Sample]:
    """``{part: exposures}``: images exp1_num_7.jpg, exp2_num_7.jpg, ..."""
    names = [f"exp{e}_num_{part}.jpg" for part, n in parts.items() for e in range(1, n + 1)]
    names = [f"{category}/{name}".lstrip("/") for name in names]
    return [Sample(path=f"/x/{name}", name=name, category=category) for name in names]


def _part_of(sample: Sample) -> tuple[str, str]:
    return sample.category, re.search("num_([0-9]+)", sample.name)[1]


# ------------------------------------------------------------------------------------- categories


@settings(max_examples=40)
@given(sizes=st.lists(st.integers(2, 40), min_size=1, max_size=3), seed=st.integers(0, 9),
       fraction=st.floats(0.05, 0.95))  # fmt: skip
def test_every_category_is_divided_in_the_same_share(sizes, seed, fraction):
    samples = [s for i, n in enumerate(sizes) for s in _samples(n, f"category{i}")]
    train, calibration = split(samples, seed, fraction)
    assert Counter(train + calibration) == Counter(samples)  # none lost, none twice
    held_out = Counter(s.category for s in calibration)
    for index, n in enumerate(sizes):
        found = held_out[f"category{index}"]
        assert 1 <= found <= n - 1
        assert abs(found - n * fraction) <= 0.5 or found in (1, n - 1)


def test_a_category_does_not_change_how_another_is_divided():
    bottle, cable = _samples(30, "bottle"), _samples(9, "cable")
    together = split(bottle + cable, 3)[1]
    assert [s for s in together if s.category == "bottle"] == list(split(bottle, 3)[1])


def test_a_category_of_one_image_is_named():
    with pytest.raises(DataError, match=r"1 good image.* of cable cannot be divided"):
        split(_samples(9, "bottle") + _samples(1, "cable"), 0)


# ------------------------------------------------------------------------------------------- parts


@settings(max_examples=40)
@given(parts=st.dictionaries(st.integers(0, 999), st.integers(1, 8), min_size=2, max_size=12),
       seed=st.integers(0, 9), fraction=st.floats(0.05, 0.95))  # fmt: skip
def test_no_part_is_on_both_sides(parts, seed, fraction):
    samples = _exposures(parts, "a") + _exposures(parts, "b")  # the same ids in both categories
    train, calibration = split(samples, seed, fraction, group=EXPOSURES)
    assert Counter(train + calibration) == Counter(samples)
    learnt, held_out = ({_part_of(s) for s in side} for side in (train, calibration))
    assert not learnt & held_out
    assert (count_parts(train, EXPOSURES), count_parts(calibration, EXPOSURES)) == (
        len(learnt), len(held_out),
    )  # fmt: skip
    for category in "ab":
        found = sum(s.category == category for s in calibration)
        expected = sum(parts.values()) * fraction
        largest = max(parts.values())
        # Whole parts: the last one taken goes beyond by less than its size; one part must be left.
        assert found < expected + 0.5 + largest
        assert found >= expected - 0.5 or len([k for k in learnt if k[0] == category]) == 1


def test_the_place_of_a_part_follows_from_its_id_alone():
    few, many = _exposures({7: 1, 8: 2, 9: 1}), _exposures({9: 6, 8: 6, 7: 6})
    sides = [{_part_of(s)[1] for s in split(x, 1, 0.3, group=EXPOSURES)[1]} for x in (few, many)]
    assert sides[0] == sides[1] and len(sides[0]) == 1


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ("_num_[0-9]+", "has no group; put parentheses"),
        ("_num_([0-9]+", "is not a regular expression"),
        ("_part_([0-9]+)", r"does not say which part exp1_num_1\.jpg shows"),
        ("_(num)_", "show one part by --group.*at least two parts.*remove --group"),
    ],
)
def test_an_expression_that_does_not_fit(group, said):
    with pytest.raises(DataError, match=said):
        split(_exposures({1: 2, 2: 2}), 0, group=group)


# ------------------------------------------------------------------------------------------- shots


def test_few_shots_are_chosen_by_seed_and_nested():
    samples = _samples(50)
    train, calibration = split(samples, 4)
    four, two = (split(samples, 4, shots=k) for k in (4, 2))
    assert (len(four[0]), len(two[0])) == (4, 2)
    assert set(two[0]) < set(four[0]) < set(train)
    assert four[1] == two[1] == calibration  # so that figures of several K can be compared
    assert four[0] != split(samples, 5, shots=4)[0]
    assert four[0] != train[:4]  # drawn, not the first by name


def test_shots_count_for_every_category():
    samples = _samples(20, "bottle") + _samples(10, "cable")
    train, _ = split(samples, 0, shots=2)
    assert Counter(s.category for s in train) == {"bottle": 2, "cable": 2}


def test_more_shots_than_images_and_none():
    with pytest.raises(DataError, match=r"--shots 9 is more than the 8 good images .* after 2 are"):
        split(_samples(10), 0, shots=9)
    assert len(split(_samples(10), 0, shots=8)[0]) == 8
    with pytest.raises(DataError, match=r"8 good images of cable.*--shots 8 or less"):
        split(_samples(30, "bottle") + _samples(10, "cable"), 0, shots=9)
    with pytest.raises(DataError, match="at least 1"):
        split(_samples(10), 0, shots=0)


@pytest.mark.parametrize(("rate", "parts"), [(None, 1), (0.05, 19), (1 / 3, 2), (0.5, 1)])
def test_a_rate_that_the_parts_can_promise_is_taken(rate, parts):
    check_rate_of_parts(rate, parts)


def test_a_rate_below_one_of_the_parts_and_one_more_names_the_best_possible():
    """Of 12 parts the best is 1/13 = 0.0769...; 0.01 takes 99, of which the best is 1/100."""
    said = r"with 12 parts .* best possible is 0\.07693, and 0\.01 takes 99 parts; .*--calibration"
    with pytest.raises(CalibrationError, match=said):
        check_rate_of_parts(0.01, 12)
    check_rate_of_parts(0.01, 99)
