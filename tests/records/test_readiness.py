"""Whether records could be kept, before a watch is started."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from recorded import a_line, hear

from edgead.files import hold
from edgead.records.readiness import why_not
from edgead.records.store import RecordsSettings


def test_a_folder_that_is_free_or_not_there_yet_is_ready_and_stays_as_it_is(
    open_records, results, tmp_path
):
    records = open_records()
    hear(records, (a_line(0, results[1]), results[1]))
    records.close()
    before = sorted(tmp_path.rglob("*"))
    assert why_not(RecordsSettings(tmp_path / "records", limit_mb=10)) is None
    assert why_not(RecordsSettings(tmp_path / "new" / "records", limit_mb=10)) is None
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_in_the_way_is_named(open_records, tmp_path, monkeypatch):
    settings = RecordsSettings(tmp_path / "records")
    (tmp_path / "file").touch()
    why = why_not(RecordsSettings(tmp_path / "file"))
    assert why is not None and why.endswith("file is not a folder: choose another one")
    settings.folder.mkdir()
    held = hold(settings.folder)
    done = subprocess.run(
        [sys.executable, "-c", ASK, settings.folder], capture_output=True, text=True, check=True
    )
    assert "another edgead saves in" in done.stdout
    os.close(held)
    why = why_not(RecordsSettings(settings.folder, limit_mb=1e9))
    assert why is not None and "MB free, and the records may grow by 1000000000 MB" in why
    (settings.folder / "records.db").write_bytes(b"no database at all" * 300)
    assert "cannot be used: file is not a database" in (why_not(settings) or "")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    assert "no permission to write in" in (why_not(settings) or "")


ASK = """
import sys; from pathlib import Path
from edgead.records.readiness import why_not
from edgead.records.store import RecordsSettings
print(why_not(RecordsSettings(Path(sys.argv[1]))))
"""


def test_check_has_the_records_in_its_json(film_of_one, bundle_dir, tmp_path):
    path = tmp_path / "line.toml"
    path.write_text(
        f'[records]\nfolder = "records"\nlimit_mb = 10\n[[camera]]\nname = "left"\n'
        f'source = "{film_of_one}"\nbundle = "{bundle_dir}"\n'
    )
    command = [sys.executable, "-m", "edgead", "watch", "--config", path, "--check"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folder = str(tmp_path / "records")
    assert json.loads(done.stdout)["records"] == {"folder": folder, "ok": True, "why": None}
    path.write_text(path.read_text().replace("limit_mb = 10", "limit_mb = 1e9"))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and f"failed  records  {folder}: " in done.stdout
