"""Backbone files: what the graph computes against torch, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import onnx
import onnxruntime
import torch
from edgead_export.backbone import Described, write_lite, write_module, write_onnx
from edgead_export.onnx import exporter
from edgead_training.features.efficientnet_lite import load_lite
from torch import Tensor, nn
from torch.nn import functional as F

from edgead.cli.main import main
from edgead.errors import ExportError, InputError
from edgead.learning.backbone import KEY, Level, read_backbone

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's exporter

MINE = Described("mine", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), "MIT", "mine.onnx")


class Two(nn.Module):
    """Strides 2 and ``2 * more``, 5 and 3 channels, the deeper one first."""

    def __init__(self, more: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(3, 5, 2, 2), nn.Conv2d(5, 3, more, more)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        first = self.a(image)
        return self.b(first), first


def computed(path: Path, image: Tensor) -> np.ndarray:
    (found,) = onnxruntime.InferenceSession(str(path)).run(None, {"image": image.numpy()})
    return found


def expected(levels: list[Tensor]) -> np.ndarray:
    """Averages of 3 x 3 and the levels side by side, from torch's own operators, in float64."""
    smooth = [
        F.avg_pool2d(level, 3, stride=1, padding=1, count_include_pad=False) for level in levels
    ]
    size = smooth[0].shape[2:]
    fine = [F.interpolate(x, size, mode="bilinear", align_corners=False) for x in smooth]
    return torch.cat(fine, dim=1).numpy()


