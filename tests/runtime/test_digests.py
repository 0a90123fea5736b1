"""Digests of each stage, against hashlib over arrays that the stages' own doors give."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgead import Detector, InputError
from edgead.bundle.storage import open_bundle
from edgead.engine.digests import Digests, digest
from edgead.preprocess import Preprocessor
from edgead.serving.open_engine import open_engine
from edgead.serving.open_pipeline import open_pipeline


def truth(*arrays: np.ndarray) -> str:
    """The definition in the module's words, written again."""
    found = sha256()
    for array in arrays:
        shape = " ".join(str(n) for n in array.shape)
        found.update(f"{array.dtype} {shape}\n".encode() + array.tobytes())
    return found.hexdigest()


@pytest.fixture(scope="module")
def detector(bundle_dir: Path) -> Detector:
    return Detector(bundle_dir, threads=1, digests=True)


def test_every_stage(detector: Detector, bundle_dir: Path, frame: np.ndarray) -> None:
    result = detector.score(frame)
    bundle = open_bundle(bundle_dir)
    session = open_engine(bundle, "cpu", 1).session()
    image = np.empty((1, 3, *bundle.manifest.preprocess_params().size), np.float32)
    Preprocessor(bundle.manifest.preprocess_params()).run(frame, image[0])
    session.image[:] = image
    pairs = session.infer()
    found = result.digests
    assert found is not None
    assert found.frame == truth(frame)
    assert found.preprocess == truth(image[0])
    assert found.engine == tuple((truth(a), truth(b)) for a, b in pairs)
    assert len({hashed for pair in found.engine for hashed in pair}) == 4
    assert found.anomaly_map == truth(result.map)
    served = {**detector.info(), "color": "bgr", "threads": 1}
    assert found.served == {key: value for key, value in served.items() if key != "chosen"}


def test_without_them_nothing_is_hashed(
    bundle_dir: Path, frame: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Detector(bundle_dir, threads=1) as plain:

        def never(*_: object) -> None:
            raise AssertionError("hashed")

        monkeypatch.setattr("edgead.detector.Hasher", never)
        monkeypatch.setattr("edgead.engine.digests._update", never)
        assert plain.score(frame).digests is None


def test_they_change_no_score(detector: Detector, bundle_dir: Path, frame: np.ndarray) -> None:
    with Detector(bundle_dir, threads=1) as plain:
        result, hashed = plain.score(frame), detector.score(frame)
    assert result.score == hashed.score
    assert np.array_equal(result.map, hashed.map)


def test_a_frame_s_memory_does_not_count_but_its_shape_and_dtype_do() -> None:
    array = np.arange(24, dtype=np.uint16).reshape(4, 6)
    assert digest(array) == truth(array)
    assert digest(np.asfortranarray(array)) == truth(array)
    assert digest(array.astype(">u2")) == truth(array)
    assert digest(array[::2, ::-3]) == truth(array[::2, ::-3].copy())
    others = [array.reshape(6, 4), array.view(np.int16), array.astype(np.uint32), array + 1]
    assert len({digest(one) for one in [array, *others]}) == 5


def test_a_grey_frame_is_the_same_with_one_channel_and_with_none(
    detector: Detector, frame: np.ndarray
) -> None:
    grey = np.ascontiguousarray(frame[:, :, 0])
    one, none = detector.score(grey[:, :, None]).digests, detector.score(grey).digests
    assert one == none
    assert one is not None and one.frame == truth(grey)


@pytest.mark.parametrize("threads", [1, 3])
def test_tiles_go_into_one_digest_in_their_order(
    bundle_copy: Path, edit: Any, frame: np.ndarray, threads: int
) -> None:
    """Two tiles, one beneath the other; the truth scores each of them as a whole frame."""
    tile, tall = frame[:64, :48], np.ascontiguousarray(frame[:90, :48])
    assert tile.shape[:2] == (64, 48)
    with Detector(bundle_copy, threads=1, digests=True) as whole:
        halves = [whole.score(tall[top : top + 64]).digests for top in (0, 26)]
    # Golden frames are smaller than a tile: only the pipeline is asked, not the Detector.
    from edgead.engine.digests import Hasher

    edit(bundle_copy, lambda manifest: manifest.update(tiling={"size": [64, 48], "overlap": 8}))
    bundle = open_bundle(bundle_copy)
    engine = open_engine(bundle, "cpu", threads)
    hasher = Hasher(2)
    found = open_pipeline(bundle, engine).run(tall, hasher)
    digests = hasher.digests(tall, found.map, {})
    preprocess = Preprocessor(bundle.manifest.preprocess_params())
    images = []
    for top in (0, 26):
        image = np.empty((1, 3, 64, 48), np.float32)
        preprocess.run(tall[top : top + 64], image[0])
        images.append(image)
    assert [half and half.preprocess for half in halves] == [truth(image[0]) for image in images]
    assert digests.preprocess == truth(*(image[0] for image in images))
    session, features = engine.session(), []
    for image in images:
        session.image[:] = image
        features.append([(a.copy(), b.copy()) for a, b in session.infer()])
    assert digests.engine == tuple(
        (truth(first[k][0], second[k][0]), truth(first[k][1], second[k][1]))
        for first, second in [features]
        for k in range(2)
    )
    assert digests.anomaly_map == truth(found.map)
    assert found.map.shape[0] > 64


def test_json_and_back(detector: Detector, frame: np.ndarray) -> None:
    digests = detector.score(frame).digests
    assert digests is not None
    assert Digests.from_json(digests.to_json()) == digests


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("frame", "abc", "digests.frame is not a SHA-256"),
        ("preprocess", None, "digests.preprocess is not a SHA-256"),
        ("anomaly_map", "X" * 64, "digests.anomaly_map is not a SHA-256"),
        ("engine", [["0" * 64]], "digests.engine is not a list of pairs"),
        ("engine", None, "digests.engine is not a list of pairs"),
        ("served", {}, "names no bundle"),
        ("served", {"bundle_sha256": "0" * 64, "threads": [1]}, "more than words and numbers"),
    ],
)
def test_damaged_json(
    detector: Detector, frame: np.ndarray, key: str, value: Any, said: str
) -> None:
    digests = detector.score(frame).digests
    assert digests is not None
    with pytest.raises(InputError, match=said):
        Digests.from_json({**digests.to_json(), key: value})


def test_a_saved_frame_has_the_frame_s_digest(
    detector: Detector, frame: np.ndarray, tmp_path: Path
) -> None:
    digests = detector.score(frame).digests
    assert digests is not None
    for suffix, same in ((".png", True), (".jpg", False)):
        cv2.imwrite(str(tmp_path / f"a{suffix}"), frame)
        back = cv2.imread(str(tmp_path / f"a{suffix}"), cv2.IMREAD_UNCHANGED)
        assert (digest(back) == digests.frame) is same
