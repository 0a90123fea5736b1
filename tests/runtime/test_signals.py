"""Signals after a Detector is gone; each in a process of its own, since failing is a crash.

OpenVINO moves the signal stack of the thread that loads its CPU plugin (see
``edgead.cpu.engine._only_core``); these are the two ways that left a stack unmapped.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

ANOTHER_THREAD = """
detectors = [Detector(path)]
thread = threading.Thread(target=detectors.clear)
thread.start()
thread.join()
"""
OUT_OF_TURN = """
detector = Detector(path)
detector = Detector(path)
del detector
"""
SCRIPT = """
import gc, os, signal, sys, threading
from edgead import Detector
path = sys.argv[1]
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
{ways}
gc.collect()
os.kill(os.getpid(), signal.SIGTERM)
print("alive")
"""


@pytest.mark.parametrize(
    "ways", [ANOTHER_THREAD, OUT_OF_TURN], ids=["another_thread", "out_of_turn"]
)
def test_a_signal_after_a_detector_is_gone_is_handled(bundle_dir, ways):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(ways=ways), str(bundle_dir)],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "handled\nalive\n"), done.stderr
