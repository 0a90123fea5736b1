"""What the machine says, from a small tree of files; the doubts, each with and without cause."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgead.bench import trust
from edgead.bench.monitor import MachineReading, Monitor, read_machine


def plant(root: Path, **files: str) -> Path:
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.fixture
def jetson(tmp_path: Path) -> Path:
    """The files of a Jetson that edgead-bench reads."""
    zone, cpu = "sys__class__thermal__thermal_zone", "sys__devices__system__cpu__cpu"
    status = "Name:\tpython\nVmPeak:\t 9 kB\nVmRSS:\t  250000 kB\nThreads:\t3\n"
    return plant(
        tmp_path,
        proc__self__status=status,
        proc__stat="cpu  1000 200 300 5000 400 10 20 70 900 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n",
        proc__loadavg="0.52 0.58 0.59 1/467 12345\n",
        var__lib__nvpmodel__status="pmode:0002 fmode:quiet",
        **{
            f"{zone}0__type": "CPU-therm\n",
            f"{zone}0__temp": "48500\n",
            f"{zone}1__type": "GPU-therm\n",
            f"{zone}1__temp": "no reading\n",
            f"{zone}2__type": "CPU-therm\n",
            f"{zone}2__temp": "50000\n",
            f"{cpu}0__cpufreq__scaling_cur_freq": "1510400\n",
            f"{cpu}freq__cpufreq__scaling_cur_freq": "1\n",
            "sys__class__devfreq__17000000.gv11b__cur_freq": "1109250000\n",
        },
    )


def test_a_jetson_from_a_tree_of_files(jetson):
    found = read_machine(jetson, 1.5, 0.25)
    assert found == MachineReading(
        at_s=1.5,
        cpu_s=0.25,
        rss_mb=256.0,  # 250000 kB of 1024 bytes
        machine_busy_s=15.3,  # 1000 + 200 + 300 + 10 + 20 ticks; guest time is in user already
        machine_s=70.0,  # and 5000 + 400 + 70
        steal_s=0.7,
        load=0.52,
        celsius={"CPU-therm": 48.5, "CPU-therm thermal_zone2": 50.0},
        mhz={"cpu0": 1510.4, "17000000.gv11b": 1109.25},
        power_mode="0002",
    )


@pytest.mark.parametrize(
    "node",
    ["17000000.ga10b", "17000000.gpu", "17000000.gp10b", "57000000.gpu"],  # 17000000.gv11b above
)
def test_the_gpu_clock_of_every_jetson(tmp_path, node):
    """Orin on JetPack 5 and 6, TX2, Nano; the clock of the memory is not the GPU's."""
    clocks = {
        f"sys__class__devfreq__{node}__cur_freq": "918000000\n",
        "sys__class__devfreq__31b10000.emc__cur_freq": "3199000000\n",
    }
    assert read_machine(plant(tmp_path, **clocks), 0.0, 0.0).mhz == {node: 918.0}


def test_a_machine_without_any_of_these_files(tmp_path):
    assert read_machine(tmp_path, 1.0, 2.0) == MachineReading(1.0, 2.0)


def test_the_monitor_reads_first_and_last_although_the_block_fails(jetson):
    with pytest.raises(KeyError), Monitor(60, jetson) as monitor:
        raise KeyError
    first, last = monitor.readings
    assert first.rss_mb == last.rss_mb == 256.0
    assert first.at_s < last.at_s


def test_the_cpu_time_of_other_processes_of_the_run_is_its_own(tmp_path):
    """Of two that are watched one has ended: its files are gone."""
    stat = "42 (a) b) S 1 42 42 0 -1 4194304 100 0 0 0 250 150 7 7 20 0 9 0 100 1 1\n"
    plant(tmp_path, proc__42__stat=stat)
    with Monitor(60, tmp_path, processes=[42, 43]) as both, Monitor(60, tmp_path) as one:
        pass
    assert both.readings[0].cpu_s - one.readings[0].cpu_s == pytest.approx(4.0, abs=0.5)


def kinds(warnings) -> list[str]:
    return [warning.partition(":")[0] for warning in warnings]


def quiet(count: int = 10_000) -> np.ndarray:
    return np.random.default_rng(5).normal(10, 0.2, count)


def test_quiet_samples_raise_no_doubt():
    assert list(trust.of_samples("end_to_end", quiet(), 99)) == []


