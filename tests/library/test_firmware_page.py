"""docs/firmware.md: its commands run one after the other, as somebody types them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import firmware  # type: ignore[import-not-found]
import pytest

PAGE = (firmware.ROOT / "docs/firmware.md").read_text()
RUN = re.compile(r"(make -C|(EDGEAD_\w+=\S+ )+build/|kill )")
WAIT = "until [ -S verdicts ]; do sleep 0.01; done"  # a person takes longer to type


def script() -> str:
    """The shell's lines of the page that need neither a device nor GStreamer, and its client."""
    lines = []
    for kind, text in re.findall(r"(?ms)^```(sh|python)\n(.*?)^```", PAGE):
        if kind == "python":
            lines += [WAIT, f"'{sys.executable}' - <<'END'", text, "END"]
        else:
            commands = [line for line in text.splitlines() if RUN.match(line)]
            lines += [line for line in commands if "gstreamer" not in line]
    return "\n".join([*lines, "wait $!"])


def test_the_page_leads_to_verdicts(installed: Path, bundle_dir: Path, tmp_path: Path) -> None:
    for tool in ("make", "cc", "pkg-config"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    shutil.copytree(firmware.EXAMPLE, tmp_path / "examples/firmware")
    (tmp_path / "build").mkdir()
    (tmp_path / "build/c").symlink_to(installed)
    shutil.copytree(bundle_dir, tmp_path / "part.edgead")
    done = subprocess.run(
        ["bash", "-ec", script()], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert [json.loads(line)["file"] for line in lines] == ["0.png", "1.png", "2.png"]
    seen = re.findall(r"(?m)^(\d+) (True|False)$", done.stdout)
    ids = [int(number) for number, _ in seen]  # from where the client came in, which takes a while
    assert ids == sorted(set(ids)) and ids[-1] >= 20 and all(number < 20 for number in ids[:-1])
    assert done.stderr.count("serves ") == 3 and "from the next frame on" in done.stderr
    assert (tmp_path / "image/usr/bin/edgead-camera").is_file()
    unit = (tmp_path / "image/usr/lib/systemd/system/edgead-camera.service").read_text()
    assert "ExecStart=/usr/bin/edgead-camera /etc/edgead/part.edgead /dev/video0" in unit


def test_each_setting_of_the_page_is_one_of_the_service() -> None:
    source = "".join(path.read_text() for path in firmware.EXAMPLE.glob("*.c"))
    assert set(re.findall(r"`(EDGEAD_[A-Z_]+)`", PAGE)) == set(
        re.findall(r'"(EDGEAD_\w+)"', source)
    )


def test_each_build_has_less_than_400_lines_of_code() -> None:
    def code(name: str) -> int:
        lines = (firmware.EXAMPLE / name).read_text().splitlines()
        return sum(
            bool(line.strip()) and not line.lstrip().startswith(("/*", "*")) for line in lines
        )

    shared = sum(map(code, ("main.c", "output.c", "firmware.h")))
    assert all(shared + code(f"{camera}.c") < 400 for camera in ("folder", "v4l2", "gstreamer"))
