"""The methods. Each is a graph from an image to feature pairs, with the stages that train it."""

from __future__ import annotations

from .base import Method, Stage, TrainingSet
from .redi import ReDi, ReDiSettings

METHODS: dict[str, type[Method]] = {"redi": ReDi}

__all__ = ["METHODS", "Method", "ReDi", "ReDiSettings", "Stage", "TrainingSet"]
