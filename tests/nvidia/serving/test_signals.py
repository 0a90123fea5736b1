"""Bundles that know how the part lies, with sums of their own, on a SIMULATED device; no GPU is
involved."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulated_kernels import Whiten
from simulated_machine import install
from simulation import Device
from test_cuda_kernels import Sources, needs_compiler
from test_memories import learnt_bundle, scratched, varied

from edgead import Detector
from edgead.bundle.ignore_mask import IgnoreMask
from edgead.bundle.storage import Bundle, npy, write_bundle
from edgead.editing.masking import masked
from edgead.engine.digests import Hasher
from edgead.engine.lazy_array import as_array
from edgead.errors import DeviceError, EdgeadError
from edgead.learning.placement import ALIGNED, LOOSE, PLACEMENTS
from edgead.nvidia.distances import DeviceDistances
from edgead.nvidia.geometries import TileMaps
from edgead.nvidia.memories import HeldMemory
from edgead.nvidia.whitenings import HeldWhitening
from edgead.serving.open_engine import open_engine
from edgead.serving.open_pipeline import open_pipeline
from edgead.tiling import Tiling

sys.path.insert(0, str(Path(__file__).parents[2] / "learning"))

from learnt_truth import truth  # type: ignore[import-not-found]


@pytest.fixture(scope="module")
def learnt_as(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """A bundle for each way in which a part can lie."""
    return {
        placement: learnt_bundle(
            tmp_path_factory.mktemp(placement), precisions=("float16",), placement=placement
        )
        for placement in PLACEMENTS
    }


@pytest.fixture(scope="module")
def tiled(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Learnt from tiles, and changed: with shares, and a sum for the score."""
    folder = tmp_path_factory.mktemp("tiled")
    learnt = learnt_bundle(folder, Tiling((48, 40), 8), ("float16",))
    memory, files = learnt.manifest.memories[0], {n: learnt.read(n) for n in learnt.manifest.files}
    counts = np.random.default_rng(3).uniform(1, 4, memory.size).astype(np.float32)
    files |= {"scored.npy": npy(counts), "shares.npy": npy(counts[::-1].copy())}
    memory = replace(memory, scored="scored.npy", shares="shares.npy")
    manifest = replace(learnt.manifest, memories=(memory,))
    return write_bundle(folder / "both.edgead", manifest, files)


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_both_sums_are_those_of_float64(
    device: Device, learnt_as: dict[str, Bundle], placement: str, captured: bool
) -> None:
    bundle = learnt_as[placement]
    assert bundle.manifest.scored_size() is not None  # a sum of its own
    with Detector(bundle, device="cuda", precision="float32") as gpu:
        for seed in (3, 4) if captured else ():
            gpu.score(varied(seed)[:70])
        for frame in (scratched(7)[:70], varied(8)[:70]):
            found, (expected, score) = gpu.score(frame), truth(bundle, frame)
            np.testing.assert_allclose(found.map, expected, rtol=2e-3, atol=2e-4 * expected.max())
            assert found.score == pytest.approx(score, rel=2e-3)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_an_ignore_mask_counts_in_both_sums(
    device: Device, learnt_as: dict[str, Bundle], placement: str, tmp_path: Path
) -> None:
    corners = ((0.0, 0.0), (96.0, 0.0), (96.0, 30.0), (0.0, 30.0))
    draft = masked(learnt_as[placement], IgnoreMask((80, 96), (corners,)), None)
    bundle = write_bundle(tmp_path / "masked.edgead", draft.manifest, draft.files)
    with Detector(bundle, device="cpu") as cpu, Detector(bundle, device="cuda") as gpu:
        found, expected = gpu.score(scratched(7)), cpu.score(scratched(7))
    tolerance = bundle.manifest.tolerance["float16"]
    assert abs(found.score - expected.score) <= tolerance.score
    np.testing.assert_allclose(found.map, expected.map, atol=tolerance.map)


def test_a_sum_of_its_own_in_tiles(device: Device, tiled: Bundle) -> None:
    for size in ((80, 96), (60, 50)):
        frame = scratched(7)[: size[0], : size[1]]
        found, expected = (
            open_pipeline(tiled, open_engine(tiled, name)).run(frame) for name in ("cuda", "cpu")
        )
        assert found.scored is not None and expected.scored is not None
        close = {"rtol": 5e-3, "atol": 5e-3 * float(expected.map.max())}
        np.testing.assert_allclose(found.map, expected.map, **close)
        np.testing.assert_allclose(found.scored, expected.scored, **close)
        assert found.score == pytest.approx(expected.score, rel=5e-3)
        assert abs(found.score - found.map.max()) > 0.05 * found.score


@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_a_blend_of_a_memory(
    device: Device, learnt_as: dict[str, Bundle], tmp_path: Path, distance: str
) -> None:
    """As ReDi and AGPNet have it; of a map that squares, the root is taken."""
    learnt = learnt_as[LOOSE]
    memory = replace(learnt.manifest.memories[0], neighbours=3, temperature=0.4)
    params = replace(learnt.manifest.map, distance=distance)
    manifest = replace(learnt.manifest, memories=(memory,), map=params, own_levels=None)
    files = {name: learnt.read(name) for name in learnt.manifest.files}
    bundle = write_bundle(tmp_path / "blend.edgead", manifest, files)
    outputs = [
        open_pipeline(each, open_engine(each, name, precision="float32")).run(scratched(7))
        for each, name in ((bundle, "cuda"), (bundle, "cpu"), (learnt, "cpu"))
    ]
    found, expected, other = (np.asarray(as_array(one.map)) for one in outputs)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4 * expected.max())
    assert not np.allclose(expected, other, rtol=0.02)


