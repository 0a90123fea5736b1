"""benchmarks/peers: systems in processes, in turns; one that cannot be installed or fails is named.

The environments are this one, so edgead and OpenVINO answer for real; anomalib is not there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import pytest
from edgead_training.data import open_dataset
from sklearn.metrics import roc_auc_score

from edgead import Detector

PEERS = Path(__file__).resolve().parents[2] / "benchmarks" / "peers"


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(PEERS))
    import compare as module

    class Here:
        """An environment that is this one."""

        def __init__(self, folder: Path, name: str) -> None:
            if name == "anomalib":
                raise module.Skipped("not installed: no space left")
            self.path, self.python = folder / name, Path(sys.executable)

        def packages(self) -> int:
            return 7

        def disk_mb(self) -> float:
            return 70.0

        def version(self, package: str) -> str:
            return f"1.2 of {package}"

    monkeypatch.setattr(module, "Environment", Here)
    return module


@pytest.fixture
def run(compare, data, bundle_dir, tmp_path, monkeypatch):
    """``run()`` -> (exit code, the rows of the file)."""

    def call() -> tuple[int, list[dict]]:
        file = tmp_path / "peers.json"
        words = [data / "discs", "--bundle", bundle_dir, "--threads", 1]
        words += ["--folder", tmp_path / "peers", "--json", file]
        monkeypatch.setattr("sys.argv", ["compare.py", *map(str, words)])
        return compare.main(), json.loads(file.read_text())

    return call


def test_a_row_for_each_system_and_the_reason_of_each_that_is_missing(run, data, bundle_dir):
    code, rows = run()
    assert code == 0
    ours, floor, *missing = rows
    assert ours["system"] == "edgead 1.2 of edgead"
    assert floor["system"] == "OpenVINO 1.2 of openvino alone" and floor["image_auroc"] is None
    assert [row["method"] for row in missing] == ["PaDiM", "PatchCore"] or [
        row["method"] for row in missing
    ] == ["PatchCore", "PaDiM"]
    for row in missing:
        assert row["skipped"] == "not installed: no space left"
        assert row["median_ms"] is row["image_auroc"] is None
    for row in (ours, floor):
        assert 0 < row["median_ms"] <= row["p95_ms"] < row["cold_start_ms"]
        assert row["rss_mb"] > 20 and row["packages"] == 7
    samples = open_dataset(data / "discs", purpose="evaluate").test
    detector = Detector(bundle_dir, threads=1)
    scores = [detector.score(cv2.imread(str(s.path), cv2.IMREAD_COLOR)).score for s in samples]
    labels = [sample.label != "good" for sample in samples]
    assert ours["image_auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert ours["run"]["images"] == len(samples) and ours["run"]["dataset"] == "discs"
    assert ours["run"]["bundle_sha256"] == detector.bundle.sha256


@pytest.mark.exhaustive
def test_a_system_that_fails_is_left_out_with_its_last_words(run, compare, monkeypatch, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("import sys\nsys.exit('the weights are gone')\n")
    command = compare.System.command

    def replaced(system) -> list[str]:
        words = command(system)
        return [words[0], str(broken)] if "OpenVINO" in system.system else words

    monkeypatch.setattr(compare.System, "command", replaced)
    code, rows = run()
    assert code == 0
    (floor,) = [row for row in rows if "OpenVINO" in row["system"]]
    assert floor["skipped"].endswith("failed: the weights are gone")


@pytest.mark.exhaustive
def test_a_system_that_fails_in_the_middle_is_left_out_and_the_others_stay(
    run, compare, data, monkeypatch
):
    """It answers some of the images; the others' rows have all of them."""
    asked, ask = [], compare.Worker.ask

    def dying(worker, image):
        if "OpenVINO" in worker.system.system:
            asked.append(image)
            if len(asked) == compare.COLD_STARTS + compare.WARM_UP + 3:
                worker._process.kill()
        return ask(worker, image)

    monkeypatch.setattr(compare.Worker, "ask", dying)
    code, rows = run()
    assert code == 0
    (floor,) = [row for row in rows if "OpenVINO" in row["system"]]
    assert " failed: " in floor["skipped"] and floor["median_ms"] is None
    (ours,) = [row for row in rows if row["system"].startswith("edgead")]
    assert ours["median_ms"] > 0 and 0 <= ours["image_auroc"] <= 1
    assert len(rows) == 4


