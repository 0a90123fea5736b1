"""What is measured once the steps are done, by a run that was stopped while it measured."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

SIZE = {"size": [64, 64], "batch_size": 2}
CASES = {  # settings, and the title of a bar that comes after the last step
    "redi": ({"bank_size": 3, "width": 8}, "distances of the good images"),
    "agpnet": ({"width": 16, "heads": 2, "blocks": 1}, "distances of the good images"),
    "arnet": ({"width": 0.0625}, "restoration errors of the good images"),
    "ssae": ({"width": 0.0625}, "errors of the good images"),
}


@pytest.mark.parametrize("method", CASES)
def test_a_run_stopped_after_its_last_step_measures_the_same(train_steps, tmp_path, method):
    settings, title = CASES[method]
    train_steps(method, SIZE | settings, tmp_path / "whole", steps=4)
    with pytest.raises(KeyboardInterrupt):
        train_steps(method, SIZE | settings, tmp_path / "stopped", steps=4, stop_in=title)
    assert not (tmp_path / "stopped" / "model.safetensors").exists()
    run = train_steps(method, {}, tmp_path / "stopped", steps=4, resume=True)
    assert run.provenance["steps"] == 4
    whole, stopped = (load_file(tmp_path / r / "model.safetensors") for r in ("whole", "stopped"))
    assert whole.keys() == stopped.keys()
    assert [name for name in whole if not torch.equal(whole[name], stopped[name])] == []
