"""Networks of timm as backbones; ``make test-timm`` runs them, in an environment of its own."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytestmark = [
    pytest.mark.timm,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's exporter
]

VIT, VIT14, CNN = "vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2", "resnet18"
SMALL = ["--steps", "2", "--set", "width=12", "--set", "blocks=1", "--set", "batch_size=2"]


def opened(name: str, size: tuple[int, int], weights: str = "random", **more):
    from edgead_training.features.choice import BackboneChoice, open_backbone

    return open_backbone(BackboneChoice(f"timm:{name}", weights, **more), size)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve discs of slightly different place, 80 x 72."""
    folder, rng = tmp_path_factory.mktemp("parts"), np.random.default_rng(0)
    for index in range(12):
        image = rng.integers(80, 90, (80, 72, 3), dtype=np.uint8)
        centre = (36 + int(rng.integers(-4, 5)), 40)
        cv2.circle(image, centre, 20, (60, 120, int(rng.integers(160, 220))), -1)
        cv2.imwrite(str(folder / f"{index:03d}.png"), image)
    return folder


@pytest.mark.parametrize(("name", "size"), [(VIT, (64, 96)), (VIT14, (70, 84))])
def test_attention_and_levels_are_those_of_the_blocks(name: str, size: tuple[int, int]) -> None:
    import torch

    backbone = opened(name, size)
    patch, network = backbone.multiple, backbone.network
    grid = (size[0] // patch, size[1] // patch)
    assert backbone.strides == (patch,) * 3 and len(set(backbone.channels)) == 1
    image = torch.randn(2, 3, *size)
    seen, outputs = [], []

    def at_attention(module, inputs, output):
        (x,), heads = inputs[:1], module.num_heads
        q, k, _ = module.qkv(x).unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        logits = q.double() @ k.double().transpose(-2, -1) * q.shape[-1] ** -0.5
        seen.append(torch.softmax(logits, -1).mean((1, 2)))  # what each token gets

    blocks = [network.blocks[k] for k in (2, 5, 8)]  # a quarter, a half, three quarters of 12
    hooks = [block.attn.register_forward_hook(at_attention) for block in blocks]
    hooks += [b.register_forward_hook(lambda m, i, output: outputs.append(output)) for b in blocks]
    with torch.no_grad():
        levels, attention = backbone.features_and_attention(image)
    for hook in hooks:
        hook.remove()
    skipped = network.num_prefix_tokens
    want = torch.stack(seen).mean(0)[:, skipped:].reshape(2, 1, *grid)
    torch.testing.assert_close(attention.double(), want, atol=1e-6, rtol=1e-4)
    for level, output in zip(levels, outputs, strict=True):
        assert torch.equal(level, output[:, skipped:].transpose(1, 2).unflatten(2, grid))


def test_a_hierarchy_gives_the_levels_of_timms_own_extractor() -> None:
    import timm
    import torch

    backbone = opened(CNN, (64, 96))
    assert (backbone.channels, backbone.strides) == ((64, 128, 256), (4, 8, 16))
    torch.manual_seed(0)  # as random weights are drawn
    theirs = timm.create_model(CNN, features_only=True, out_indices=(1, 2, 3)).eval()
    own = backbone.network.state_dict()
    theirs.load_state_dict({key: own[key] for key in theirs.state_dict()})
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        levels, attention = backbone.features_and_attention(image)
        for ours, want in zip(levels, theirs(image), strict=True):
            torch.testing.assert_close(ours, want)
    assert attention is None  # of a convolutional network


def test_attention_of_windows_is_none() -> None:
    import torch

    backbone = opened("swin_tiny_patch4_window7_224", (224, 224))
    with torch.no_grad():
        assert backbone.features_and_attention(torch.zeros(1, 3, 224, 224))[1] is None


def test_agpnets_prior_is_the_attention() -> None:
    import torch
    from edgead_training.methods import AGPNet

    backbone = opened(VIT, (64, 96))
    settings = {"size": [64, 96], "width": 12, "blocks": 1, "join": "sum"}
    method = AGPNet.from_settings(settings, 3, backbone).eval()
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        clean, prior = method.describe(image)
        assert torch.equal(prior, backbone.features_and_attention(image)[1])
    assert clean.shape == (2, 192, 4, 6)  # levels of one shape are added as they are
    assert not [name for name, _ in method.named_buffers() if name.startswith("project")]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the whole network, classifier included."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    save_file(timm.create_model(VIT, num_classes=10).state_dict(), path)
    return path


def test_saved_weights_are_used_and_described(saved: Path) -> None:
    import torch
    from safetensors.torch import load_file

    backbone = opened(VIT, (224, 224), str(saved), licence="MIT")
    tensors, own = load_file(saved), backbone.network.state_dict()
    assert own and all(torch.equal(value, tensors[key]) for key, value in own.items())
    facts = backbone.facts()
    assert facts["sha256"] == hashlib.sha256(saved.read_bytes()).hexdigest()
    assert (facts["weights"], facts["licence"]) == ("mine.safetensors", "MIT")
    assert facts["mean"] == [0.5, 0.5, 0.5]  # as timm says of this network


@pytest.mark.parametrize(
    ("name", "size", "sentence"),
    [
        ("vit_small_patch16_224", (64, 64), r"tensors are missing|\d+ have another shape, as "),
        (CNN, (64, 64), r"\d+ of its \d+ tensors are missing, as conv1.weight"),
        ("resnet99", (64, 64), "knows no network 'resnet99'; did you mean resnet"),
        (f"{CNN}.nobody_in1k", (64, 64), "Invalid pretrained tag"),
    ],
)
def test_bad_names_and_weights_of_others(name, size, sentence: str, saved: Path) -> None:
    from edgead.errors import TrainingError

    with pytest.raises(TrainingError, match=sentence):
        opened(name, size, str(saved), licence="MIT")


def test_a_patch_that_does_not_divide_the_size(parts: Path, tmp_path: Path, capsys) -> None:
    from edgead.cli.main import main

    command = ["train", "agpnet", str(parts), "--backbone", f"timm:{VIT14}", "--weights", "random"]
    command += ["--out", str(tmp_path / "run")]
    assert main(command) == 1
    assert "have strides 14; add --set stride=14" in capsys.readouterr().err
    assert main([*command, "--set", "stride=14"]) == 1
    error = capsys.readouterr().err
    assert "must be multiples of 14" in error and "--set size=[252, 252]" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize(
    ("name", "settings"), [(VIT, ["size=[64,64]"]), (VIT14, ["size=[70,70]", "stride=14"])]
)
def test_train_export_inspect_and_score(
    name: str, settings: list[str], joined: bool, parts: Path, tmp_path: Path, capsys
) -> None:
    from edgead.cli.main import main

    run, bundle = tmp_path / "run", tmp_path / "vit.edgead"
    words = [f"--set={each}" for each in settings]
    backbone = ["--backbone", f"timm:{name}", "--weights", "random"]
    assert main(["train", "agpnet", str(parts), "--out", str(run), *backbone, *SMALL, *words]) == 0
    more = ["--with", "instant"] if joined else []
    assert main(["export", str(run), "--out", str(bundle), "--float32-only", *more]) == 0
    capsys.readouterr()
    assert main(["inspect", str(bundle)]) == 0
    shown = capsys.readouterr().out
    digest = json.loads((run / "run.json").read_text())["backbone"]["sha256"]
    assert f"name: timm:{name}" in shown and f"sha256: {digest}" in shown
    assert "licence: apache-2.0" in shown
    assert main(["score", str(bundle), str(parts / "000.png")]) in (0, 1)
