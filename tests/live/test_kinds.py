"""Kinds of sources: those that packages bring, and what is missing for those of edgead."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgead.errors import DeviceError, InputError
from edgead.live.source import Source, parse_source
from edgead.live.sources import open_reader
from edgead.live.sources.industrial import Losses
from edgead.live.sources.libaravis import aravis
from edgead.live.sources.libgstreamer import gstreamer
from edgead.live.sources.setup import Setup


def test_losses_are_gaps_of_the_camera_s_numbers_over_its_last_one_and_reconnections():
    losses = Losses()
    for number, expected in ((7, 0), (8, 0), (11, 2), (12, 2)):
        losses.note(number, 65535)
        assert losses.frames == expected
    losses.note_packets(3)
    losses.opened()
    losses.note(1, 65535)  # began anew
    losses.note_packets(2)
    assert (losses.frames, losses.packets) == (2, 5)
    losses.opened()
    for number, expected in ((65534, 2), (65535, 2), (1, 2), (4, 4)):  # after the last comes 1
        losses.note(number, 65535)
        assert losses.frames == expected


def test_without_aravis_its_package_is_named(monkeypatch):
    aravis.cache_clear()
    monkeypatch.setattr("ctypes.CDLL", _no_library)
    with pytest.raises(DeviceError, match=r"apt-get install libaravis-0\.8-0"):
        open_reader(Source("aravis", "1", "aravis 1"), Setup())
    gstreamer.cache_clear()
    with pytest.raises(DeviceError, match=r"apt-get install libgstreamer-plugins-base1\.0-0"):
        open_reader(Source("gst", "x", "gst x"), Setup())


def _no_library(name: str) -> None:
    raise OSError(f"{name}: cannot open shared object file")


def test_a_package_brings_a_kind_of_source(tmp_path, bundle_dir, frames):
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "from edgead.live.source import Moment, Reading\n"
        "class Mine:\n"
        "    ends = True\n"
        "    def __init__(self, source, setup):\n"
        "        self.left, self.label = int(source.target), source.label\n"
        "        self.value = setup.options.get('value', 0)\n"
        "    def open(self): return 'mine'\n"
        "    def read(self, stop):\n"
        "        self.left -= 1\n"
        "        if self.left < 0: return None\n"
        "        return Reading(Moment.now(), np.full((70, 90), self.value, np.uint8))\n"
        "    def close(self): pass\n"
    )
    about = tmp_path / "mine-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[edgead.sources]\nmine = mine:Mine\nbroken = none:X\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "edgead", "watch", "--bundle", bundle_dir]
    done = subprocess.run(
        [*command, "mine:1", "--set", "value=7"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frame"] == 0 and "watch  mine 1: mine" in done.stderr
    done = subprocess.run([*command, "broken:1"], capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert "the package that brings it (none:X) cannot be loaded: ModuleNotFound" in done.stderr
    missing = parse_source_error("mine:1")
    assert "mine:1 does not exist" in missing and "pylon:…" in missing


def parse_source_error(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse_source(text)
    return str(caught.value)


def test_a_file_of_that_name_goes_before_a_kind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pylon:1").mkdir()
    assert parse_source("pylon:1").kind == "folder"
