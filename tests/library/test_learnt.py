"""Bundles that compare with what was learnt: C says what Python says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beside_python import array_of, same  # type: ignore[import-not-found]
from signal_bundles import write_with_signals  # type: ignore[import-not-found]

from edgead import Detector
from edgead.bundle.ignore_mask import IgnoreMask
from edgead.bundle.storage import Bundle, write_bundle
from edgead.editing.masking import masked
from edgead.tiling import Tiling

sys.path.insert(0, str(Path(__file__).parents[1] / "learning"))

import good_parts as parts  # type: ignore[import-not-found]

KINDS = ("aligned", "loose", "filling", "one image", "more channels", "in tiles")


def both_say_the_same(library: Any, path: Path, frames: list[np.ndarray]) -> None:
    with library.serving(path) as session, Detector(path, device="cpu", threads=1) as detector:
        for frame in frames:
            same(session, detector, frame, "BGR", 0)
            assert 0 < detector.score(frame).score < np.inf  # or it has shown nothing


@pytest.mark.parametrize("seed", range(12))
def test_memories_and_whitenings_of_every_kind(
    library: Any, tiny: Any, tmp_path: Path, make_frame: Any, make_graph: Any, seed: int
) -> None:
    path = write_with_signals(tiny, tmp_path / "b.edgead", seed, make_graph if seed % 3 else None)
    rng = np.random.default_rng(seed)
    frames = [array_of(rng, "BGR", (60, 45), 8), make_frame(seed), make_frame(seed + 1)]
    both_say_the_same(library, path, [*frames, frames[1]])


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """Bundles of ``edgead learn``: each way in which a part lies, few images, more channels."""
    pytest.importorskip("torch", reason="a backbone is made with the extra edgead[train]")
    from edgead.learning.backbone import read_backbone
    from edgead.learning.good_image import GoodImage
    from edgead.learning.learn import LearnOptions, learn

    folder = tmp_path_factory.mktemp("learnt")
    small, separable = folder / "small.onnx", folder / "separable.onnx"
    parts.write_small_backbone(small)
    parts.write_separable_backbone(separable)
    images = [GoodImage(str(i), lambda i=i: parts.part(i)) for i in range(24)]

    def made(name: str, backbone: Path, few: int, **options: Any) -> Bundle:
        chosen = LearnOptions(size=(64, 64), memory=200, **options)
        backbone_read = read_backbone(backbone)
        out = folder / f"{name}.edgead"
        return learn(images[:few], images[18:], backbone_read, out, chosen)

    return {
        **{
            placement: made(placement, small, 18, placement=placement)
            for placement in ("aligned", "loose", "filling")
        },
        "one image": made("one", small, 1),
        "more channels": made("more", separable, 18, placement="filling"),
        "in tiles": made("tiles", small, 18, tiling=Tiling((48, 48), 8)),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_bundles_of_edgead_learn(library: Any, learnt: dict[str, Bundle], kind: str) -> None:
    """Their golden frames are reproduced too, or C would not open them."""
    rng = np.random.default_rng(6)
    frames = [parts.part(77), parts.scratched(78), array_of(rng, "BGR", (50, 70), 8)]
    both_say_the_same(library, learnt[kind].path, frames)


def test_an_ignore_mask_counts_in_both_sums(
    library: Any, learnt: dict[str, Bundle], tmp_path: Path
) -> None:
    mask = IgnoreMask((80, 96), (((0.0, 0.0), (96.0, 0.0), (96.0, 30.0), (0.0, 30.0)),))
    draft = masked(learnt["filling"], mask, None)
    write_bundle(tmp_path / "masked.edgead", draft.manifest, draft.files)
    both_say_the_same(library, tmp_path / "masked.edgead", [parts.part(77), parts.scratched(78)])
