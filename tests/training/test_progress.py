"""Progress bars: what they leave behind when the work ends in an error."""

from __future__ import annotations

import pytest
from edgead_training.progress import cleared, progress

from edgead.errors import DataError


def test_a_sentence_begins_on_a_line_of_its_own(capsys):
    bar = progress(range(3), "reading")  # held, as the traceback of the error holds it
    with pytest.raises(DataError), cleared():
        next(bar)
        raise DataError("a sentence")
    shown = capsys.readouterr().err
    assert "reading" in shown
    assert shown.endswith("\r") and not shown.split("\r")[-2].strip()  # wiped out
    bar.close()
    with cleared():
        assert list(progress(range(3), "again")) == [0, 1, 2]
