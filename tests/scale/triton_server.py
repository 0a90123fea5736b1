"""Start the tritonserver of nvidia-pytriton on a repository; it has the Python backend alone."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def backends(folder: Path) -> Path:
    """The backends of pytriton with the stub for this Python, as it lays them out itself."""
    import pytriton

    ours = Path(pytriton.__file__).parent / "tritonserver"
    target = folder / "backends"
    if not target.exists():
        shutil.copytree(ours / "backends", target)
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        stub = ours / "python_backend_stubs" / version / "triton_python_backend_stub"
        shutil.copy(stub, target / "python" / stub.name)
    return target


@contextmanager
def tritonserver(repository: Path, folder: Path, *options: str) -> Iterator[tuple[str, Path]]:
    """A server on ``repository`` until the block ends: (HOST:PORT of gRPC, its log).

    It is given 120 s to be ready, and the block begins whether or not its models are.
    """
    import pytriton

    home = Path(pytriton.__file__).parent
    grpc, log = free_port(), folder / "triton.log"
    environment = {**os.environ, "LD_LIBRARY_PATH": str(home.parent / "nvidia_pytriton.libs")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    command = [
        str(home / "tritonserver/bin/tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={backends(folder)}",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={grpc}",
        "--allow-http=false",
        "--allow-metrics=false",
        *options,
    ]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream)
    try:
        _wait(process, f"127.0.0.1:{grpc}", log)
        yield f"127.0.0.1:{grpc}", log
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    import tritonclient.grpc as triton

    client, latest = triton.InferenceServerClient(url), time.monotonic() + 120
    while time.monotonic() < latest:
        if process.poll() is not None:
            raise RuntimeError(f"tritonserver ended: {log.read_text()[-3000:]}")
        try:
            if client.is_server_live():
                return
        except triton.InferenceServerException:
            time.sleep(0.1)
    raise RuntimeError(f"tritonserver is not live: {log.read_text()[-3000:]}")
