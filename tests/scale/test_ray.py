"""The same rows from a real Ray cluster on this machine, whatever dies on the way."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from pyarrow import parquet

from edgead.cli.main import main
from edgead.errors import DeviceError, InputError
from edgead.images import encode_png
from edgead.scale import score_dataset

pytestmark = pytest.mark.scale


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster with two CPUs; its nodes keep bundles in a cache of their own."""
    ray = pytest.importorskip("ray")
    own = {"EDGEAD_CACHE": str(tmp_path_factory.mktemp("cache")), "RAY_worker_niceness": "0"}
    os.environ.update(own)
    ray.init(
        num_cpus=2, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False
    )
    yield ray
    ray.shutdown()
    for name in own:
        del os.environ[name]


@pytest.fixture(scope="module")
def images(make_frame, tmp_path_factory):
    """60 images; one of them is damaged."""
    folder = tmp_path_factory.mktemp("data") / "parts"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number:02}.png").write_bytes(encode_png(make_frame(number, (200, 300, 3))))
    (folder / "07.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


@pytest.fixture(scope="module")
def expected(bundle_dir, images, tmp_path_factory):
    """The rows of one process without Ray."""
    out = tmp_path_factory.mktemp("alone") / "rows"
    score_dataset(bundle_dir, images, out, device="cpu")
    return rows_in(out)


def rows_in(folder: Path) -> list[dict]:
    return sorted(parquet.read_table(folder).to_pylist(), key=lambda row: row["path"])


def actors() -> list[int]:
    """Processes of the actors that score, of the cluster that this process has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            parent = _parent(folder)
            if b"Scorer" in command and _parent(Path(f"/proc/{parent}")) == os.getpid():
                found.append(int(folder.name))
        except (OSError, IndexError):
            continue
    return found


def _parent(folder: Path) -> int:
    return int((folder / "stat").read_text().rpartition(")")[2].split()[1])


def test_an_actor_that_is_killed_midway_changes_no_row(
    cluster, bundle_dir, images, expected, tmp_path
):
    killed = []

    def kill(done: int, total: int) -> None:
        if not killed and done < total:
            victim = actors()[0]
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)

    found = score_dataset(
        bundle_dir, images, tmp_path / "rows", ray=True, actors=2, part=3, progress=kill
    )
    assert killed
    assert (found.images, found.scored, found.failed) == (60, 60, 1)
    assert rows_in(tmp_path / "rows") == expected


def test_the_command_goes_on_with_what_one_machine_began(
    cluster, bundle_dir, images, expected, tmp_path, capsys
):
    def stop(done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_dataset(bundle_dir, images, tmp_path / "rows", device="cpu", part=20, progress=stop)
    words = ["score", str(bundle_dir), str(images), "--out", str(tmp_path / "rows"), "--json"]
    assert main([*words, "--ray", "--actors", "1"]) == 1
    assert json.loads(capsys.readouterr().out)["scored"] == 60 - 15
    assert rows_in(tmp_path / "rows") == expected


def test_a_cluster_of_another_edgead_is_refused(cluster, bundle_dir, images, tmp_path, monkeypatch):
    monkeypatch.setattr("edgead.scale.ray_cluster.__version__", "9.9.9")
    with pytest.raises(DeviceError, match=r"this is edgead 9\.9\.9, but .* has 0\."):
        score_dataset(bundle_dir, images, tmp_path / "rows", ray=True)
    assert not list((tmp_path / "rows").glob("*.parquet"))


def test_what_a_cluster_does_not_have_is_said(cluster, bundle_dir, images, tmp_path):
    with pytest.raises(DeviceError, match="no node of the Ray cluster has a GPU"):
        score_dataset(bundle_dir, images, tmp_path / "rows", ray=True, device="cuda")
    with pytest.raises(InputError, match="3 actors on a cluster of 2 CPUs"):
        score_dataset(bundle_dir, images, tmp_path / "rows2", ray=True, actors=3)


def test_the_error_of_an_actor_is_the_sentence_of_one_machine(
    cluster, bundle_dir, edit, tmp_path, images
):
    """A bundle whose golden score is wrong: the actor's Detector refuses to serve."""
    import shutil

    from edgead.errors import QualificationError

    wrong = tmp_path / "wrong.edgead"
    shutil.copytree(bundle_dir, wrong)
    edit(wrong, lambda manifest: manifest["golden"][0].update(score=5.0))
    with pytest.raises(QualificationError, match="golden"):
        score_dataset(wrong, images, tmp_path / "rows", ray=True, actors=1)


def test_a_bundle_learnt_on_ray_is_that_of_one_machine(cluster, tmp_path, monkeypatch):
    """Every file to the byte, but manifest and card, which have the date."""
    from functools import partial

    from small_backbone import part, small_backbone

    from edgead.images import read_image
    from edgead.learning.good_image import GoodImage
    from edgead.learning.learn import LearnOptions
    from edgead.scale import learning
    from edgead.scale.learning import learn_dataset

    monkeypatch.setattr(learning, "PART", 20)
    options = LearnOptions(size=(64, 64), memory=64, device="cpu", threads=1)
    images = []
    for seed in range(110):
        path = tmp_path / f"{seed}.png"
        path.write_bytes(encode_png(part(seed)))
        images.append(GoodImage(path.name, partial(read_image, path)))
    for name in ("alone", "spread"):
        (tmp_path / name).mkdir()
    given = (images[:90], images[90:], small_backbone())
    alone = learn_dataset(*given, tmp_path / "alone/part.edgead", options)
    spread = learn_dataset(*given, tmp_path / "spread/part.edgead", options, ray=True, actors=2)
    digests = [{**one.manifest.files, "card.md": ""} for one in (alone, spread)]
    assert digests[0] == digests[1]
