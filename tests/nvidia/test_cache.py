"""The plan cache: whose it is, what is refused, what stays after an accident, what is pruned."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from edgead.errors import DeviceError
from edgead.nvidia.plans import cache as module
from edgead.nvidia.plans.cache import PlanCache, key_of, plans_directory

ROOT = os.name == "posix" and os.geteuid() == 0
posix = pytest.mark.skipif(os.name != "posix", reason="rights of POSIX systems")
as_root = pytest.mark.skipif(not ROOT, reason="only root may give files away")
KEY = "0" * 32
NATIVE = r"native code"


@pytest.fixture
def plans(cache_directory: Path) -> PlanCache:
    return PlanCache()


def test_where_plans_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path))
    assert plans_directory() == tmp_path / "plans"
    monkeypatch.delenv("EDGEAD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert plans_directory() == tmp_path / "xdg" / "edgead" / "plans"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert plans_directory() == tmp_path / ".cache" / "edgead" / "plans"


def test_a_key_follows_from_what_it_is_made_of_and_not_from_the_order() -> None:
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2})
    assert len(key_of({})) == 32


@posix
def test_only_this_user_may_enter(plans: PlanCache) -> None:
    plans.store(KEY, b"plan", {})
    assert plans.directory.stat().st_mode & 0o777 == 0o700
    assert plans.directory.parent.stat().st_mode & 0o777 == 0o700


def test_what_was_stored_is_found(plans: PlanCache) -> None:
    assert plans.find(KEY) is None
    stored = plans.store(KEY, b"plan", {"device": "Orin sm_87"})
    found = plans.find(KEY)
    assert found is not None
    assert (found.path, found.size, found.sha256) == (stored.path, 4, stored.sha256)
    assert found.about == {"device": "Orin sm_87"}
    assert plans.load(found) == b"plan"
    plans.store(KEY, b"another", {})
    assert plans.load(plans.find(KEY)) == b"another"


@pytest.mark.parametrize("damage", [b"", b"pla", b"plaN", b"plan!"])
def test_a_plan_that_was_altered_is_refused(plans: PlanCache, damage: bytes) -> None:
    plans.store(KEY, b"plan", {}).path.write_bytes(damage)
    with pytest.raises(DeviceError, match=r"truncated or altered since it was built.*--rebuild"):
        plans.load(plans.find(KEY))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b'{"size": "x", "sha256": ""}', b"\xff"])
def test_a_damaged_description_is_refused_and_left_out_of_the_list(plans, text: bytes) -> None:
    plans.store(KEY, b"plan", {})
    (plans.directory / f"{KEY}.json").write_bytes(text)
    with pytest.raises(DeviceError, match=r"truncated or altered.*--rebuild"):
        plans.find(KEY)
    assert plans.entries() == []


def test_a_plan_that_somebody_removed_is_not_there(plans: PlanCache) -> None:
    plans.store(KEY, b"plan", {}).path.unlink()
    assert plans.find(KEY) is None


@posix
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o722])
def test_a_directory_that_others_may_write_is_refused(cache_directory: Path, mode: int) -> None:
    cache_directory.mkdir(parents=True)
    cache_directory.chmod(mode)
    with pytest.raises(
        DeviceError, match=rf"may be written by others \(mode {mode:o}\).*chmod go-w"
    ):
        PlanCache()


@posix
def test_a_directory_that_others_may_read_serves(cache_directory: Path) -> None:
    cache_directory.mkdir(parents=True)
    cache_directory.chmod(0o755)
    PlanCache().store(KEY, b"plan", {})


@posix
@pytest.mark.parametrize("suffix", [".plan", ".json"])
def test_a_file_that_others_may_write_is_refused(plans: PlanCache, suffix: str) -> None:
    path = plans.store(KEY, b"plan", {}).path.with_suffix(suffix)
    path.chmod(0o666)
    with pytest.raises(DeviceError, match="may be written by others"):
        plans.load(plans.find(KEY))


@as_root
@pytest.mark.parametrize("name", ["plans", f"plans/{KEY}.plan", f"plans/{KEY}.json"])
def test_what_belongs_to_somebody_else_is_refused(cache_directory: Path, name: str) -> None:
    PlanCache().store(KEY, b"plan", {})
    os.chown(cache_directory.parent / name, 12345, 12345)
    with pytest.raises(DeviceError, match=r"belongs to user 12345, not to this one \(0\).*own"):
        PlanCache().load(PlanCache().find(KEY))


@posix
def test_what_belongs_to_somebody_else_is_refused_for_every_user(plans, monkeypatch) -> None:
    """As the test above, for who cannot give files away: this user is somebody else."""
    monkeypatch.setattr(module.os, "geteuid", lambda: 4321)
    with pytest.raises(DeviceError, match=r"not to this one \(4321\).*native code"):
        PlanCache()


@posix
@pytest.mark.parametrize("name", ["plans", f"plans/{KEY}.plan", f"plans/{KEY}.json"])
def test_a_symbolic_link_is_refused(cache_directory: Path, tmp_path: Path, name: str) -> None:
    PlanCache().store(KEY, b"plan", {})
    link = cache_directory.parent / name
    link.rename(tmp_path / "elsewhere")
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DeviceError, match="is a symbolic link"):
        PlanCache().load(PlanCache().find(KEY))


def test_a_file_where_the_directory_should_be(cache_directory: Path) -> None:
    cache_directory.parent.mkdir()
    cache_directory.write_bytes(b"")
    with pytest.raises(DeviceError, match=r"is not a directory; set EDGEAD_CACHE"):
        PlanCache()
    cache_directory.unlink()
    cache_directory.parent.rmdir()
    cache_directory.parent.write_bytes(b"")
    with pytest.raises(DeviceError, match=r"plan cache: .*needs a folder.*set EDGEAD_CACHE"):
        PlanCache()


UNWRITABLE = """
import fcntl, os  # fcntl here: somebody else may not be able to read root's Python
from edgead.errors import DeviceError
from edgead.nvidia.plans.cache import PlanCache