@pytest.mark.exhaustive
def test_an_environment_that_breaks_leaves_out_its_system_alone(run, compare, monkeypatch):
    class Broken(compare.Environment):
        def __init__(self, folder, name):
            super().__init__(folder, name)
            self.name = name

        def packages(self):
            if self.name == "openvino":
                raise compare.Skipped("its environment is broken: no module named encodings")
            return super().packages()

    monkeypatch.setattr(compare, "Environment", Broken)
    code, rows = run()
    assert code == 0
    (floor,) = [row for row in rows if "OpenVINO" in row["system"]]
    assert floor["skipped"].startswith("its environment is broken")
    assert [row["median_ms"] is None for row in rows].count(False) == 1


def test_a_broken_environment_is_a_reason(compare, tmp_path):
    from environments import Environment, Skipped

    place = Environment.__new__(Environment)
    place.path, place.python = tmp_path, Path(sys.executable)
    with pytest.raises(Skipped, match=r"its environment is broken: .*no_such_package"):
        place.version("no_such_package")
    place.python = tmp_path / "bin" / "python"
    for told in (place.packages, lambda: place.version("numpy")):
        with pytest.raises(Skipped, match=r"its environment is broken: .*No such file"):
            told()


@pytest.mark.exhaustive
def test_when_edgead_cannot_be_trained_its_rows_have_the_reason(
    compare, data, tmp_path, monkeypatch
):
    file = tmp_path / "peers.json"
    words = [data / "discs", "--method", "no-such-method", "--steps", 1]
    words += ["--folder", tmp_path / "peers", "--json", file]
    monkeypatch.setattr("sys.argv", ["compare.py", *map(str, words)])
    assert compare.main() == 1
    rows = json.loads(file.read_text())
    assert [row["skipped"] for row in rows if row["system"] != "anomalib"] == [
        "no bundle: edgead train ended with 1, see what it said above"
    ] * 2
    assert rows[0]["run"]["bundle_sha256"] is None


def test_without_edgead_the_comparison_has_failed(run, compare, monkeypatch, tmp_path):
    monkeypatch.setattr(compare.System, "command", lambda _: [sys.executable, "-c", ""])
    code, rows = run()
    assert code == 1
    assert all("skipped" in row for row in rows)


def test_the_page_has_the_table_the_ratio_and_the_reasons(compare):
    run = {"command": "python x", "date": "2026-01-01", "processor": "P", "cores": 2, "load": 0.5,
           "images": 9, "dataset": "d", "training": {"steps": 70}}  # fmt: skip
    numbers = dict.fromkeys(("p95_ms", "cold_start_ms", "rss_mb", "disk_mb"), 50.0)
    entries = [
        {"system": "edgead 1", "method": "m", "median_ms": 4.0, "image_auroc": 0.9, "packages": 5,
         "run": run, **numbers},
        {"system": "anomalib 2", "method": "PatchCore", "median_ms": 50.0, "image_auroc": 0.8,
         "packages": 100, "run": run, **numbers},
        {"system": "anomalib 2", "method": "PaDiM", "median_ms": None, "image_auroc": None,
         "packages": None, "skipped": "no space", "run": run, **dict.fromkeys(numbers)},
    ]  # fmt: skip
    text = compare.section(entries)
    assert "| edgead 1 | m | 4.0 | 50.0 | 50 | 50 | 5 | 50 | 0.900 |" in text
    assert "PatchCore takes 12.5 x as long a frame as edgead." in text
    assert "anomalib 2, PaDiM: no space." in text
    assert "trained for 70 steps" in text
