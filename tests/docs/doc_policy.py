"""What happens with the commands of the documentation: run as it stands, run small, or parsed only.

A command that no table names is run in the prepared folder and has to exit with 0.
"""

from __future__ import annotations

SMALL = "--steps 2 --set size=[64,64]"
RUN_SMALL: dict[tuple[str, str], str] = {
    (
        "README.md",
        "edgead train agpnet photos/ --out runs/part --minutes 10",
    ): f"edgead train agpnet photos/ --out runs/part {SMALL} --set width=12",
    (
        "README.md",
        "edgead export runs/part --out trained.edgead",
    ): "edgead export runs/part --out trained.edgead --float32-only",
    (
        "docs/tutorial.md",
        "edgead train agpnet demo/data --out runs/cell --steps 60",
    ): f"edgead train agpnet demo/data --out runs/cell {SMALL} --set width=12",
    (
        "docs/tutorial.md",
        "edgead export runs/cell --out joined.edgead --with instant",
    ): "edgead export runs/cell --out joined.edgead --with instant --float32-only",
    (
        "docs/video.md",
        "edgead train arnet room --out runs/room --minutes 8 --set size=[64,128] --set shrink=1 "
        "--set fine=false --set turns=2",
    ): "edgead train arnet room --out runs/room --steps 2 --set size=[64,128] --set shrink=1 "
    "--set fine=false --set turns=2 --set width=0.0625",
    (
        "docs/video.md",
        "edgead export runs/room --out room.edgead",
    ): "edgead export runs/room --out room.edgead --float32-only",
    (
        "docs/video.md",
        "edgead frames monday.mp4 tuesday.mp4 --every 50 --out room",
    ): "edgead frames monday.mp4 tuesday.mp4 --every 4 --out room",
}
"""(page, command): the command that is run in its place. A model trained for two steps is not held
to float16, whose bound follows from the spread of the scores."""

BENCH = "--repeats 3 --warm-up 1 --cold-starts 0"
"""Added to every edgead-bench: how often it measures does not change what it prints."""

PARSED: list[tuple[str, str, str]] = [
    ("docs/command-line.md", ".*", "examples of the help; the pages of each task run them"),
    ("docs/(?!tutorial|video).*", "edgead train ", "a training; three pages run one"),
    ("docs/(?!tutorial|video).*", "edgead export ", "needs a training run"),
    ("docs/(learn|backbone).md", "edgead backbone mine.onnx", "somebody's own graph"),
    ("docs/.*", "torchrun ", "a training in several processes"),
    ("docs/bench.md", ".* --native", "libedgead; tests/library/test_bench_native.py runs it"),
    (
        "docs/.*",
        r"edgead watch (0|incoming|rtsp:|aravis:|pylon:|\"gst:|--config)",
        "a camera, or a folder watched until Ctrl-C",
    ),
    ("docs/.*", "edgead build (?!--list|--prune)", "a GPU or TensorRT"),
    (
        "docs/(precision|bench|learn).md",
        ".* int8",
        "an int8 graph, whose arithmetic depends on the processor",
    ),
    ("docs/.*", "edgead serve-repository .*(--check|--plan)", "a running Triton, or a plan"),
    ("docs/.*", r"edgead (score|learn) .*(--ray|s3://)", "a Ray cluster; tests/scale/test_ray.py"),
    ("docs/special-data.md", "edgead learn .*parts.csv", "somebody's own list"),
    ("docs/large-frames.md", "edgead score web.edgead", "needs the training of this page"),
]
"""(page, command, reason): regular expressions of what the real parser reads, and no more."""

COMPILED: list[tuple[str, str, str]] = [
    ("docs/firmware.md", "import json, socket", "tests/library/test_firmware_page.py runs it"),
    ("docs/nvidia.md", 'device="cuda"', "a GPU"),
    ("docs/plans.md", 'device="cuda"', "a GPU and a plan"),
]
"""(page, text, reason): blocks of Python that are compiled and not run."""

EXIT_CODES: dict[tuple[str, str], tuple[int, ...]] = {
    ("docs/json.md", "edgead score disc.edgead bad.png --json"): (1,),
    (
        "docs/calibrate.md",
        "edgead calibrate bottle.edgead good --out x.edgead --false-reject-rate 0.01",
    ): (1,),
    (
        "docs/bench.md",
        "edgead-bench disc.edgead --images parts/test/good --budget-ms 33 --percentile 99",
    ): (0, 4),
    (
        "docs/bench.md",
        "edgead-bench disc.edgead --images parts/test/good --hz 30 --threads 1 --json now.json "
        "--csv now.csv --budget-ms 33",
    ): (0, 4),
    (
        "docs/bench.md",
        "edgead-bench disc.edgead --images parts/test/good --compare old.json",
    ): (0, 5),
}
"""Where not 0. How fast the machine is decides about 4 and 5."""

TOOLS: list[tuple[str, str]] = [
    (r"make [\w-]+( [A-Z_]+=\S+)*$", "a target of the Makefile"),
    (
        r"(\.venv/bin/)?pip install (\.|\"\.\[[\w-]+\]\")$",
        "from a clone, with an extra",
    ),
    (r"\.venv/bin/pip install \./edgead-\S+\.whl$", "tests/install/jetson_root.py runs it"),
    (r"pip download ", "libraries of CUDA, for a wheel"),
    (r"python3 -m venv ", "sets up an environment"),
    (r"\.venv/bin/edgead doctor( --json)?$", "tests/install/jetson_root.py runs it"),
    (r"source \.venv/bin/activate$", "a shell's own command"),
    (r"python (examples|benchmarks)/\w+\.py", "a script of this repository"),
    (r"trtexec ", "TensorRT of a Jetson"),
    (r"tritonserver --model-repository ", "tests/scale/test_triton.py starts it"),
    (r"ssh -L ", "another machine"),
    (
        r"(cc |c\+\+ |\./verdict |build/c/edgead-score )",
        "tests/library/test_page.py compiles and runs it",
    ),
    (r"apt-get (install|source) ", "packages of Debian"),
    (
        r"(cmake (-S|--build|--install) |python3 -m pip download |unzip )",
        "tests/library/test_package.py and on_aarch64.py do the like",
    ),
    (
        r"(make -C examples/firmware|(EDGEAD_\w+=\S+ )+build/firmware/edgead-camera-folder |kill )",
        "tests/library/test_firmware_page.py runs it",
    ),
    (r"(build/firmware/edgead-camera-(v4l2|gstreamer) |v4l2-ctl )", "a camera"),
    (r"(systemctl|journalctl|cp -r|ln -s\w*) ", "a device with systemd"),
]
"""Commands that are not edgead's: their form, and why they are not run."""

OUTPUT_KINDS = {
    "text": "output, layouts, formulas",
    "mermaid": "pictures that GitHub draws",
    "c": "tests/library/test_page.py compiles and runs it",
    "cpp": "tests/library/test_page.py compiles and runs it",
    "cmake": "tests/library/test_page.py builds with it",
}
"""Kinds of blocks in which nothing is run."""

VARYING_LABELS = {
    "good": "a verdict; random weights give another one",
    "doubt": "of edgead-bench; depends on the machine",
    "not": "what this machine does not offer",
    "note": "depends on how many images there are",
    "warning": "depends on the images",
}
"""Beginnings of lines that a run in the prepared folder need not print."""