if os.geteuid() == 0:  # root may write everywhere, so be somebody else
    os.setgid(65534)
    os.setuid(65534)
plans = PlanCache()
entry = plans.store("0" * 32, b"plan", {})
plans.directory.chmod(0o500)
plans = PlanCache()
assert plans.load(plans.find("0" * 32)) == b"plan"  # what is there still serves
for refused in (lambda: plans.store("1" * 32, b"plan", {}), plans.building("0" * 32).__enter__):
    try:
        refused()
    except DeviceError as error:
        print(error)
plans.directory.chmod(0o700)
"""


@posix
def test_a_directory_that_cannot_be_written(monkeypatch) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own lets no other user in
        monkeypatch.setenv("EDGEAD_CACHE", f"{folder}/cache")
        if ROOT:
            os.chown(folder, 65534, 65534)
        done = subprocess.run([sys.executable, "-c", UNWRITABLE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert "plan cache: no permission for" in line
        assert "set EDGEAD_CACHE" in line


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, "no space left on the disk"),
        (errno.EACCES, "no permission for"),
        (errno.EROFS, "read-only file system"),
    ],
)
@pytest.mark.parametrize("fails_at", [1, 2])
def test_what_the_system_refuses_leaves_nothing(
    plans: PlanCache, monkeypatch, code: int, said: str, fails_at: int
) -> None:
    """The first file written is the plan, the second its description."""
    calls = 0
    write = module.write_file

    def refuse(path, data) -> None:
        nonlocal calls
        calls += 1
        if calls == fails_at:
            raise OSError(code, os.strerror(code), str(path))
        write(path, data)

    monkeypatch.setattr(module, "write_file", refuse)
    with pytest.raises(DeviceError, match=rf"plan cache: .*{said}.*set EDGEAD_CACHE"):
        plans.store(KEY, b"plan", {})
    assert list(plans.directory.iterdir()) == []


FULL = """
import resource, signal, sys
from edgead.errors import DeviceError
from edgead.nvidia.plans.cache import PlanCache
plans = PlanCache()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    plans.store("0" * 32, bytes(100_000), {})
except DeviceError as error:
    sys.exit(str(error))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs RLIMIT_FSIZE")
