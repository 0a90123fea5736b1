"""Signals at every moment of a command's life: it ends, with the documented code, in a sentence.

Real processes; the moments are drawn, so that together they are in every phase of a start.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

NUMBERS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
LONGEST_S = 60  # of what takes hundredths of a second
UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc"]


def handles_signals(process_id: int) -> bool:
    """Whether a process has a handler for SIGTERM: Python began to run edgead."""
    try:
        status = Path(f"/proc/{process_id}/status").read_text()
    except OSError:
        return False
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def start(words: list[object], prefix: list[str]) -> tuple[subprocess.Popen[str], int]:
    """The process, once it handles signals, and the number of the one that has to be told."""
    command = [*prefix, sys.executable, "-m", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    inner = process.pid
    while process.poll() is None:
        if prefix:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            inner = int(children[0]) if children else process.pid
        if (inner != process.pid or not prefix) and handles_signals(inner):
            break
        time.sleep(0.0005)
    return process, inner


def stopped(words: list[object], number: int, after_s: float, prefix: list[str]):
    """(exit code as a shell has it, stderr) of a command that is told to stop."""
    process, inner = start(words, prefix)
    time.sleep(after_s)
    with contextlib.suppress(ProcessLookupError):
        os.kill(inner, number)
    try:
        _, err = process.communicate(timeout=LONGEST_S)
    except subprocess.TimeoutExpired:
        os.kill(inner, signal.SIGKILL)
        process.communicate()
        raise
    code = process.returncode
    return (128 - code if code < 0 else code), err


def own_process_1() -> list[str]:
    tried = (
        subprocess.run([*UNSHARE, "true"], capture_output=True) if shutil.which("unshare") else None
    )
    if tried is None or tried.returncode:
        pytest.skip("a process 1 of its own is not permitted here")
    return UNSHARE


def cases(few: int, seed: int) -> list[Any]:
    """(seconds, signal, process 1 of its own), drawn; all but a few are exhaustive."""
    draw = random.Random(seed)
    drawn = [
        (round(draw.uniform(0, 0.6), 3), number, process_1)
        for _ in range(12)
        for number in NUMBERS
        for process_1 in (False, True)
    ]
    draw.shuffle(drawn)
    rest = [pytest.param(*case, marks=pytest.mark.exhaustive) for case in drawn[few:]]
    return [*drawn[:few], *rest]


@pytest.mark.parametrize(("after_s", "number", "process_1"), cases(6, seed=1))
def test_a_watch_ends_at_any_moment(bundle_dir, tmp_path, after_s, number, process_1):
    prefix = own_process_1() if process_1 else []
    words = ["edgead", "watch", tmp_path, "--bundle", bundle_dir]
    code, err = stopped(words, number, after_s, prefix)
    assert "Traceback" not in err
    if code == 0:  # it was watching
        assert err.splitlines()[-1].startswith("done   0 frames")
    else:
        assert code == 128 + number and "done " not in err
        assert not err.strip() or err.endswith("edgead: stopped\n")


@pytest.mark.parametrize("command", ["score", "inspect", "verify", "doctor"])
@pytest.mark.parametrize(("after_s", "number", "process_1"), cases(1, seed=2))
def test_other_commands_end_or_are_done(bundle_dir, after_s, number, process_1, command):
    prefix = own_process_1() if process_1 else []
    words = {"score": [bundle_dir, bundle_dir / "golden"], "doctor": []}.get(command, [bundle_dir])
    code, err = stopped(["edgead", command, *words], number, after_s, prefix)
    assert "Traceback" not in err
    assert code in (0, 1, 2, 128 + number)
    if code == 128 + number:
        assert not err or err.endswith("edgead: stopped\n")


HELD = """
import ctypes, sys
from edgead.cli import signals
signals.GRACE_S = 0.2
def never():  # locks a lock twice: as a driver that does not come back
    lock = ctypes.create_string_buffer(64)
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(lock)
def work():
    print("held", flush=True)
    {how}
    return 0
