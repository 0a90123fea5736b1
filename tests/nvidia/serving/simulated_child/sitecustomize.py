"""First on PYTHONPATH of the process that serves: it finds a SIMULATED device there.

``SIMULATED``: JSON of what is planted, as ``{"fail_later": [name, calls, file]}``, once for each
``file`` that is there, which is removed; ``{"plan": path}``: what the plan cache gives;
``{"gone": file}``: there is no device while it is there.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

if "SIMULATED" in os.environ:
    here = Path(__file__).parents[1]
    sys.path[:0] = [str(here), str(here.parent)]

    import pytest
    from simulated_machine import install
    from simulation import CudaError, Device

    from edgead.nvidia import engine
    from edgead.nvidia.plans.plan import BuildOptions, Plan

    given = json.loads(os.environ["SIMULATED"])
    device = Device(count=0 if os.path.exists(given["gone"]) else 1)
    install(pytest.MonkeyPatch(), device)

    def own_plan(bundle: Any, library: Any, **asked: Any) -> Plan:
        path = Path(given["plan"])
        version = library.version_text
        about = (path, library.flavour, version, asked["precision"], asked["device"])
        return Plan(path.read_bytes(), *about, BuildOptions())

    engine.own_plan = own_plan
    name, calls, flag = given["fail_later"]
    run = device.call

    def call(what: str, *arguments: Any, **named: Any) -> None:
        if what == "launch" and os.path.exists(flag):
            os.remove(flag)
            device.fail_later(name, CudaError("an illegal memory access", 700), calls)
        run(what, *arguments, **named)

    device.call = call  # type: ignore[method-assign]
