"""What int8 may cost beside float32 on the same engine, and what it does cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Int8Bounds:
    """What int8 may cost, beside float32 on the same engine; written to the bundle."""

    # Loss of image and of pixel AUROC, at least one pair of images. The project's bar for int8.
    auroc: float = 0.005
    # Synthetic defects that float32 calls anomalous at the bundle's rate and int8 misses, as a
    # share of all; one always may. Faint on purpose: many lie at the threshold.
    found: float = 0.1
    # Calibration images whose verdict changes at that rate, likewise. Both precisions flag as many.
    verdicts: float = 0.05
    # Largest difference on a calibration image or golden frame, as a share of the spread of good
    # scores and of their maps' peaks. Beyond, the golden frames would prove nothing.
    score: float = 1.0
    map: float = 1.0
    # Tie tolerance of two int8 engines, as a share of these largest differences: OpenVINO and
    # onnxruntime differ by 0.26 in the score, 0.19 in the map (AGPNet, bottles).
    ties: float = 0.3
    # Of the tolerance over the largest differences.
    margin: float = 1.3


INT8_BOUNDS = Int8Bounds()


@dataclass(frozen=True)
class Cost:
    """int8 beside float32 on calibration images and on synthetic defects in them.

    Its names are keys of the manifest; pairs are (float32, int8).
    """

    score_largest: float  # difference on a calibration image or golden frame
    map_largest: float
    score_spread: float  # of the calibration images, in float32
    map_spread: float
    found: tuple[int, int]  # synthetic defects called anomalous
    painted: int  # synthetic defects
    verdicts_changed: int  # on calibration images
    images: int


def faults(cost: Cost, bounds: Int8Bounds) -> list[str]:
    """What is over a bound, each as a clause with both numbers; AUROC is not in it."""
    found = []
    lost, most = cost.found[0] - cost.found[1], max(1, int(bounds.found * cost.painted))
    if lost > most:
        found.append(
            f"{lost} synthetic defects of {cost.painted} are no longer found, allowed {most}"
        )
    most = max(1, int(bounds.verdicts * cost.images))
    if cost.verdicts_changed > most:
        found.append(
            f"{cost.verdicts_changed} of {cost.images} verdicts on calibration images change, "
            f"allowed {most}"
        )
    for what, largest, share, scale in (
        ("score", cost.score_largest, bounds.score, cost.score_spread),
        ("map", cost.map_largest, bounds.map, cost.map_spread),
    ):
        if not largest <= share * scale:
            found.append(
                f"the {what} differs by {largest:.3g}, allowed {share * scale:.3g} ({share:g} "
                "times the spread of the calibration images)"
            )
    return found
