"""edgead watch --config with a sink: what is printed is what the broker hears."""

from __future__ import annotations

import json
import signal

import cv2
import pytest
from receivers import eventually, free_port, unique

from edgead.records.reviews import Reviews


@pytest.fixture
def long_film(frames, tmp_path):
    """The frames 100 times over: longer than any test lets it run."""
    path = tmp_path / "long.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 200, (90, 70))
    for _ in range(100):
        for frame in frames:
            writer.write(frame)
    writer.release()
    return path


@pytest.fixture
def line(tmp_path, bundle_dir):
    """``line(port, left=source)``: a line.toml whose cameras have the sink of that port."""

    def write(port: int, **sources: object):
        text = f'[defaults]\nbundle = "{bundle_dir}"\nthreads = 1\nsinks = ["hall"]\n'
        text += f'[sink.hall]\nkind = "mqtt"\nhost = "127.0.0.1"\nport = {port}\nspool = "spool"\n'
        for name, source in sources.items():
            text += f'[[camera]]\nname = "{name}"\nsource = "{source}"\n'
        (tmp_path / "line.toml").write_text(text)
        return tmp_path / "line.toml"

    return write


def test_what_was_printed_until_kill_9_reaches_the_broker_and_so_does_the_next_run(
    broker, listen, watch, line, long_film, film, tmp_path
):
    hall = broker()
    listener = listen(hall.port)
    hall.stop()
    process = watch("--config", line(hall.port, left=long_film))
    printed = [process.line() for _ in range(20)]
    process.process.send_signal(signal.SIGKILL)
    printed += [json.loads(found) for found in process.process.stdout.read().split("\n")[:-1]]
    assert (tmp_path / "spool" / "spool.db").exists()  # beside the file that names it
    hall.start()
    code, more, log = watch("--config", line(hall.port, left=film)).end()
    assert code == 0, log
    ids = {record["id"] for record in printed + more}
    assert len(ids) == len(printed) + len(more)  # also those of two runs
    eventually(lambda: ids <= {record["id"] for record in listener.records()}, lambda: log)
    received = [record for record in unique(listener.records()) if record["id"] in ids]
    assert received == printed + more
    assert listener.latest("edgead/status") == b"offline"


def test_a_lost_camera_is_told_as_its_health_and_a_lost_broker_on_stderr(
    broker, listen, watch, line, tmp_path
):
    hall = broker()
    listener = listen(hall.port)
    (tmp_path / "incoming").mkdir()
    sources = {"dead": "rtsp://127.0.0.1:9/none", "folder": tmp_path / "incoming"}
    process = watch("--config", line(hall.port, **sources))
    for name, is_ok in (("dead", False), ("folder", True)):
        topic = f"edgead/{name}/health"
        found = json.loads(eventually(lambda t=topic: listener.latest(t)))
        assert (found["camera"], found["ok"]) == (name, is_ok)
        assert bool(found["health"]) is not is_ok
    hall.stop(signal.SIGKILL)
    process.wait_for_log("lost   sink hall: the broker 127.0.0.1")
    hall.start()
    process.wait_for_log("back   sink hall")
    process.process.send_signal(signal.SIGTERM)
    assert process.end()[0] == 0


def test_check_says_whether_the_broker_can_be_reached(broker, watch, line, film):
    for port, is_ok in ((broker().port, True), (free_port(), False)):
        process = watch("--config", line(port, left=film), "--check", "--json")
        out, _ = process.process.communicate()
        found = json.loads(out)["sinks"][0]
        assert (found["name"], found["kind"], found["ok"]) == ("hall", "mqtt", is_ok)
        assert is_ok or "refuses connections" in found["why"]


def test_a_wrong_key_is_named_by_its_line(watch, line, film, tmp_path):
    path = line(1883, left=film)
    path.write_text(path.read_text().replace('spool = "spool"', "spool_mb = 0"))
    code, lines, log = watch("--config", path).end()
    assert (code, lines) == (1, [])
    assert "line.toml, line " in log and "[sink.hall] spool" in log


def test_records_have_what_was_printed_and_the_folder_is_beside_the_file(
    watch, line, film, frames, tmp_path
):
    path = line(1, left=film)
    text = path.read_text().replace('sinks = ["hall"]\n', "every_frame = true\n")
    path.write_text(text + '[records]\nfolder = "records"\nsample_every = 1000000\n')
    code, lines, log = watch("--config", path).end()
    assert code == 0 and "wrote  6 records to" in log, log
    reviews = Reviews(tmp_path / "records")
    found = reviews.after(0, 100)
    assert [entry.id for entry in found] == [printed["id"] for printed in lines]
    assert [entry.score for entry in found] == [printed["score"] for printed in lines]
    alarms = [entry for entry in found if entry.is_anomalous]
    assert alarms and all(entry.frame.is_file() for entry in alarms)
    reviews.close()
    path.write_text(text + '[records]\nfolder = "records"\nsample = 1\n')
    code, _, log = watch("--config", path).end()
    assert code == 1 and "[records] sample is not a key here (did you mean sample_every?)" in log
