"""Every sink's output is what docs/verdict.schema.json says, of verdicts as a loop makes them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from receivers import eventually, free_port

SCHEMA = Path(__file__).resolve().parents[3] / "docs" / "verdict.schema.json"


@pytest.fixture(scope="module")
def validate():
    """``validate(record)``: raises where it is not what the schema says."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema).validate


@pytest.fixture
def records(bundle_dir, frames, tmp_path, watch, arrive):
    """Verdicts, good and anomalous, and an error, printed by edgead watch --config."""
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    (tmp_path / "line.toml").write_text(
        f'[[camera]]\nname = "left"\nsource = "{incoming}"\nbundle = "{bundle_dir}"\n'
        "threads = 1\nevery_frame = true\ndigests = true\ndrift = true\n"
        f'sinks = ["file"]\n[sink.file]\nkind = "jsonl"\npath = "{tmp_path / "out.jsonl"}"\n'
    )
    process = watch("--config", tmp_path / "line.toml")
    process.wait_for_log("watch  left")
    found = []
    for number, frame in enumerate(frames[2:4]):
        arrive(incoming / f"{number}.png", frame)
        found.append(process.line())
    (incoming / "broken.png").write_bytes(b"no image")
    found.append(process.line())
    process.process.terminate()
    assert process.end()[0] == 0
    assert "error" in found[2] and found[1]["is_anomalous"]
    return found


def test_the_lines_of_every_sink_are_what_the_schema_says(
    records, validate, tmp_path, sinks, broker, listen
):
    for record in records:
        validate(record)
    out = (tmp_path / "out.jsonl").read_text().splitlines()  # of the sink jsonl
    assert [json.loads(line) for line in out] == records

    hall = broker()
    listener = listen(hall.port)
    sink = sinks("mqtt", host="127.0.0.1", port=hall.port, spool=str(tmp_path / "spool"))
    for record in records:
        sink.send(record)
    eventually(lambda: len(listener.records()) == 3, sink.state)
    for record in listener.records():
        validate(record)

    asyncua = pytest.importorskip("asyncua")
    port = free_port()
    server = sinks("opcua", port=port, cameras=["left"])
    name = "edgead.left.ResultManagement.ResultContent"

    async def content():
        async with asyncua.Client(f"opc.tcp://127.0.0.1:{port}/edgead/") as client:
            index = await client.get_namespace_index("urn:edgead:line")
            for record in records:
                server.send(record)
                while await (node := client.get_node(f"ns={index};s={name}")).read_value() != (
                    json.dumps(record)
                ):
                    await asyncio.sleep(0.01)
                validate(json.loads(await node.read_value()))

    asyncio.run(asyncio.wait_for(content(), 60))


@pytest.mark.parametrize(
    "change",
    [
        {"id": "left-17"},
        {"camera": "a/b"},
        {"captured": "2026-11-30T10:00:09Z"},
        {"score": "1.5"},
        {"p_value": 0},
        {"unknown": 1},
        {"error": "and a verdict too"},
        {"is_anomalous": None},
    ],
)
def test_the_schema_refuses_what_is_no_record(validate, change):
    from jsonschema import ValidationError
    from receivers import a_record

    validate(a_record(1))
    with pytest.raises(ValidationError):
        validate({**a_record(1), **change})
