"""``make fuzz``: build every fuzzer and run it: ``fuzzing.py SECONDS CORPORA``.

All of them together take SECONDS, on as many cores as there are. Inputs that lead somewhere new are
kept in CORPORA/TARGET, for the next time; an input that breaks one is named at the end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "native"))

import building  # type: ignore[import-not-found]
import fuzz_seeds  # type: ignore[import-not-found]

TARGETS = {
    "kernels": ("-max_len=96",),
    "json": ("-max_len=4096",),
    "manifest": ("-max_len=8192",),
    "npy": ("-max_len=512",),
    "png": ("-max_len=2048",),
    "ignore_mask": ("-max_len=512",),
    "bundle": ("-max_len=8192",),
}
"""Each fuzzer and the longest input that it makes."""

SHARE = {"bundle": 4, "manifest": 2, "png": 2}
"""Of the time; 1 for the others."""


def share_of(target: str, seconds: float, targets: Iterable[str] = TARGETS) -> int:
    """Seconds of one fuzzer, where all of them have so many."""
    whole = sum(SHARE.get(each, 1) for each in targets)
    return max(1, round(seconds * SHARE.get(target, 1) / whole))


def program(target: str, build: Path) -> Path:
    """Of a fuzzer."""
    return build / ("edgead_native" if target == "kernels" else f"fuzz/fuzz_{target}")


def command(target: str, build: Path, seeds: Path, *options: object) -> list[str]:
    """How a fuzzer is called: no input may take more than 25 seconds or 2 GiB."""
    words = [f"-dict={seeds / 'json.dict'}"] if target in ("json", "manifest", "bundle") else []
    limits = ("-rss_limit_mb=2048", "-timeout=25", "-print_final_stats=1")
    first = [seeds / target] if target != "kernels" else []
    return [
        *map(str, (program(target, build), *TARGETS[target], *words, *limits, *options, *first))
    ]


def run(build: Path, seconds: float, corpora: Path) -> dict[str, str]:
    """What each fuzzer has printed that found something."""
    workers = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "seeds"
        fuzz_seeds.write(made)
        environment = {**os.environ, "EDGEAD_SEEDS": str(made)}

        def one(target: str) -> tuple[str, int, str]:
            corpus = corpora / target
            corpus.mkdir(parents=True, exist_ok=True)
            time = share_of(target, seconds * workers)
            artifacts = f"-artifact_prefix={corpora}/{target}-"
            asked = (f"-max_total_time={time}", "-use_value_profile=1", artifacts)
            words = command(target, build, made, *asked, corpus)
            done = subprocess.run(words, env=environment, capture_output=True, text=True)
            runs = [x for x in done.stderr.splitlines() if "number_of_executed_units" in x]
            print(f"{target}: {runs[0].split()[-1] if runs else 'no'} runs", flush=True)
            return target, done.returncode, done.stderr

        order = sorted(TARGETS, key=lambda target: -SHARE.get(target, 1))
        with ThreadPoolExecutor(workers) as pool:
            found = list(pool.map(one, order))
    return {target: said for target, status, said in found if status != 0}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as probes:
        built = building.built("Fuzz", Path(probes))
    broken = run(built, float(sys.argv[1]), Path(sys.argv[2]))
    for target, said in broken.items():
        print(f"\n{target} found something:\n{said[-6000:]}")
    sys.exit(1 if broken else 0)
