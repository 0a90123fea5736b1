"""Builds the simulation once per compiler and sanitizer, for all tests of this folder."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import SANITIZERS, Build, Program

COMPILERS = ("g++", "clang++")
# `make test` builds the first, `make test-all` the others.
FIRST, *OTHERS = (Build(c, sanitizer) for c in COMPILERS for sanitizer in SANITIZERS)
BUILDS = [FIRST, *(pytest.param(build, marks=pytest.mark.exhaustive) for build in OTHERS)]


@pytest.fixture(scope="session")
def built(once: Callable[..., Path]) -> Callable[[Build], Program]:
    """The program of a Build; skips where the compiler is missing."""

    def program(build: Build) -> Program:
        for tool in (build.compiler, "objcopy"):
            if shutil.which(tool) is None:
                pytest.skip(f"{tool} is not installed")
        folder = once(f"cuda_on_cpu-{build}", lambda folder: Program(build, folder).compile())
        return Program(build, folder)

    return program


@pytest.fixture(params=BUILDS, ids=str)
def program(request: pytest.FixtureRequest, built: Callable[[Build], Program]) -> Program:
    """Every compiler with every sanitizer."""
    return built(request.param)