sys.exit(signals.as_process(work))
"""
NEVER = "never()"
MASKED = """
    with signals.stopping({patience}):
        never()"""
SWALLOWED = """import time
    try:
        time.sleep(1000)
    except BaseException:
        raise ImportError("what some libraries make of it") from None"""
IGNORED = """import time
    try:
        time.sleep(1000)
    except BaseException:
        time.sleep(1000)"""
AT_THE_END = """import atexit, time
    atexit.register(never)
    time.sleep(1000)"""


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    ("how", "signals"),
    [
        (NEVER, 1),
        (MASKED.format(patience=1), 1),
        (MASKED.format(patience=2), 2),
        (SWALLOWED, 1),
        (IGNORED, 1),
        (AT_THE_END, 1),
    ],
)
def test_what_a_library_does_with_a_signal_does_not_hold_the_process(how, signals, number):
    command = [sys.executable, "-c", HELD.format(how=how)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        time.sleep(0.1)  # until it is held
        for _ in range(signals):
            process.send_signal(number)
            time.sleep(0.05)  # two that are pending at once are one
        code = process.wait(LONGEST_S)
        assert code == 128 + number
        assert process.stderr.read() == "edgead: stopped\n"


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_that_comes_in_a_destructor_is_not_lost(number):
    how = """import time
    class Slow:
        def __del__(self):
            time.sleep(1000)
    Slow()
    time.sleep(1000)"""
    with subprocess.Popen(
        [sys.executable, "-c", HELD.format(how=how)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        time.sleep(0.1)
        process.send_signal(number)
        assert process.stderr.read() == "edgead: stopped\n"
    assert process.returncode == 128 + number


def test_a_first_signal_leaves_a_block_its_time():
    how = """import time
    with signals.stopping() as came:
        print("in it", flush=True)
        while not came():
            time.sleep(0.01)
        time.sleep(1.0)  # longer than the grace
        print("finished", flush=True)
        return 7"""
    with subprocess.Popen(
        [sys.executable, "-c", HELD.format(how=how)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() + process.stdout.readline() == "held\nin it\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "finished\n"
    assert process.returncode == 7


def test_a_forked_child_that_is_killed_is_no_signal_of_the_parent():
    how = """import os, signal, time
    child = os.fork()
    if not child:
        time.sleep(1000)
    time.sleep(0.1)
    os.kill(child, signal.SIGTERM)
    assert os.waitpid(child, 0)[1] == signal.SIGTERM
    time.sleep(0.5)"""
    done = subprocess.run([sys.executable, "-c", HELD.format(how=how)], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_nohup_keeps_a_watch_when_the_terminal_is_closed(bundle_dir, tmp_path):
    words = [sys.executable, "-m", "edgead", "watch", str(tmp_path), "--bundle", str(bundle_dir)]
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGHUP, before)
    while "already" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(LONGEST_S) == 0
    process.stderr.close()


def test_a_camera_that_never_answers_holds_no_start(bundle_dir, http_camera):
    """FFmpeg waits for as long as it may; the connection is taken and nothing is sent."""
    stall = threading.Event()
    camera = http_camera([stall])
    words = ["edgead", "watch", camera.url, "--bundle", bundle_dir, "--stall-seconds", 1000]
    command = [sys.executable, "-m", *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not camera.connections:
            time.sleep(0.01)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(LONGEST_S) == 143
        assert time.monotonic() - began < LONGEST_S
    stall.set()


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]])
def test_closed_streams_are_no_files(bundle_dir, closed, tmp_path):
    """What is opened first would otherwise get the number, and what is printed."""
    shell = " ".join(f"{n}{'<' if n == 0 else '>'}&-" for n in closed)
    script = f'exec "$0" -m edgead inspect "$1" --json {shell}'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable, str(bundle_dir)], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "" if 1 in closed else json.loads(done.stdout)
