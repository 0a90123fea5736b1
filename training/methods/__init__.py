"""The methods. Each is a graph from an image to feature pairs, with the stages that train it."""

from __future__ import annotations

from .agpnet import AGPNet, AGPNetSettings
from .arnet import ARNet, ARNetSettings
from .base import Method, Stage, TrainingSet
from .redi import ReDi, ReDiSettings
from .ssae import SSAE, SSAESettings

METHODS: dict[str, type[Method]] = {"agpnet": AGPNet, "arnet": ARNet, "redi": ReDi, "ssae": SSAE}

__all__ = [
    "METHODS",
    "SSAE",
    "AGPNet",
    "AGPNetSettings",
    "ARNet",
    "ARNetSettings",
    "Method",
    "ReDi",
    "ReDiSettings",
    "SSAESettings",
    "Stage",
    "TrainingSet",
]
