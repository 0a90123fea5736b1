"""What became slower since an older JSON file of edgead-bench, beyond noise."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgead.bench.samples import ratio_interval
from edgead.bench.trust import BEYOND
from edgead.errors import InputError
from edgead.monitoring.percentiles import percentile, rank

SCHEMA = 1  # of the JSON file
MARGIN = 0.02  # below, a change is not worth a failed build, however certain it is
UNLIKE = ("noisy machine", "steal", "drift", "clocks")  # what one run has and the other lacks
IDENTITY = ("bundle_sha256", "device", "precision", "version", "kernels", "processor", "cores")
NOTED = {"identity": IDENTITY, "settings": ("threads", "color", "warm_up", "frames")}


@dataclass(frozen=True)
class Change:
    """A percentile of a scope, then and now. ``verdict``: slower, faster, same or too few samples.

    ``ratio`` is now / then, with the ends of its 99 % interval; None with too few samples.
    """

    scope: str
    percent: float
    old_ms: float
    new_ms: float
    ratio: float | None
    low: float | None
    high: float | None
    verdict: str


def read_old(path: Path) -> dict[str, Any]:
    """The JSON object that edgead-bench wrote to ``path``.

    Raises:
        InputError: no such file, damaged, of another version, measured in batches.
    """
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"--compare {path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"--compare {path} is not valid JSON ({error}): it was cut short or is another file; "
            f"expected one that edgead-bench --json wrote"
        ) from error
    version = found.get("schema_version") if isinstance(found, dict) else None
    if version is None or (version == SCHEMA and "scopes" not in found):
        raise InputError(
            f"--compare {path} is JSON, but not a result of edgead-bench: expected a file that "
            f"edgead-bench --json wrote"
        )
    if version != SCHEMA:
        raise InputError(
            f"--compare {path} has schema_version {version!r}, this edgead-bench reads {SCHEMA}: "
            f"measure the old bundle again with this version"
        )
    try:
        if not {"end_to_end", "network"} <= set(_samples(found)):
            raise ValueError("it lacks a scope")
        for samples in _samples(found).values():
            if not samples or not all(0 < float(ms) < math.inf for ms in samples):
                raise ValueError("its samples are not latencies")
        _ = list(found["warnings"])
        batch = found["settings"].get("batch", 1)  # an option that edgead-bench once had
        _ = [found[part].get(key) for part, keys in NOTED.items() for key in keys]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"--compare {path} is damaged ({error}): expected a file that edgead-bench --json wrote"
        ) from error
    if batch != 1:
        raise InputError(
            f"--compare {path} has samples of {batch} frames each, expected samples of one: "
            "measure the old bundle again with this version"
        )
    return found  # type: ignore[no-any-return]


def changes(new: Mapping[str, Any], old: Mapping[str, Any], percent: float) -> Iterator[Change]:
    """The median and ``percent``, in (0, 100], of each scope that both files have."""
    now, then = _samples(new), _samples(old)
    for scope in now:
        for expected in dict.fromkeys((50.0, percent)):
            if scope in then:
                yield _change(scope, expected, now[scope], then[scope])


def differences(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[str]:
    """What else is not the same, and may be why: "threads was 1, now 2"."""
    for part, keys in NOTED.items():
        for key in keys:
            before, now = old[part].get(key), new[part].get(key)
            if before != now:
                yield f"{key} was {_short(before)}, now {_short(now)}"
    for when, found in (("old", old), ("new", new)):
        words = {str(warning).partition(":")[0] for warning in found["warnings"]} & set(UNLIKE)
        if words:
            yield (
                f"the {when} run has doubts ({', '.join(sorted(words))}): the intervals know "
                f"nothing of such noise; to cancel it, measure both bundles in one run"
            )


def _samples(found: Mapping[str, Any]) -> dict[str, list[float]]:
    """Samples by scope; the open loop's scope has its cadence in its name."""
    samples = {name: part["samples_ms"] for name, part in found["scopes"].items()}
    loop = found["open_loop"]
    if loop is not None:
        samples[f"open loop at {loop['hz']:g} Hz"] = loop["latency"]["samples_ms"]
    return samples


def _change(scope: str, percent: float, now: list[float], then: list[float]) -> Change:
    new_ms, old_ms = percentile(now, percent), percentile(then, percent)
    if min(len(s) - rank(percent, len(s)) for s in (now, then)) < BEYOND:
        return Change(scope, percent, old_ms, new_ms, None, None, None, "too few samples")
    found = ratio_interval(now, then, percent)
    verdict = "same"
    if found.low > 1 + MARGIN:
        verdict = "slower"
    elif found.high < 1 / (1 + MARGIN):
        verdict = "faster"
    return Change(scope, percent, old_ms, new_ms, *found, verdict)


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:12]}…"
