"""Which files of a folder are images: a model of each kind of entry, and nothing ever waits."""

from __future__ import annotations

import os
import shutil
import socket
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead.errors import InputError
from edgead.images import encode_jpeg, encode_png, expand, look_below, look_in, read_image, sentence
from edgead.images.listing import why_left_out, why_not_searched

IMAGE = encode_png(np.arange(12, dtype=np.uint8).reshape(3, 4))
PICTURE = encode_png(np.zeros((3, 4), np.uint8), "picture")
JPEG = encode_jpeg(np.zeros((8, 8), np.uint8))
FRAME = encode_png(np.ones((3, 4), np.uint8), "frame")

SYSTEM = [
    "@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", ".Trash-1000",
    "$RECYCLE.BIN", "$Recycle.Bin", "System Volume Information", "lost+found", "__MACOSX",
    ".AppleDouble", ".thumbnails", ".ipynb_checkpoints", ".comments", ".sync", ".stversions",
    "~snapshot", ".snapshot", "@tmp", "@sharebin", "found.000", "RECYCLER", "LOST.DIR",
    "Thumbnails", "Network Trash Folder", "Temporary Items", ".git", ".@__thumb", "CANONMSC",
    "@__thumb",
]  # fmt: skip


def _link(target: str):
    return lambda path: path.symlink_to(target)


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the path of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


# A kind of entry: its name without number, how it is made, the reason why it is left out.
KINDS = {
    "png": ("a{}.png", lambda p: p.write_bytes(IMAGE), None),
    "upper case": ("A{}.PNG", lambda p: p.write_bytes(IMAGE), None),
    "text in it": ("t{}.jpg", lambda p: p.write_text("for the reader to refuse"), None),
    "not UTF-8": (os.fsdecode(b"\xff{}.bmp"), lambda p: p.write_bytes(IMAGE), None),
    "long": ("x" * 240 + "{}.png", lambda p: p.write_bytes(IMAGE), None),
    "decomposed": (unicodedata.normalize("NFD", "ä{}.png"), lambda p: p.write_bytes(IMAGE), None),
    "new line": ("n\n{}.tif", lambda p: p.write_bytes(IMAGE), None),
    "text": ("c{}.txt", lambda p: p.write_text("x"), ".txt"),
    "copy": ("a{}.png~", lambda p: p.write_bytes(IMAGE), ".png~"),
    "no suffix": ("README{}", lambda p: p.write_text("x"), "without suffix"),
    "hidden": (".h{}.png", lambda p: p.write_bytes(IMAGE), "hidden"),
    "resource fork": ("._a{}.png", lambda p: p.write_bytes(IMAGE), "hidden"),
    "dangling": ("d{}.png", _link("nowhere.png"), "dangling link"),
    "link to itself": ("self{}.png", lambda p: p.symlink_to(p.name), "dangling link"),
    "pipe": ("f{}.png", os.mkfifo, "not a regular file"),
    "socket": ("s{}.jpg", _socket, "not a regular file"),
    "device": ("dev{}.png", _link("/dev/zero"), "not a regular file"),
    "picture": ("h{}.png", lambda p: p.write_bytes(PICTURE), "picture of edgead"),
    "picture in JPEG": ("h{}.jpg", lambda p: p.write_bytes(JPEG), "picture of edgead"),
    "saved frame": ("g{}.png", lambda p: p.write_bytes(FRAME), "frame that edgead saved"),
}
FOLDERS = ["", "deep/er", "name.png", *SYSTEM[:4]]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(FOLDERS), st.sampled_from(sorted(KINDS))), max_size=12))
def test_every_entry_is_taken_or_counted(tmp_path_factory, entries):
    root = tmp_path_factory.mktemp("tree")
    expected: dict[str, set[Path]] = {"": set(), "below": set()}
    reasons: Counter[str] = Counter()
    systems = set()
    for number, (folder, kind) in enumerate(entries):
        name, make, reason = KINDS[kind]
        path = root / folder / name.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)
        if folder in SYSTEM:
            systems.add(folder)
        elif reason is None:
            expected["below" if folder else ""].add(path)
        else:
            reasons[reason] += 1
    reasons["system folder"] = len(systems)
    found = look_below(root)
    taken = expected[""] | expected["below"]
    saved = {root / KINDS[k][0].format(n) for n, (f, k) in enumerate(entries)
             if k == "saved frame" and not f}  # fmt: skip
    others = reasons["frame that edgead saved"] - len(saved)
    if saved and not taken and not others:  # the folder was named for them
        taken, reasons["frame that edgead saved"] = saved, 0
    assert set(found.images) == taken and found.images == sorted(found.images)
    assert +found.left_out == +reasons
    words = sentence(found.left_out)
    assert words.isprintable() and (str(sum(reasons.values())) in words or not words)
    flat = look_in(root)
    if expected[""]:
        assert set(flat.images) == expected[""]