@pytest.mark.parametrize(
    ("count", "percent", "doubted"),
    [(1000, 99, False), (999, 99, True), (100, 90, False), (99, 90, True), (10_000, 99.9, False)],
)
def test_ten_samples_must_lie_above_a_percentile(count, percent, doubted):
    found = [w for w in trust.of_samples("x", quiet(count), percent) if f"p{percent:g} of" in w]
    assert kinds(found) == ["few samples"] * doubted


def test_a_percentile_that_is_the_maximum_is_named():
    found = list(trust.of_samples("x", quiet(999), 90))
    assert found == ["few samples: p99.9 of x is the largest of 999 samples, nothing more"]


def test_an_outlier_is_named_with_its_place():
    samples = quiet()
    samples[1234] = 45.0
    (found,) = trust.of_samples("end_to_end", samples, 99)
    assert found.startswith("outliers: 1 of 10000 samples")
    assert "45 ms (sample 1234)" in found


def test_equal_samples_have_no_outliers():
    assert list(trust.of_samples("x", np.full(10_000, 7.0), 99)) == []


@pytest.mark.parametrize(("factor", "said"), [(1.1, "10 % slower"), (0.9, "10 % faster")])
def test_drift_between_the_halves(factor, said):
    samples = quiet()
    samples[5000:] *= factor
    (found,) = trust.of_samples("x", samples, 99)
    assert found.startswith("drift: ") and said in found


def test_halves_that_differ_by_chance_are_no_drift():
    """Forty samples with a wide spread: their halves' medians differ by more than 5 %."""
    samples = np.random.default_rng(2).lognormal(0, 0.5, 40)
    first, second = np.median(samples[:20]), np.median(samples[20:])
    assert abs(second / first - 1) > 0.2
    assert "drift" not in kinds(trust.of_samples("x", samples, 50))


def reading(at_s=0.0, cpu_s=0.0, busy=0.0, passed=0.0, steal=0.0, **more) -> MachineReading:
    return MachineReading(at_s, cpu_s, machine_busy_s=busy, machine_s=passed, steal_s=steal, **more)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (reading(10, 9, busy=9.5, passed=20), []),
        (reading(10, 9, busy=12, passed=20), ["noisy machine"]),  # 3 of 20 s were not ours
        (reading(10, 9, busy=9, passed=20, steal=0.5), ["steal"]),
        (reading(10, 9), []),  # the counters did not move
        (MachineReading(10, 9), []),  # no such counters
    ],
)
def test_other_processes_and_the_hypervisor(last, expected):
    assert kinds(trust.of_machine([reading(), last])) == expected


def test_a_clock_that_falls():
    first, last = reading(mhz={"cpu0": 1500, "gpu": 900}), reading(mhz={"cpu0": 1400, "gpu": 700})
    (found,) = trust.of_machine([first, last])
    assert found.startswith("clocks: gpu fell from 900 to 700 MHz")


@pytest.mark.parametrize(
    ("rss", "kept", "expected"),
    [
        ([100, 200, 200.5], 0, []),  # the first minute does not count
        ([100, 200, 202], 0, ["memory"]),
        ([100, 200, 202], 1.5, []),  # the samples kept by the benchmark itself
    ],
)
def test_memory_that_grows_after_the_first_minute(rss, kept, expected):
    readings = [MachineReading(at, 0, mb) for at, mb in zip((0, 61, 600), rss, strict=True)]
    assert kinds(trust.of_machine(readings, kept)) == expected


def test_a_single_reading_is_no_growth():
    """Every second for ten minutes; the last finds 9 MB more, and 0.5 MB came and stayed."""
    readings = [MachineReading(at, 0, 100.0 + 0.5 * (at > 300)) for at in range(601)]
    readings[-1] = MachineReading(600, 0, 109.0)
    assert trust.rss_growth_mb(readings) == 0.5
    readings = [MachineReading(at, 0, 100.0 + at) for at in range(0, 101, 10)]
    assert trust.rss_growth_mb(readings) == 20  # 60 70 80 and 80 90 100


def test_short_runs_say_nothing_about_growth():
    assert trust.rss_growth_mb([MachineReading(0, 0, 1), MachineReading(59, 0, 9)]) is None


def test_flat_frames():
    textured = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert list(trust.of_frames([textured])) == []
    (found,) = trust.of_frames([textured, np.zeros((3, 4), np.uint8)])
    assert found.startswith("flat frames: 1 of 2 frames")
