"""Does a running Triton serve what was learnt? It scores the golden frames, as a qualification."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from edgead import _cpu
from edgead.bundle.storage import Bundle
from edgead.errors import DeviceError, InputError, MissingExtraError, QualificationError, printable
from edgead.images import decode_image
from edgead.installation import cure
from edgead.nvidia.kernels import PRECISION
from edgead.scale.triton.repository import STAGES, model_name
from edgead.scale.triton.tensors import FRAME, FRAME16

_NO_BACKEND = re.compile(r"unable to find backend library for backend '(\w+)'")


def triton_client() -> ModuleType:
    """``tritonclient.grpc``. Raises: MissingExtraError where it is not installed."""
    try:
        import tritonclient.grpc as found
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"talking to Triton needs {error.name}, which is not installed: {cure('triton')}"
        ) from error
    return found  # type: ignore[no-any-return]


def check_server(url: str, bundles: Sequence[Bundle]) -> dict[str, dict[str, Any]]:
    """Let a server score the golden frames of bundles, and hold it to their tolerances.

    Args:
        url: HOST:PORT of its gRPC service.
        bundles: as they were given to ``write_repository``.

    Returns:
        Name of the model -> "frames" that were compared, the largest "score_difference" and
        "map_difference", and the "tolerance" of the score.

    Raises:
        MissingExtraError: tritonclient is not installed.
        DeviceError: no server there, a model that it does not have or could not load, with its
            reason, or a frame that it does not score.
        QualificationError: a golden frame is not reproduced.
    """
    grpc = triton_client()
    client = grpc.InferenceServerClient(url)
    try:
        _check_live(client, url)
        return {model_name(one): _checked(grpc, client, one, url) for one in bundles}
    finally:
        client.close()


def _check_live(client: Any, url: str) -> None:
    try:
        live = client.is_server_live(client_timeout=5)
    except Exception as error:
        raise DeviceError(
            f"no Triton answers at {printable(url)}: start tritonserver, and give the port of its "
            "gRPC service, 8001 by default. One that cannot load a model ends at once and says why "
            "in its log, unless it is started with --exit-on-error=false"
        ) from error
    if not live:
        raise DeviceError(f"the Triton at {printable(url)} is not live yet; try again later")


def _checked(grpc: ModuleType, client: Any, bundle: Bundle, url: str) -> dict[str, Any]:
    name, manifest = model_name(bundle), bundle.manifest
    _check_ready(client, name, url)
    config = client.get_model_config(name, as_json=True)["config"]
    takes = {one["name"] for one in config["input"]}
    precision, red_first = _served(client, name, config)
    tolerance = manifest.core.tolerance_of(precision)
    checks = []
    for index, golden in enumerate(manifest.golden):
        frame = decode_image(bundle.read(golden.image), golden.image)
        given = FRAME if frame.dtype == np.uint8 else FRAME16
        if given not in takes:  # an ensemble has one type of frames
            continue
        if red_first and frame.ndim == 3:
            frame = frame[..., ::-1]
        score, values = scored(grpc, client, name, given, frame)
        expected = bundle.read_map(golden.map, manifest.map_size(frame.shape[:2]))
        checks.append(_cpu.compare_golden(manifest.core, index, tolerance, score, values, expected))
    path = str(bundle.path).encode("utf-8", "surrogateescape")
    if problem := _cpu.problem_of_golden(checks, f"Triton at {url}", precision, path):
        raise QualificationError(problem)
    if not checks:
        raise InputError(
            f"{name} takes {', '.join(sorted(takes))}: no golden frame is of that type"
        )
    return {
        "frames": len(checks),
        "score_difference": max(check.score_difference for check in checks),
        "map_difference": max(check.map_difference for check in checks),
        "tolerance": tolerance[0],
    }


def _served(client: Any, name: str, config: dict[str, Any]) -> tuple[str, bool]:
    """Precision of what is served, and whether its frames are red first, as it was written."""
    last = f"{name}_after"  # which says so in an ensemble
    if "edgead" not in config.get("parameters", {}) and client.is_model_ready(last):
        config = client.get_model_config(last, as_json=True)["config"]
    own = config.get("parameters", {}).get("edgead")
    if own is None:  # somebody else's model
        return "float32", False
    told = json.loads(own["string_value"])
    on_gpu = str(told.get("device", "")).startswith("cuda")
    usual = PRECISION if on_gpu else "float32"
    return told["precision"] or usual, told["color"] == "rgb"


def scored(grpc: ModuleType, client: Any, name: str, given: str, frame: Any) -> tuple[float, Any]:
    """Score and map of a frame by the model ``name``, whose input is ``given``."""
    batch = np.ascontiguousarray(np.atleast_3d(frame)[None])
    kind = "UINT8" if given == FRAME else "UINT16"
    one = grpc.InferInput(given, list(batch.shape), kind)
    one.set_data_from_numpy(batch)
    asked = [grpc.InferRequestedOutput(output) for output in ("SCORE", "MAP")]
    try:
        answer = client.infer(name, [one], outputs=asked)
    except Exception as error:
        raise DeviceError(f"{name} does not score a golden frame: {error}") from error
    return float(answer.as_numpy("SCORE")[0, 0]), answer.as_numpy("MAP")[0]


def _check_ready(client: Any, name: str, url: str) -> None:
    if client.is_model_ready(name):
        return
    index = client.get_model_repository_index(as_json=True).get("models", [])
    own = {name, *(f"{name}_{stage}" for stage in STAGES)}
    reasons = [
        f"{one['name']}: {one['reason']}"
        for one in index
        if one["name"] in own and one.get("reason") not in (None, "", "unloaded")
    ]
    said = " ".join(" ".join(reasons).split())
    missing = _NO_BACKEND.search(said)
    if missing is not None:
        cures = "or write the repository with --form python, which needs the Python backend alone"
        if missing[1] == "python":
            cures = "which NVIDIA's images with py3 in their names do"
        raise DeviceError(
            f"the Triton at {printable(url)} has no backend {missing[1]}, which {name} needs: use "
            f"a server that has it (its folder backends says what it has), {cures}"
        )
    if said:
        raise DeviceError(
            f"the Triton at {printable(url)} could not load {name}: {printable(said)}"
        )
    raise DeviceError(
        f"the Triton at {printable(url)} has no model {name}: write it with edgead "
        "serve-repository, and start the server with that folder"
    )
