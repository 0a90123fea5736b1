"""The settings of the pages and the examples are read as they stand."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edgead.live.line_file import read_line_file
from edgead.live.outlets import Outlets

ROOT = Path(__file__).resolve().parents[3]
PAGES = [
    "several-cameras",
    "sinks",
    "records",
    "recipe-basler-mqtt",
    "recipe-gige-opcua",
    "recipe-rtsp-webhook",
]


@pytest.mark.parametrize("page", PAGES)
def test_the_line_toml_of_a_page_is_read_with_its_sinks(page, tmp_path, certificates):
    for package in ("paho.mqtt", "asyncua", "pymodbus", "urllib3"):
        pytest.importorskip(package)
    text = (ROOT / "docs" / f"{page}.md").read_text()
    blocks = re.findall(r"```text\n(?:# line.toml\n)?(\[.*?)```", text, re.DOTALL)
    assert blocks
    (tmp_path / "ca.pem").write_bytes(Path(certificates.ca).read_bytes())
    for name in ("broker.password", "plc.password", "mes.token"):
        (tmp_path / name).write_text("s3cret\n")
    camera = '[[camera]]\nname = "a"\nsource = "0"\nbundle = "a.edgead"\n'
    for block in blocks:
        moved = block.replace("/etc/edgead/", f"{tmp_path}/").replace("/var/lib", str(tmp_path))
        (tmp_path / "line.toml").write_text(("" if "[[camera]]" in block else camera) + moved)
        file = read_line_file(tmp_path / "line.toml")
        found = Outlets().fresh(file)
        assert set(found) == set(re.findall(r"^\[sink\.(\w+)\]", block, re.MULTILINE))
        assert (file.records is not None) == ("[records]" in block)


def test_the_unit_of_systemd_is_one(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    text = (ROOT / "examples" / "line" / "edgead-line.service").read_text()
    copy = tmp_path / "edgead-line.service"
    copy.write_text(text.replace("/opt/edgead/bin/edgead", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True)
    assert "edgead-line" not in done.stderr, done.stderr
