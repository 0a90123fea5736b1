"""How many threads may compute: the affinity mask, and the CPU quota of containers and units."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgead.cpu import processor
from edgead.cpu.processor import affinity, cores, cpu_quota

V1 = "31 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n"
V2 = "30 23 0:26 / /sys/fs/cgroup ro,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
SLICE = "/system.slice/edgead.service"
POD = "/kubepods.slice/kubepods-pod1.slice/cri-containerd-abc.scope"
ROOTLESS = "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-abc.scope/container"


def v1(mounted_root: str = "/", top: str = "/sys/fs/cgroup/cpu,cpuacct") -> str:
    return (
        f"{V1}32 31 0:29 {mounted_root} {top} ro - cgroup cgroup rw,cpu,cpuacct\n"
        f"33 31 0:30 {mounted_root} /sys/fs/cgroup/cpuset ro - cgroup cgroup rw,cpuset\n"
    )


# name: (/proc/self/cgroup, /proc/self/mountinfo, files below the root, quota)
MACHINES: dict[str, tuple[str, str, dict[str, str], float | None]] = {
    "none, v2": ("0::/\n", V2, {"sys/fs/cgroup/cgroup.procs": ""}, None),
    "none, v1": (
        "4:cpu,cpuacct:/\n2:cpuset:/\n", v1(),
        {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
         "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n"}, None,
    ),
    "docker v1, host's names": (
        "4:cpu,cpuacct:/docker/abc\n2:cpuset:/docker/abc\n0::/docker/abc\n", v1("/docker/abc"),
        {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000\n",
         "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n"}, 1.5,
    ),
    "docker v1, names of its own": (
        "4:cpu,cpuacct:/\n", v1("/"),
        {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "200000\n",
         "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "50000\n"}, 4.0,
    ),
    "more digits than a number has": (
        "0::/\n", V2, {"sys/fs/cgroup/cpu.max": "9" * 500 + " 100000\n"}, None
    ),
    "mounted out of reach": (
        "0::/\n", "30 23 0:26 / away rw - cgroup2 cgroup2 rw\n", {}, None
    ),
    "docker v2": ("0::/\n", V2, {"sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5),
    "docker v2, host's names": (
        "0::/system.slice/docker-abc.scope\n", V2.replace(" / /sys", " /../docker-abc.scope /sys"),
        {"sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3.0,
    ),
    "no bound in docker v2": ("0::/\n", V2, {"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
    "kubernetes v2, the pod has less than the container": (
        f"0::{POD}\n", V2,
        {f"sys/fs/cgroup{POD}/cpu.max": "400000 100000\n",
         f"sys/fs/cgroup{Path(POD).parent}/cpu.max": "250000 100000\n",
         "sys/fs/cgroup/kubepods.slice/cpu.max": "max 100000\n"}, 2.5,
    ),
    "kubernetes v1": (
        "7:cpu,cpuacct:/kubepods/pod1/abc\n", v1("/kubepods/pod1/abc"),
        {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "100000\n",
         "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n"}, 1.0,
    ),
    "a unit with CPUQuota=": (
        f"0::{SLICE}\n", V2, {f"sys/fs/cgroup{SLICE}/cpu.max": "20000 100000\n"}, 0.2
    ),
    "a slice with CPUQuota= above the unit": (
        f"0::{SLICE}\n", V2,
        {f"sys/fs/cgroup{SLICE}/cpu.max": "max 100000\n",
         "sys/fs/cgroup/system.slice/cpu.max": "700000 100000\n"}, 7.0,
    ),
    "another slice's is not ours": (
        f"0::{SLICE}\n", V2, {"sys/fs/cgroup/user.slice/cpu.max": "10000 100000\n"}, None
    ),
    "podman rootless": (
        f"0::{ROOTLESS}\n", V2,
        {"sys/fs/cgroup/user.slice/user-1000.slice/cpu.max": "150000 100000\n"}, 1.5,
    ),
    "hybrid: CPU time in v1, the rest in v2": (
        "1:cpu:/mine\n0::/\n",
        V1 + "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        {"sys/fs/cgroup/cpu/mine/cpu.cfs_quota_us": "120000\n",
         "sys/fs/cgroup/cpu/mine/cpu.cfs_period_us": "100000\n"}, 1.2,
    ),
    "mounted elsewhere, with a blank": (
        "0::/a b\n", r"30 23 0:26 / /my\040groups ro - cgroup2 none rw" + "\n",
        {"my groups/a b/cpu.max": "110000 100000\n"}, 1.1,
    ),
    "outside of its name space": (
        "0::/../elsewhere\n", V2, {"sys/fs/cgroup/cpu.max": "90000 100000\n"}, 0.9
    ),
    "nonsense in the files": (
        f"0::{SLICE}\nnonsense\n\n", f"nonsense\n\n1 2 3\n - cgroup2\n{V2}",
        {f"sys/fs/cgroup{SLICE}/cpu.max": "many 100000\n",
         "sys/fs/cgroup/system.slice/cpu.max": "100000 0\n",
         "sys/fs/cgroup/cpu.max": "\n"}, None,
    ),
    "nothing mounted": ("0::/\n", "", {}, None),
}  # fmt: skip


def make(system: Path, groups: str, mounts: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts, **files}.items():
        (system / name).parent.mkdir(parents=True, exist_ok=True)
        (system / name).write_text(text)
    return system


@pytest.mark.parametrize("name", MACHINES)
def test_the_quota_of_machines_as_people_have_them(name, tmp_path):
    groups, mounts, files, expected = MACHINES[name]
    assert cpu_quota(make(tmp_path, groups, mounts, files)) == expected


def test_without_proc_there_is_no_bound(tmp_path):
    assert cpu_quota(tmp_path) is None


MEMINFO = {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:     4000 kB\n"}
STAT = "anon 7\ninactive_file 300\ntotal_inactive_file 500\n"
# name: (/proc/self/cgroup, /proc/self/mountinfo, files below the root, bytes)
MEMORIES = {
    "no group": ("", "", MEMINFO, 4000 * 1024),
    "v2": (
        "0::/\n", V2,
        {**MEMINFO, "sys/fs/cgroup/memory.max": "2000\n", "sys/fs/cgroup/memory.current": "900\n",
         "sys/fs/cgroup/memory.stat": STAT}, 1400,
    ),
    "v2 without a bound": (
        "0::/\n", V2,
        {**MEMINFO, "sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/memory.current": "9\n"},
        4000 * 1024,
    ),
    "v2, the group above": (
        f"0::{SLICE}\n", V2,
        {f"sys/fs/cgroup{SLICE}/memory.max": "max\n", "sys/fs/cgroup/memory.max": "100\n",
         "sys/fs/cgroup/memory.current": "500\n", "sys/fs/cgroup/memory.stat": STAT}, 0,
    ),
    "v1": (
        "4:memory:/\n", "33 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
        {**MEMINFO, "sys/fs/cgroup/memory/memory.limit_in_bytes": "9000\n",
         "sys/fs/cgroup/memory/memory.usage_in_bytes": "8000\n",
         "sys/fs/cgroup/memory/memory.stat": STAT}, 1500,
    ),
    "nonsense": ("0::/\n", V2, {"sys/fs/cgroup/memory.max": "many\n", "proc/meminfo": "x"}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", MEMORIES)
def test_the_free_memory_of_machines_as_people_have_them(name, tmp_path):
    groups, mounts, files, expected = MEMORIES[name]
    assert processor.free_memory(make(tmp_path, groups, mounts, files)) == expected


def test_what_is_free_here_is_less_than_there_is():
    assert 0 < processor.free_memory() < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("mask", "quota", "expected"),
    [(8, None, 8), (8, 2.0, 2), (8, 1.9, 1), (8, 0.2, 1), (2, 4.0, 2), (1, 1.5, 1), (64, 63.9, 63)],
)
def test_threads_are_the_lesser_of_mask_and_quota(monkeypatch, mask, quota, expected):
    monkeypatch.setattr(processor, "affinity", lambda: mask)
    monkeypatch.setattr(processor, "cpu_quota", lambda: quota)
    assert cores() == expected


def test_a_filter_of_system_calls_leaves_the_number_of_cores(monkeypatch):
    def refused(_process):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_getaffinity", refused, raising=False)
    assert affinity() == os.cpu_count()


def threads_of(engine) -> int:
    return int(engine._compiled.get_property("INFERENCE_NUM_THREADS"))


@pytest.fixture
def open_here(bundle_dir):
    from edgead.bundle.storage import open_bundle
    from edgead.cpu.engine import OpenVINOEngine

    bundle = open_bundle(bundle_dir)
    return lambda threads=None: OpenVINOEngine(bundle, threads)


def test_the_engine_keeps_to_the_quota(monkeypatch, open_here):
    monkeypatch.setattr(processor, "cpu_quota", lambda: 1.5)
    assert threads_of(open_here()) == 1
    assert threads_of(open_here(min(2, affinity()))) == min(2, affinity())  # as it was asked


def test_without_a_quota_the_engine_chooses(monkeypatch, open_here):
    given = []
    import openvino

    compile_model = openvino.Core.compile_model
    monkeypatch.setattr(
        openvino.Core,
        "compile_model",
        lambda self, model, device, config: (
            given.append(config) or compile_model(self, model, device, config)
        ),
    )
    monkeypatch.setattr(processor, "cpu_quota", lambda: None)
    open_here()
    monkeypatch.setattr(processor, "cpu_quota", lambda: 2.0 + affinity())
    open_here()
    assert all("INFERENCE_NUM_THREADS" not in config for config in given) and len(given) == 2


def test_torch_keeps_to_the_quota(monkeypatch):
    torch = pytest.importorskip("torch")
    processes = pytest.importorskip("edgead_training.processes")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        monkeypatch.setattr(processor, "cpu_quota", lambda: 3.0)
        monkeypatch.setattr(processor, "affinity", lambda: 4)
        processes.bound_threads()
        assert torch.get_num_threads() == 2  # what OMP_NUM_THREADS may have asked for stays
        monkeypatch.setattr(processor, "cpu_quota", lambda: 1.5)
        processes.bound_threads()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def own_group(quota_us: int) -> Iterator[Path]:
    """A control group below that of this process, where one may be made."""
    mounts = Path("/proc/self/mountinfo").read_text()
    groups = Path("/proc/self/cgroup").read_text()
    for folder, _ in processor._group_folders(groups, mounts):
        made = folder / f"edgead-test-{os.getpid()}"
        try:
            made.mkdir()
        except OSError:
            continue
        try:
            if (made / "cpu.cfs_quota_us").exists():
                (made / "cpu.cfs_quota_us").write_text(str(quota_us))
            else:
                (made / "cpu.max").write_text(f"{quota_us} 100000")
            yield made
            return
        except OSError:
            continue
        finally:
            made.rmdir()
    pytest.skip("no control group may be made here")


def test_a_real_quota_is_seen():
    program = "from edgead.cpu.processor import *; print(cpu_quota(), cores())"
    with own_group(50_000) as group:
        join = f"open({str(group / 'cgroup.procs')!r}, 'w').write('0'); "
        done = subprocess.run(
            [sys.executable, "-c", join + program], capture_output=True, text=True, check=True
        )
    assert done.stdout.split() == ["0.5", "1"]