def test_a_real_refusal_in_the_middle_of_a_plan(cache_directory: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True)
    assert done.returncode == 1
    assert "plan cache: " in done.stderr
    assert "set EDGEAD_CACHE" in done.stderr
    assert list(cache_directory.iterdir()) == []


def fill(plans: PlanCache, number: int, size: int = 10) -> list[str]:
    """``number`` plans, the first the least recently used."""
    keys = []
    for index in range(number):
        key = key_of({"index": index})
        plans.store(key, bytes(size), {})
        used = time.time() - 1000 + index
        os.utime(plans.directory / f"{key}.json", (used, used))
        keys.append(key)
    return keys


def test_the_least_recently_used_plans_go_first(plans: PlanCache) -> None:
    keys = fill(plans, 5)
    plans.load(plans.find(keys[0]))  # now the last used
    removed = plans.prune(most_plans=2)
    assert [entry.key for entry in plans.entries()] == [keys[0], keys[4]]
    assert {entry.key for entry in removed} == set(keys[1:4])
    assert {path.stem for path in plans.directory.iterdir()} == {keys[0], keys[4]}


def test_the_bound_in_bytes(plans: PlanCache) -> None:
    keys = fill(plans, 5, size=100)
    plans.prune(most_bytes=250)
    assert [entry.key for entry in plans.entries()] == [keys[4], keys[3]]


def test_storing_prunes_and_never_what_was_just_stored(plans, monkeypatch) -> None:
    monkeypatch.setattr(
        PlanCache.prune, "__kwdefaults__", {"keep": "", "most_plans": 3, "most_bytes": 50}
    )
    fill(plans, 3)
    plans.store(KEY, bytes(60), {})  # alone over the bound
    assert [entry.key for entry in plans.entries()] == [KEY]


def test_a_plan_that_is_being_built_is_not_pruned(plans: PlanCache) -> None:
    keys = fill(plans, 2)
    with plans.building(keys[0]):
        assert plans.prune(most_plans=0) != []
        assert [entry.key for entry in plans.entries()] == [keys[0]]


def test_old_leftovers_of_killed_builds_go_and_young_ones_stay(plans: PlanCache) -> None:
    fill(plans, 1)
    for name in ("a.plan", "a.log", ".b.plan.123.tmp"):
        for age, prefix in ((0, "young"), (7200, "old")):
            path = plans.directory / (f".{prefix}{name}" if name[0] == "." else prefix + name)
            path.write_bytes(b"x")
            os.utime(path, (time.time() - age,) * 2)
    plans.prune()
    names = {path.name for path in plans.directory.iterdir() if len(path.stem) < 30}
    assert names == {"younga.plan", "younga.log", ".young.b.plan.123.tmp"}


def test_a_timing_cache_that_was_not_renewed_for_half_a_year_goes(plans: PlanCache) -> None:
    for key, days in ((KEY, 200), ("1" * 32, 100)):
        plans.keep(key, ".timing", b"measured")
        os.utime(plans.directory / f"{key}.timing", (time.time() - days * 86400,) * 2)
    plans.prune()
    assert [path.name for path in plans.directory.iterdir()] == [f"{'1' * 32}.timing"]


def test_a_timing_cache_is_kept_and_one_of_others_is_not_used(plans: PlanCache) -> None:
    assert plans.timing(KEY) == b""
    plans.keep(KEY, ".timing", b"measured")
    assert plans.timing(KEY) == b"measured"
    if os.name == "posix":
        (plans.directory / f"{KEY}.timing").chmod(0o666)
        assert plans.timing(KEY) == b""