def test_what_fits_counts_the_whitenings(device: Device, learnt_as: dict[str, Bundle]) -> None:
    bundle = learnt_as[ALIGNED]
    (memory,), whitenings = bundle.manifest.memories, bundle.manifest.whitenings
    rows = bundle.read_array(memory.file)
    beside = [memory.places, memory.scored, memory.shares]
    learnt = [n for w in whitenings for n in (w.mean, w.factors, w.centre, w.places, w.scored)]
    places, needed = (
        sum(bundle.read_array(name).nbytes for name in names if name is not None)
        for names in (beside, learnt)
    )
    open_engine(bundle, "cuda")
    each = rows[0].nbytes + len(rows[0])  # and the simulated kernel's bytes beside each
    for left, fits in ((0, 0), (70 * each, 70), (len(rows) * each - 1, len(rows) - 1)):
        whole = device.free_bytes
        device.free_bytes = 1024 + needed + places + left  # the plan takes 1024
        with pytest.raises(DeviceError, match=rf"at most {fits} features fit") as raised:
            open_engine(bundle, "cuda")
        del raised
        device.free_bytes = whole
    whole, device.free_bytes = device.free_bytes, 1024 + needed - 1
    with pytest.raises(DeviceError, match=r"usual at each place takes .* --placement loose"):
        open_engine(bundle, "cuda")
    device.free_bytes = whole


@needs_compiler
def test_through_the_cuda_sources(
    device: Device,
    learnt_as: dict[str, Bundle],
    monkeypatch: pytest.MonkeyPatch,
    once: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """preprocess, nearest, whiten and anomaly_map are the CUDA sources, run on the CPU."""
    bundle = learnt_as[ALIGNED]
    sources = Sources(once, tmp_path, bundle)
    install(monkeypatch, device, twins=sources.twins)
    expected, score = truth(bundle, scratched(7))
    with Detector(bundle, device="cuda", precision="float32") as detector:  # golden frames passed
        found = detector.score(scratched(7))
    assert found.score == pytest.approx(score, rel=2e-3)
    np.testing.assert_allclose(found.map, expected, rtol=2e-3, atol=2e-4 * expected.max())
    assert min(sources.runs.values()) >= 5


def no_shares(patch: pytest.MonkeyPatch) -> None:
    """Features are compared as they are."""
    enqueue = HeldMemory.enqueue
    patch.setattr(
        HeldMemory, "enqueue", lambda self, *given: enqueue(replace(self, shares=None), *given)
    )


def no_centre(patch: pytest.MonkeyPatch) -> None:
    """Nothing is taken off the features."""
    enqueue = HeldWhitening.enqueue
    patch.setattr(
        HeldWhitening, "enqueue", lambda self, *given: enqueue(replace(self, centre=None), *given)
    )


def a_sum_that_goes_on(patch: pytest.MonkeyPatch) -> None:
    """Every frame adds to the sum of the last one."""
    enqueue = HeldMemory.enqueue

    def on(self: Any, features: int, distance: int, total: int, add: bool, *on: int) -> None:
        enqueue(self, features, distance, total, True, *on)

    patch.setattr(HeldMemory, "enqueue", on)


def a_sum_of_the_last(patch: pytest.MonkeyPatch) -> None:
    """The sum begins with each signal."""
    enqueue = HeldWhitening.enqueue

    def anew(self: Any, features: int, distance: int, total: int, add: bool, *on: int) -> None:
        enqueue(self, features, distance, total, False, *on)

    patch.setattr(HeldWhitening, "enqueue", anew)


def the_score_of_the_map(patch: pytest.MonkeyPatch) -> None:
    """The score is pooled from what the map counts."""
    patch.setattr(DeviceDistances, "scored", property(lambda self: self.pairs[:1]))


def no_whitening(patch: pytest.MonkeyPatch) -> None:
    """What whiten finds never arrives."""
    patch.setattr(Whiten, "run", lambda self, **given: None)


BUGS = [
    no_shares,
    no_centre,
    a_sum_that_goes_on,
    a_sum_of_the_last,
    the_score_of_the_map,
    no_whitening,
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_golden_frames_find(
    lawless_device: Device,
    learnt_as: dict[str, Bundle],
    monkeypatch: pytest.MonkeyPatch,
    bug: Callable[[pytest.MonkeyPatch], None],
) -> None:
    bug(monkeypatch)
    with pytest.raises((EdgeadError, AssertionError)):
        Detector(learnt_as[ALIGNED], device="cuda")


def test_the_other_sum_of_tiles_is_noticed(
    device: Device, tiled: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maps and sums of tiles in one another's place."""
    addresses = TileMaps.addresses
    monkeypatch.setattr(TileMaps, "addresses", lambda *given: addresses(*given)[::-1])
    found, expected = (
        open_pipeline(tiled, open_engine(tiled, name)).run(scratched(7)).score
        for name in ("cuda", "cpu")
    )
    assert found != pytest.approx(expected, rel=5e-3)


def test_the_memory_of_a_device_is_given_back(device: Device, learnt_as: dict[str, Bundle]) -> None:
    engine = open_engine(learnt_as[ALIGNED], "cuda")
    before = device.free_bytes
    pipeline = open_pipeline(learnt_as[ALIGNED], engine)
    first, again = pipeline.run(varied(5)).score, pipeline.run(varied(5), Hasher(2)).score
    assert first == again and device.free_bytes < before
    pipeline.close()
    assert device.free_bytes == before
