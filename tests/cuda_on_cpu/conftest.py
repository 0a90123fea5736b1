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
BUILDS = [Build(compiler, sanitizer) for compiler in COMPILERS for sanitizer in SANITIZERS]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Build], Program]:
    """The program of a Build; skips where the compiler is missing."""
    programs: dict[Build, Program] = {}

    def program(build: Build) -> Program:
        for tool in (build.compiler, "objcopy"):
            if shutil.which(tool) is None:
                pytest.skip(f"{tool} is not installed")
        if build not in programs:
            programs[build] = Program(build, tmp_path_factory.mktemp("cuda_on_cpu"))
        return programs[build]

    return program


@pytest.fixture(params=BUILDS, ids=str)
def program(request: pytest.FixtureRequest, built: Callable[[Build], Program]) -> Program:
    """Every compiler with every sanitizer."""
    return built(request.param)
