"""Frames come back as stored; what is not a frame is refused by name."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgead.errors import InputError
from edgead.images import encode_png, list_images, read_image, write_png

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (5, 7, 3), (1, 300, 3)])
def test_png_round_trip(tmp_path: Path, shape: tuple[int, ...], dtype: type) -> None:
    frame = RNG.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    path = tmp_path / "Prüfling № 1 日本.png"
    write_png(path, frame)
    found = read_image(path)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, frame)
    assert list(tmp_path.iterdir()) == [path]


def test_views_are_written_as_they_look(tmp_path: Path) -> None:
    frame = RNG.integers(0, 256, (8, 10, 3), np.uint8)[::-1, ::2]
    frame.setflags(write=False)
    write_png(tmp_path / "a.png", frame)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), frame)


def test_alpha_is_dropped(tmp_path: Path) -> None:
    image = RNG.integers(0, 256, (6, 4, 4), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), image[:, :, :3])


def test_palette_and_one_bit(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow writes palettes; OpenCV cannot")
    rgb = np.zeros((4, 6, 3), np.uint8)
    rgb[:2] = (250, 10, 60)
    image.fromarray(rgb).convert("P", palette=image.Palette.ADAPTIVE).save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_image(tmp_path / "p.png"), rgb[:, :, ::-1])
    bits = rgb[:, :, 0] > 0
    image.fromarray(bits).save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_image(tmp_path / "b.png"), np.uint8(255) * bits)


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".tiff", ".webp", ".ppm"])
def test_other_formats_are_read(tmp_path: Path, suffix: str) -> None:
    frame = np.full((20, 30, 3), (10, 120, 240), np.uint8)
    cv2.imwrite(str(tmp_path / f"a{suffix}"), frame)
    found = read_image(tmp_path / f"a{suffix}")
    assert found.shape == frame.shape
    assert np.abs(found.astype(int) - frame).max() <= 4  # JPEG and WebP lose a little


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff", ".webp"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.97])
def test_truncated(tmp_path: Path, suffix: str, share: float) -> None:
    data = cv2.imencode(suffix, RNG.integers(0, 256, (60, 80, 3), np.uint8))[1].tobytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=r"cut.*(truncated|empty)"):
        read_image(path)


def test_a_jpeg_without_its_end_is_refused(tmp_path: Path) -> None:
    data = cv2.imencode(".jpg", RNG.integers(0, 256, (60, 80, 3), np.uint8))[1].tobytes()
    (tmp_path / "cut.jpg").write_bytes(data[:-2])
    with pytest.raises(InputError, match="truncated"):
        read_image(tmp_path / "cut.jpg")
    (tmp_path / "long.jpg").write_bytes(data + b"camera's trailer")
    assert read_image(tmp_path / "long.jpg").shape == (60, 80, 3)


def test_no_image_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(InputError, match=r"text\.png.*not an image"):
        read_image(tmp_path / "text.png")
    with pytest.raises(InputError, match=r"absent\.png.*No such file"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(InputError, match="directory"):
        read_image(tmp_path)


def test_float_images(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "f.tiff"), np.full((4, 4), 0.5, np.float32))
    with pytest.raises(InputError, match=r"f\.tiff.*float32.*uint8 or uint16"):
        read_image(tmp_path / "f.tiff")


def test_list_images(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpeg", "c.txt", ".hidden.png", "._mac.png"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["a.jpeg", "b.PNG"]
    with pytest.raises(InputError, match="does not exist; expected a folder of images"):
        list_images(tmp_path / "absent")
    with pytest.raises(InputError, match="is a file"):
        list_images(tmp_path / "c.txt")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros(4, np.uint8),
    ],
)
def test_what_png_cannot_hold(array: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected"):
        encode_png(array)


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    write_png(path, np.zeros((4, 4), np.uint8))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_png(path, np.ones((4, 4), np.uint8))
    assert list(tmp_path.iterdir()) == [path]
    assert not read_image(path).any()