@pytest.mark.parametrize("name", SYSTEM)
@pytest.mark.parametrize("spell", [str, str.upper, str.lower])
def test_folders_of_systems_are_not_searched(tmp_path, name, spell):
    (tmp_path / spell(name)).mkdir()
    (tmp_path / spell(name) / "a.png").write_bytes(IMAGE)
    assert why_not_searched(tmp_path / spell(name)) in ("hidden", "system folder")
    (tmp_path / "b.png").write_bytes(IMAGE)
    assert look_below(tmp_path).images == [tmp_path / "b.png"]


@pytest.mark.parametrize(
    "name", ["MISC", "misc", "#1", "at@home", "snapshot", "trash", "~a", "100CANON"]
)
def test_folders_of_parts_are_searched(tmp_path, name):
    (tmp_path / name).mkdir()
    assert why_not_searched(tmp_path / name) is None
    (tmp_path / "DCIM").mkdir()
    assert (why_not_searched(tmp_path / name) is None) == (name.lower() != "misc")


def test_links_lead_to_a_folder_once(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/x.png").write_bytes(IMAGE)
    (tmp_path / "a/b/up").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "a")
    found = look_below(tmp_path)
    assert found.images == [tmp_path / "a/b/x.png"]
    assert found.left_out == {"folder read already": 2}


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "dangling", "link to itself"])
def test_what_is_no_file_is_refused_in_a_sentence_when_it_is_named(tmp_path, kind):
    path = tmp_path / "named.png"
    KINDS[kind][1](path)
    with pytest.raises(InputError, match=r"named\.png (is a|:)|cannot read .*named\.png"):
        expand([str(path)])
    with pytest.raises(InputError, match=r"cannot read image .*named\.png"):
        read_image(path)


def test_saved_frames_are_taken_where_they_are_named(tmp_path, bundle_dir):
    (tmp_path / "x.png").write_bytes(FRAME)
    assert look_in(tmp_path).images == [tmp_path / "x.png"]
    assert expand([str(tmp_path / "x.png")]).images == [tmp_path / "x.png"]
    (tmp_path / "y.png").write_bytes(IMAGE)
    assert look_in(tmp_path).images == [tmp_path / "y.png"]
    assert expand([str(tmp_path / "x.png")]).images == [tmp_path / "x.png"]
    (tmp_path / "z.png").write_bytes(PICTURE)
    assert expand([str(p) for p in sorted(tmp_path.iterdir())]).left_out == {"picture of edgead": 1}
    with pytest.raises(InputError, match=r"z\.png is a picture that edgead drew"):
        expand([str(tmp_path / "z.png")])


def test_bundles_are_known_by_what_is_in_them(tmp_path, bundle_dir):
    shutil.copytree(bundle_dir, tmp_path / "renamed")
    (tmp_path / "linked.x").symlink_to(bundle_dir)
    (tmp_path / "a.png").write_bytes(IMAGE)
    found = look_below(tmp_path)
    assert found.images == [tmp_path / "a.png"]
    assert found.left_out == {"bundle of edgead": 2}
    for look in (look_in, look_below):
        with pytest.raises(InputError, match="is a bundle; expected a folder of images"):
            look(bundle_dir)
    assert look_in(bundle_dir / "golden").images  # who names it means it
    (tmp_path / "renamed/manifest.json").unlink()
    os.mkfifo(tmp_path / "renamed/manifest.json")
    look_below(tmp_path)  # does not wait


def test_the_picture_of_an_old_run_has_no_mark(tmp_path):
    (tmp_path / "recovered.png").write_bytes(IMAGE)
    assert why_left_out(tmp_path / "recovered.png") is None
    (tmp_path / "run.json").write_text('{"versions": {"edgead": "0.1.0"}}')
    assert why_left_out(tmp_path / "recovered.png") == "picture of edgead"


def test_the_sentence_counts_the_most_frequent_first():
    left = {".txt": 9, "dangling link": 2, "picture of edgead": 1, ".\x1b[31m": 1, "hidden": 0}
    assert sentence(left) == (
        "13 entries left out: 9 .txt, 2 dangling links, 1 .\\x1b[31m, 1 picture of edgead"
    )
    assert sentence({}) == ""
