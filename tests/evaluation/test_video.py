"""`edgead frames`: whole videos become frames and labels; of anything else nothing is left."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import cv2
import numpy as np
import pytest
from edgead_training.commands.train import read_setting
from edgead_training.data import open_dataset
from edgead_training.methods import METHODS

from edgead.cli.main import main

SIZE = (48, 64)  # height, width
STEP = 6  # grey levels between two frames, far more than MJPG changes a flat one


def film(path, n, first=20):
    """A video of n flat frames, each STEP brighter than the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fourcc = cv2.VideoWriter_fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), fourcc, 5.0, (SIZE[1], SIZE[0]))
    assert writer.isOpened()
    for number in range(n):
        writer.write(np.full((*SIZE, 3), first + STEP * number, np.uint8))
    writer.release()
    return path


@pytest.fixture
def room(tmp_path):
    """Two videos of 12 frames and the labels of the second: frames 4 to 8 are anomalous."""
    film(tmp_path / "a.avi", 12)
    film(tmp_path / "b.avi", 12, first=90)
    labels = np.zeros(12, int)
    labels[4:9] = 1
    (tmp_path / "b.csv").write_text("\n".join(map(str, labels)) + "\n")
    np.save(tmp_path / "b.npy", labels.astype(bool))
    return tmp_path


def run(room, *words):
    """The exit code of `edgead frames WORDS --out ROOM/data`, words with a dot being files."""
    files = [str(room / word) if "." in word else word for word in words]
    return main(["frames", *files, "--out", str(room / "data")])


def brightness(path):
    """Which frame of `film` this is."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image.shape == (*SIZE, 3)
    return image.mean()


def left(room):
    """Everything that is not an input, hidden files too."""
    return sorted(str(p.relative_to(room)) for p in room.rglob("*") if p.suffix not in INPUTS)


INPUTS = {".avi", ".csv", ".mp4", ".npy", ".txt"}


def test_every_third_frame_under_its_own_number(room, capsys):
    assert run(room, "a.avi", "--every", "3") == 0
    files = sorted((room / "data/training/frames/a").iterdir())
    assert [file.name for file in files] == [f"{number:06d}.png" for number in (0, 3, 6, 9)]
    for file, number in zip(files, (0, 3, 6, 9), strict=True):
        assert brightness(file) == pytest.approx(20 + STEP * number, abs=2)
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"read   {room / 'a.avi'}: 12 frames"
    assert out[1] == f"wrote  {room / 'data/training/frames/a'}: 4 frames"
    assert "--minutes 10 --set 'size=[64,64]' --set" in out[2]  # 64 is the least
    assert sorted(p.name for p in (room / "data").iterdir()) == ["training"]


@pytest.mark.parametrize(
    ("shape", "words"),
    [((64, 128), "size=[64,128]"), ((1080, 1920), "size=[144,256]"), ((300, 300), None)],
)
def test_the_next_command_has_the_shape_of_the_frames(tmp_path, capsys, monkeypatch, shape, words):
    """And its settings are such that ARNet takes them."""
    monkeypatch.setitem(globals(), "SIZE", shape)
    film(tmp_path / "a.avi", 2)
    assert run(tmp_path, "a.avi") == 0
    said = shlex.split(capsys.readouterr().out.splitlines()[-1])
    settings = dict(read_setting(said[i + 1]) for i, word in enumerate(said) if word == "--set")
    of_video = {"shrink": 1, "fine": False}
    of_shape = {} if words is None else dict([read_setting(words), ("turns", 2)])
    assert settings == of_shape | of_video
    METHODS["arnet"].from_settings(settings, n_train=2)


@pytest.mark.parametrize("labels", ["b.csv", "b.npy"])
def test_labels_are_thinned_as_the_frames_are(room, labels, capsys):
    assert run(room, "a.avi") == 0
    assert run(room, "b.avi", "--labels", labels, "--every", "2") == 0
    assert "wrote  " + str(room / "data/testing/frames/b") + ": 6 frames, 3 anomalous" in (
        capsys.readouterr().out
    )
    dataset = open_dataset(room / "data")
    assert (dataset.layout, len(dataset.train)) == ("frames", 12)
    assert {s.path.stem: s.is_good for s in dataset.test} == {
        "000000": True, "000002": True, "000004": False,
        "000006": False, "000008": False, "000010": True,
    }  # fmt: skip


def test_several_videos_with_labels_in_their_order(room):
    (room / "a.csv").write_text("1\n" * 12)
    assert run(room, "a.avi", "b.avi", "--labels", "a.csv", "b.csv") == 0
    masks = room / "data/testing/test_frame_mask"
    assert np.load(masks / "a.npy").tolist() == [1] * 12
    assert np.load(masks / "b.npy").tolist() == [0] * 4 + [1] * 5 + [0] * 3


def cut(room):
    """a.avi up to the ninth frame, as a copy that was broken off."""
    data = (room / "a.avi").read_bytes()
    begins = [place.start() for place in re.finditer(b"00dc", data)]
    (room / "cut.avi").write_bytes(data[: begins[9]])  # the first is in the header


def write(name, data):
    return lambda room: (room / name).write_bytes(data)


@pytest.mark.parametrize(
    ("prepare", "words", "said"),
    [
        (cut, ["a.avi", "cut.avi"], "cut.avi stops after 8 of 12 frames: it is cut off"),
        (write("no.mp4", b"no video at all"), ["a.avi", "no.mp4"], "no.mp4 cannot be decoded"),
        (write("no.mp4", b""), ["no.mp4"], "no.mp4 cannot be decoded"),
        (None, ["absent.avi"], "absent.avi is not a file; give the path of a video"),
        (write("b.csv", b"0\n" * 11), ["b.avi", "--labels", "b.csv"], "11 labels and"),
        (write("b.csv", b""), ["b.avi", "--labels", "b.csv"], "0 labels and"),
        (write("b.csv", b"0\n2\n"), ["b.avi", "--labels", "b.csv"], "label 2 of"),
        (write("b.csv", b"\xff\xfe"), ["b.avi", "--labels", "b.csv"], "is not a text file"),
        (write("b.npy", b"PK"), ["b.avi", "--labels", "b.npy"], "b.npy cannot be read"),
        (None, ["b.avi", "--labels", "absent.csv"], "cannot read labels"),
        (None, ["a.avi", "b.avi", "--labels", "b.csv"], "1 file of labels for 2 videos"),
        (None, ["a.avi", "--every", "0"], "--every 0 keeps no frame"),
        (lambda room: film(room / "x/a.avi", 2), ["a.avi", "x/a.avi"], "both become"),
    ],
)
def test_bad_input_is_a_sentence_and_leaves_nothing(room, capsys, prepare, words, said):
    if prepare is not None:
        prepare(room)
    before = left(room)
    assert run(room, *words) == 1
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].startswith("edgead: ")
    assert said in captured.err.splitlines()[-1]
    assert left(room) == before


def test_what_was_there_is_kept(room, capsys):
    assert run(room, "a.avi") == 0
    before = left(room)
    assert run(room, "b.avi", "a.avi") == 1
    assert "exists already; remove it" in capsys.readouterr().err
    cut(room)
    assert run(room, "cut.avi") == 1
    assert left(room) == before


def test_decoding_needs_no_torch():
    code = (
        "import sys, edgead_training.commands.frames, edgead_training.data.video\n"
        "print([m for m in ('torch', 'openvino', 'tqdm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