@pytest.fixture(scope="module")
def lite0(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("backbone") / "lite0.onnx"
    write_lite("lite0", path)
    return path


@pytest.mark.parametrize("size", [(64, 64), (48, 96)])
def test_lite0_gives_torchs_features(lite0: Path, size: tuple[int, int]) -> None:
    level = read_backbone(lite0).facts.features
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        exact = expected(load_lite().double()(image.double())[1:])
    got = computed(lite0, image)
    assert got.shape == exact.shape == (2, level.channels, *(s // level.stride for s in size))
    # float32 over 20 layers: 1e-5 of the features' size, which is about 10
    np.testing.assert_allclose(got, exact, rtol=0, atol=2e-4)


def test_what_is_not_used_is_left_out(lite0: Path, tmp_path: Path) -> None:
    write_lite("lite0", tmp_path / "fine.onnx", strides=(4, 8))
    assert (tmp_path / "fine.onnx").stat().st_size < lite0.stat().st_size / 10
    assert read_backbone(tmp_path / "fine.onnx").facts.levels == (
        Level("level_0_stride_4", 24, 4),
        Level("level_1_stride_8", 40, 8),
    )


def test_the_same_bytes_every_time(lite0: Path, tmp_path: Path) -> None:
    write_lite("lite0", tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == lite0.read_bytes()


def test_a_network_of_ones_own(tmp_path: Path) -> None:
    found = write_module(Two(), 2, tmp_path / "two.onnx", MINE)
    assert found.facts.levels == (Level("level_0_stride_2", 5, 2), Level("level_1_stride_4", 3, 4))
    assert found.facts.features == Level("features", 8, 2)
    assert (found.facts.mean, found.facts.std) == (MINE.mean, MINE.std)
    image = torch.randn(1, 3, 32, 16)
    with torch.no_grad():
        coarse, fine = Two().double()(image.double())
    got = computed(tmp_path / "two.onnx", image)
    np.testing.assert_allclose(got, expected([fine, coarse]), rtol=0, atol=1e-5)


def plain_onnx(path: Path, network: nn.Module, fixed: bool = False) -> None:
    axes = {} if fixed else {"picture": {0: "n", 2: "h", 3: "w"}}
    torch.onnx.export(
        network, (torch.zeros(1, 3, 48, 48),), str(path), input_names=["picture"],
        output_names=["deep", "shallow"], dynamic_axes=axes, **exporter(),
    )  # fmt: skip


def test_an_onnx_file_of_somebody_else(tmp_path: Path) -> None:
    plain_onnx(tmp_path / "plain.onnx", Two())
    write_onnx(tmp_path / "plain.onnx", ["shallow", "deep"], tmp_path / "out.onnx", MINE)
    write_module(Two(), 2, tmp_path / "two.onnx", MINE)
    image = torch.randn(1, 3, 32, 32)
    one, other = (computed(tmp_path / n, image) for n in ("out.onnx", "two.onnx"))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)  # simplified in another order


@pytest.mark.parametrize(
    ("arrange", "sentence"),
    [
        (lambda p: p.write_bytes(b"no graph"), "not an ONNX file"),
        (lambda p: plain_onnx(p, Two(more=3)), "stride"),
        (lambda p: plain_onnx(p, Two(), fixed=True), "free axes"),
    ],
)
def test_graphs_that_cannot_be_used(tmp_path: Path, arrange, sentence: str) -> None:
    arrange(tmp_path / "plain.onnx")
    out = tmp_path / "out.onnx"
    with pytest.raises(ExportError, match=sentence):
        write_onnx(tmp_path / "plain.onnx", ["deep", "shallow"], out, MINE)
    assert not out.exists()


def test_a_value_that_is_not_there(tmp_path: Path) -> None:
    plain_onnx(tmp_path / "plain.onnx", Two())
    with pytest.raises(ExportError, match="no value 'layer3'; its outputs are deep, shallow"):
        write_onnx(tmp_path / "plain.onnx", ["layer3"], tmp_path / "out.onnx", MINE)


def test_reading_needs_neither_torch_nor_onnx(lite0: Path) -> None:
    script = (
        "import sys; from edgead.learning.backbone import read_backbone; "
        f"print(read_backbone({str(lite0)!r}).facts.name); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'onnx', 'openvino')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "lite0\n")


def changed(data: bytes, **facts: object) -> bytes:
    model = onnx.load_from_string(data)
    for entry in model.metadata_props:
        if entry.key == KEY:
            entry.value = json.dumps({**json.loads(entry.value), **facts})
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda data: b"", "not an ONNX file"),
        (lambda data: data[:-200], "truncated"),
        (lambda data: data[:1000] + bytes([data[1000] ^ 1]) + data[1001:], "ONNX|digest"),
        (lambda data: changed(data, mean=[0.5, 0.5]), "mean"),
        (lambda data: changed(data, std=[0.5, 0.5, 0.0]), "std"),
        (lambda data: changed(data, levels=[]), "levels"),
        (lambda data: changed(data, graph_sha256="0" * 64), "digest"),
        (lambda data: changed(data, more=1), "unknown key"),
        (lambda data: changed(data, multiple=0), "multiple are 1 to"),
        (lambda data: changed(data, multiple=10**30), "multiple is 1000"),
        (lambda data: changed(data, multiple=24), "a multiple of every stride"),
        (lambda data: data.replace(b'{"name": "lite0"', b'["name": "lite0"'), "not JSON"),
    ],
)
def test_a_damaged_file_is_refused(lite0: Path, tmp_path: Path, change, sentence: str) -> None:
    (tmp_path / "bad.onnx").write_bytes(change(lite0.read_bytes()))
    with pytest.raises(InputError, match=sentence):
        read_backbone(tmp_path / "bad.onnx")


def test_onnx_without_facts_names_the_command(tmp_path: Path) -> None:
    plain_onnx(tmp_path / "plain.onnx", Two())
    with pytest.raises(InputError, match=r"edgead backbone FILE\.onnx --outputs"):
        read_backbone(tmp_path / "plain.onnx")
    with pytest.raises(InputError, match="does not exist"):
        read_backbone(tmp_path / "none.onnx")


def test_size_is_a_multiple(lite0: Path) -> None:
    backbone = read_backbone(lite0)
    assert backbone.params((256, 64)).size == (256, 64)
    with pytest.raises(InputError, match="multiples of 16"):
        backbone.params((256, 100))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["lite9"], "expected one of lite0, lite1, lite2"),
        (["lite0", "--strides", "8,32"], "expected some of 4, 8, 16"),
        (["lite0", "--strides", "8,nan"], "expected finite numbers"),
        (["lite0", "--mean", "0,0,0"], "--mean describes an ONNX file"),
        (["mine.onnx"], "lacks --outputs, --mean, --std, --licence"),
    ],
)
def test_the_command_refuses(arguments, sentence: str, tmp_path: Path, capsys) -> None:
    assert main(["backbone", *arguments, "--out", str(tmp_path / "out.onnx")]) == 1
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_used_is_not_written(tmp_path: Path, capsys) -> None:
    plain_onnx(tmp_path / "plain.onnx", Two())
    out = tmp_path / "out.onnx"
    out.write_bytes(b"an older one")
    for mean, std in (("0,0,0", "1,0,1"), ("0,0,0", "-1,1,1")):
        options = [
            "--outputs",
            "shallow,deep",
            f"--mean={mean}",
            f"--std={std}",
            "--licence",
            "MIT",
        ]
        assert main(["backbone", str(tmp_path / "plain.onnx"), *options, "--out", str(out)]) == 1
        assert "expected three numbers" in capsys.readouterr().err
        assert out.read_bytes() == b"an older one"


def test_a_bundle_is_no_place_for_a_backbone(bundle_dir: Path, tmp_path: Path, capsys) -> None:
    before = (bundle_dir / "model.onnx").read_bytes()
    assert main(["backbone", "lite0", "--out", str(bundle_dir / "model.onnx")]) == 1
    assert "is inside a bundle" in capsys.readouterr().err
    assert (bundle_dir / "model.onnx").read_bytes() == before
    with pytest.raises(InputError, match="give it with --like"):
        read_backbone(bundle_dir)


def test_the_command_writes(tmp_path: Path, capsys) -> None:
    plain_onnx(tmp_path / "plain.onnx", Two())
    out = tmp_path / "out.onnx"
    options = ["--outputs", "shallow,deep", "--mean", "0.4,0.5,0.6", "--std", "1,1,1"]
    command = ["backbone", str(tmp_path / "plain.onnx"), *options, "--licence", "MIT"]
    assert main([*command, "--out", str(out), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["licence"] == "MIT" and printed["levels"][0]["stride"] == 2
    assert printed["graph_sha256"] == read_backbone(out).facts.graph_sha256
