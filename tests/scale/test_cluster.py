"""What is asked of a Ray cluster, whose place a stand-in takes; Ray itself is in test_ray.py."""

from __future__ import annotations

import os
from functools import partial
from types import SimpleNamespace

import pytest

from edgead.bundle.storage import SIGNATURES, open_bundle, with_signatures
from edgead.scale import ray_cluster, ray_scoring, score_dataset
from edgead.scale.files import files_of
from edgead.scale.rows import Tally


@pytest.mark.parametrize(
    ("nodes", "actors", "cpus"),
    [([4, 4, 4], 2, 4), ([1, 1, 1, 1], None, 1), ([8], 2, 4), ([2, 0], 1, 2)],
)
def test_an_actor_fits_on_a_node(monkeypatch, nodes, actors, cpus):
    """Ray waits for ever for one that asks for more CPUs than any node has."""
    alive = [{"Alive": True, "Resources": {"CPU": float(n)}} for n in nodes]
    ray = SimpleNamespace(
        cluster_resources=lambda: {"CPU": float(sum(nodes))},
        nodes=lambda: [*alive, {"Alive": False, "Resources": {"CPU": 64.0}}],
    )
    monkeypatch.setattr(ray_cluster, "import_ray", lambda: ray)
    monkeypatch.setattr(ray_cluster, "connect", lambda *_: None)
    monkeypatch.setattr(ray_cluster, "check_versions", lambda _: None)
    assert ray_cluster.Cluster(True, actors, {"device": "cpu"}).cpus == cpus


def test_actors_find_places_that_were_given_as_relative_ones(bundle_dir, tmp_path, monkeypatch):
    """An actor of a cluster that runs already has the folder in which the cluster was started."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    seen = []

    def tallies(_cluster, _bundle, work, _parts):
        seen.append(work)
        yield Tally(1)

    monkeypatch.setattr(ray_cluster, "Cluster", lambda *_: SimpleNamespace(actors=1))
    monkeypatch.setattr(ray_scoring, "tallies", tallies)
    monkeypatch.chdir(tmp_path)
    score_dataset(bundle_dir, "parts", "rows", ray=True, trusted_keys="line.keys")
    (work,) = seen
    assert (work.source, work.out) == (str(tmp_path / "parts"), str(tmp_path / "rows"))
    assert work.settings["trusted_keys"] == str(tmp_path / "line.keys")


def test_a_bundle_that_was_sent_before_it_was_signed_is_sent_again(
    bundle_copy, tmp_path, monkeypatch
):
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    sent = []

    def get(files):
        sent.append(files)
        return files

    for signatures in (None, b"{}", b"{}", b"[]"):
        bundle = open_bundle(bundle_copy)
        if signatures is not None:
            bundle = with_signatures(bundle, signatures)
        keeper = SimpleNamespace(files=SimpleNamespace(remote=partial(files_of, bundle)))
        ray = SimpleNamespace(get=get, get_actor=lambda _, it=keeper: it)
        monkeypatch.setattr(ray_scoring, "import_ray", lambda it=ray: it)
        found = ray_scoring.unpacked("cell", bundle.sha256, signatures, "keeper")
        assert found.read_signatures() == signatures
    assert [files.get(SIGNATURES) for files in sent] == [None, b"{}", b"[]"]
    assert os.listdir(tmp_path / "cache/sent")
