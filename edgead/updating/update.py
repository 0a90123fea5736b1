"""An update from fetch to confirmation, each step of which leaves a bundle that serves."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgead import _cpu
from edgead.bundle.storage import Bundle, open_bundle
from edgead.detector import Detector
from edgead.errors import (
    DeviceError,
    EdgeadError,
    QualificationError,
    RolledBackError,
    SignatureError,
    UpdateError,
)
from edgead.files import in_words, scarcity
from edgead.signing.trust import check_signature
from edgead.updating.fetching import Fetched, Offer, fetch, read_offer
from edgead.updating.shadow import Shadow, shadow
from edgead.updating.slots import Slots, Trial
from edgead.updating.sources import Source

STEPS = (
    "offer", "fetch", "verify", "qualify", "shadow", "fill", "trial", "switch", "health", "confirm",
    "done",
)  # fmt: skip
"""In their order; ``Options.on_step`` is told each before it begins."""


class _NoComparisonError(UpdateError):
    """Nothing could be compared here, which says nothing about the new bundle."""


@dataclass(frozen=True)
class Options:
    """How an update is judged.

    Args:
        engine: arguments of ``Detector``: device, threads, precision.
        frames: images of the shadow period; none: there is none.
        most_changed: share of them that may have another verdict; None: any.
        health: a command and its words, run when the new bundle serves, with ``EDGEAD_BUNDLE`` set;
            another exit code than 0 is a failure.
        health_s: so long it may take.
        by_hand: leave the new bundle on trial, until ``Slots.confirm``.
        again: take a bundle that failed here before.
        most_bytes: of the bundle.
        on_step, progress: are told what happens.
    """

    engine: dict[str, Any]
    frames: Sequence[Path] = ()
    most_changed: float | None = None
    health: tuple[str, ...] = ()
    health_s: float = 60.0
    by_hand: bool = False
    again: bool = False
    most_bytes: int = 4 * 2**30
    on_step: Callable[[str], None] = lambda step: None
    progress: Callable[[str, int, int], None] = lambda what, done, total: None


@dataclass
class Report:
    """What an update did.

    Args:
        slot: that serves now; its bundle's digest, name and counter.
        signed_by: the key that is trusted.
        updated: whether another bundle serves than before.
        on_trial: whether it waits for confirmation.
        fetched, shadow: None where there was none.
        device, precision: of the engine that qualified.
    """

    slot: str
    bundle_sha256: str
    name: str
    counter: int
    signed_by: str
    updated: bool = False
    on_trial: bool = False
    fetched: Fetched | None = None
    shadow: Shadow | None = None
    device: str = ""
    precision: str = ""


def update(slots: Slots, source: Source, trusted: _cpu.TrustedKeys, options: Options) -> Report:
    """Fetch a bundle, and let it serve if it is trusted, newer, qualified and healthy.

    Args:
        slots: of ``opened``.
        source: where the bundle is.
        trusted: keys, one of which has to have signed it.
        options: how it is judged.

    Returns:
        What was done; ``updated`` is False where the bundle serves already.

    Raises:
        SignatureError: it is not trusted, or its counter is lower than that of a bundle before.
        UpdateError: it cannot be fetched, failed here before, or changes too many verdicts; a
            bundle is on trial, with one to return to.
        QualificationError: this device does not reproduce its golden frames.
        DeviceError: this device cannot try it, as without memory; it may be brought again.
        RolledBackError: it served, and its health failed; the bundle before serves again.
    """
    unsettled = _end_old_trial(slots, options)
    options.on_step("offer")
    offer = read_offer(source, trusted)
    report = Report("", offer.sha256, offer.manifest.name, offer.signed.counter, offer.signed.by)
    serving = slots.bundle(slots.serving())
    if serving is not None and serving.sha256 == offer.sha256:
        if unsettled is not None:
            raise unsettled
        report.slot = slots.serving() or ""
        if serving.read_signatures() != offer.signatures:  # as after another key was made
            _check_counter(slots, offer)
            slots.sign_serving(offer.signatures)
        return report
    _check_offer(slots, offer, options)
    options.on_step("fetch")
    here = [bundle for bundle in map(slots.bundle, (slots.serving(), slots.spare())) if bundle]
    report.fetched = fetch(
        offer, slots.incoming, here, options.most_bytes,
        lambda done, total: options.progress("fetching", done, total),
    )  # fmt: skip
    options.on_step("verify")
    incoming = slots.incoming / "bundle"
    bundle = open_bundle(incoming)
    check_signature(bundle, trusted)
    _try(slots, bundle, serving, options, report)
    options.on_step("fill")
    report.slot = slots.fill_spare(incoming)
    options.on_step("trial")
    trial = Trial(report.slot, offer.sha256, report.counter, by_hand=options.by_hand)
    slots.write(replace(slots.state(), trial=trial))
    options.on_step("switch")
    slots.point_at(report.slot)
    report.updated = True
    options.on_step("health")
    _settle(slots, serving is not None, options)
    report.on_trial = options.by_hand
    options.on_step("done")
    return report


def _end_old_trial(slots: Slots, options: Options) -> UpdateError | None:
    """Confirm or take back what an update that was interrupted had let serve.

    Returns: why what serves is not healthy or not confirmed, if nothing is left to return to;
        another bundle then replaces it.
    """
    trial = slots.state().trial
    if trial is None:
        return None
    way_back = slots.bundle(slots.spare()) is not None
    if trial.by_hand:
        waits = f"{slots.folder}: a bundle is on trial (counter {trial.counter})"
        if way_back:  # which the next bundle would take the place of
            raise UpdateError(f"{waits}; end that with --confirm or --back first")
        return UpdateError(
            f"{waits}, and no complete bundle is left to return to: --confirm keeps it, another "
            "bundle replaces it"
        )
    try:
        _settle(slots, way_back, replace(options, by_hand=False))
    except UpdateError as error:
        if way_back:
            raise
        return error
    return None


def _check_offer(slots: Slots, offer: Offer, options: Options) -> None:
    _check_counter(slots, offer)
    failed = slots.state().failed
    if offer.sha256 in failed and not options.again:
        raise UpdateError(
            f"bundle {offer.source.name} failed here before: {failed[offer.sha256]}; --again "
            "tries it once more"
        )


def _check_counter(slots: Slots, offer: Offer) -> None:
    least = slots.state().counter
    if offer.signed.counter < least:
        raise SignatureError(
            f"bundle {offer.source.name} has counter {offer.signed.counter}, and a bundle with "
            f"{least} served here: an older one is not taken; "
            "to take it all the same, sign it with a higher one: edgead sign NAME.edgead --key FILE"
            " --again --counter N"
        )


def _try(
    slots: Slots, bundle: Bundle, serving: Bundle | None, options: Options, report: Report
) -> None:
    """Qualify, and judge the frames beside what serves; a bundle that fails is remembered."""
    options.on_step("qualify")
    try:
        with Detector(bundle, **options.engine) as new:
            report.device, report.precision = new.info()["device"], new.info()["precision"]
            options.on_step("shadow")
            if serving is None or not options.frames:
                return
            with _opened_to_compare(serving, options) as old:
                report.shadow = shadow(
                    old, new, options.frames,
                    lambda done, total: options.progress("comparing", done, total),
                )  # fmt: skip
        _check_shadow(report.shadow, options)
    except _NoComparisonError:
        raise
    except (QualificationError, UpdateError) as error:
        state = slots.state()
        failed = {**state.failed, bundle.sha256: in_words(error)}
        slots.write(replace(state, failed=failed))
        raise
    except (DeviceError, MemoryError) as error:  # as without memory: the bundle may be a good one
        raise DeviceError(
            f"{_sentence(error)}. So this device could not try the bundle to its end: it is not "
            "taken, and may be brought again"
        ) from error


def _sentence(error: Exception) -> str:
    return (isinstance(error, MemoryError) and scarcity(error)) or in_words(error)


def _opened_to_compare(serving: Bundle, options: Options) -> Detector:
    try:
        return Detector(serving, **options.engine)
    except EdgeadError as error:
        raise _NoComparisonError(
            f"--shadow: the bundle that serves cannot be opened to compare with: {error}. Leave "
            "out --shadow to take the new one"
        ) from error


def _check_shadow(found: Shadow, options: Options) -> None:
    if options.most_changed is None:
        return
    if not found.frames:
        name, why = found.unreadable[0]
        raise _NoComparisonError(
            f"none of {len(options.frames)} images of --shadow could be scored; {name}: {why}. "
            "Give frames that both bundles score, or leave out --shadow to take the new one"
        )
    if found.share > options.most_changed:
        raise UpdateError(
            f"{len(found.changed)} of {found.frames} verdicts differ from those of the bundle that "
            f"serves, {found.share:.3g}, and {options.most_changed:g} are allowed: not taken"
        )


def _settle(slots: Slots, way_back: bool, options: Options) -> None:
    """See whether what serves is healthy: confirm it, or go back."""
    try:
        _check_health(slots, options)
    except (EdgeadError, OSError, MemoryError) as error:
        why = _sentence(error)
        if not way_back:
            raise UpdateError(
                f"{slots.folder}: the bundle that serves is not healthy: {why}. No complete "
                "bundle is left to return to, so it stays until the next update"
            ) from error
        of_device = isinstance(error, DeviceError | MemoryError)
        at_fault = isinstance(error, QualificationError) or not of_device
        slots.back(why, at_fault=at_fault)
        again = "" if at_fault else ", and the new one may be brought again"
        raise RolledBackError(
            f"the new bundle served and was not healthy: {why}. The one before serves again{again}"
        ) from error
    if not options.by_hand:
        options.on_step("confirm")
        slots.confirm()


def _check_health(slots: Slots, options: Options) -> None:
    """Open what programs open, and run the command of ``health``."""
    with Detector(slots.current, **options.engine):
        pass
    if not options.health:
        return
    environment = {**os.environ, "EDGEAD_BUNDLE": str(slots.current)}
    said = shlex.join(options.health)
    try:
        done = subprocess.run(
            options.health, env=environment, timeout=options.health_s, check=False,
            stdin=subprocess.DEVNULL,
            stdout=2 if sys.__stderr__ else subprocess.DEVNULL,  # that of edgead is for its own
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise UpdateError(f"--health {said} took longer than {options.health_s:g} s") from error
    except OSError as error:
        raise UpdateError(f"--health {said} cannot be run: {error.strerror}") from error
    if done.returncode:
        raise UpdateError(f"--health {said} ended with {done.returncode}")
