"""What clients of other makes read: asyncua's client and pymodbus's."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from datetime import datetime, timezone

import pytest
from receivers import a_record, eventually, free_port

from edgead.errors import DeviceError
from edgead.live.sinks.table import SettingsError

ERROR = {"frame": 9, "captured": "2026-11-30T10:00:09.250Z", "error": "image 9.png is cut off"}


@pytest.fixture
def opcua(sinks):
    """``opcua(**settings)``: (sink, port)."""
    pytest.importorskip("asyncua")

    def start(**settings):
        port = free_port()
        return sinks("opcua", port=port, **settings), port

    return start


def read(port, work, **login):
    """What ``work(client)`` gives."""
    from asyncua import Client

    async def run():
        client = Client(f"opc.tcp://127.0.0.1:{port}/edgead/")
        if login:
            client.set_user(login["user"])
            client.set_password(login["password"])
        async with client:
            return await work(client)

    return asyncio.run(run())


async def tree(client):
    """Path of each variable below edgead -> its value, by browsing alone."""
    found = {}

    async def walk(node, path):
        for child in await node.get_children():
            name = f"{path}/{(await child.read_browse_name()).Name}"
            if (await child.read_node_class()).name == "Variable":
                found[name] = await child.read_value()
            else:
                await walk(child, name)

    index = await client.get_namespace_index("urn:edgead:line")
    await walk(await client.nodes.objects.get_child(f"{index}:edgead"), "")
    return found


def test_opc_ua_has_the_latest_verdict_counters_and_health_of_each_camera(opcua):
    sink, port = opcua(cameras=["left", "right"])
    for number in range(5):
        sink.send(a_record(number))
    sink.report("left", ["too dark", "blurred"])
    sink.send({"id": "right-0-9", "camera": "right", **ERROR})
    found = eventually(
        lambda: (values := read(port, tree))["/right/Counters/Errors"] and values, sink.state
    )
    last = a_record(4)
    assert json.loads(found["/left/ResultManagement/ResultContent"]) == last
    assert found["/left/ResultManagement/ResultId"] == last["id"]
    assert found["/left/ResultManagement/Score"] == last["score"]
    assert found["/left/ResultManagement/IsAnomalous"] is False
    assert found["/left/ResultManagement/ResultState"] == 1
    created = found["/left/ResultManagement/CreationTime"]
    assert created.replace(tzinfo=None) == datetime(2026, 11, 30, 10, 0, 4, 250_000)
    assert found["/left/Counters/Verdicts"] == 5 and found["/left/Counters/Anomalous"] == 1
    assert found["/left/Health/Ok"] is False
    assert found["/left/Health/Sentences"] == "too dark\nblurred"
    assert found["/right/ResultManagement/ResultState"] == 4
    assert found["/right/Counters/Verdicts"] == 0
    assert sink.state().delivered == 6


def test_a_subscriber_hears_a_new_verdict_and_nobody_may_write(opcua):
    from asyncua import ua

    sink, port = opcua(cameras=["left"])
    heard = []

    class Handler:
        def datachange_notification(self, node, value, data):
            heard.append(value)

    async def subscribe(client):
        index = await client.get_namespace_index("urn:edgead:line")
        node = client.get_node(f"ns={index};s=edgead.left.ResultManagement.ResultId")
        subscription = await client.create_subscription(10, Handler())
        await subscription.subscribe_data_change(node)
        await asyncio.sleep(0.1)
        sink.send(a_record(7))
        for _ in range(2000):
            if a_record(7)["id"] in heard:
                break
            await asyncio.sleep(0.01)
        refused = []
        for target in (node, client.get_node("i=85")):
            try:
                if target is node:
                    await node.write_value("forged")
                else:
                    await target.add_object(index, "forged")
            except ua.UaStatusCodeError as error:
                refused.append(type(error).__name__)
        return refused

    refused = read(port, subscribe, user="admin", password="admin")
    assert heard[-1] == a_record(7)["id"]
    assert refused == ["BadUserAccessDenied", "BadUserAccessDenied"] or len(refused) == 2


def test_opc_ua_asks_for_the_login_where_there_is_one(opcua, tmp_path):
    from asyncua import ua

    (tmp_path / "secret").write_text("s3cret\n")
    _, port = opcua(user="line", password_file=str(tmp_path / "secret"), cameras=["left"])
    assert "/left/Health/Ok" in read(port, tree, user="line", password="s3cret")
    for login in (
        {},
        {"user": "line", "password": "wrong"},
        {"user": "admin", "password": "s3cret"},
    ):
        with pytest.raises((ua.UaError, ConnectionError)):
            read(port, tree, **login)


@pytest.fixture
def modbus(sinks):
    """``modbus(*cameras)``: (sink, client)."""
    pytest.importorskip("pymodbus")
    from pymodbus.client import ModbusTcpClient

    clients = []

    def start(*cameras):
        port = free_port()
        sink = sinks("modbus", port=port, cameras=list(cameras))
        clients.append(ModbusTcpClient("127.0.0.1", port=port))
        assert clients[-1].connect()
        return sink, clients[-1]

    yield start
    for client in clients:
        client.close()


def block(client, index):
    """The registers of a camera as docs/sinks.md maps them, unpacked by hand."""
    words = client.read_input_registers(32 * index, count=32).registers
    assert client.read_holding_registers(32 * index, count=32).registers == words
    assert words[21:] == [0] * 11
    names = "sequence flags frame verdicts anomalous errors score p_value threshold latency_ms"
    unpacked = struct.unpack(">HHIIIIffffIH", struct.pack(">21H", *words[:21]))
    return dict(zip([*names.split(), "seconds", "milliseconds"], unpacked, strict=True))


def test_modbus_has_each_camera_in_its_block(modbus):
    sink, client = modbus("left", "right")
    assert set(block(client, 0).values()) == {0} | {block(client, 0)["flags"]}
    for number in range(4):
        sink.send(a_record(number))
    sink.send({"id": "right-0-9", "camera": "right", **ERROR})
    sink.send(a_record(1, "middle"))  # has no block
    sink.report("right", ["no signal"])
    found = eventually(lambda: (b := block(client, 0))["verdicts"] == 4 and b)
    last = a_record(3)
    assert (found["sequence"], found["frame"], found["anomalous"], found["errors"]) == (4, 3, 1, 0)
    for key in ("score", "p_value", "threshold", "latency_ms"):
        assert found[key] == pytest.approx(last[key], rel=1e-6)
    moment = datetime(2026, 11, 30, 10, 0, 3, tzinfo=timezone.utc)
    assert (found["seconds"], found["milliseconds"]) == (moment.timestamp(), 250)
    eventually(lambda: block(client, 1)["errors"] == 1 and not client.read_coils(18).bits[0])
    for read_bits in (client.read_coils, client.read_discrete_inputs):
        # known, anomalous, camera good, error, toggle
        assert read_bits(0, count=5).bits[:5] == [True, True, True, False, False]
        assert read_bits(16, count=5).bits[:5] == [False, False, False, True, True]
    assert found["flags"] == 0b00111


def test_modbus_refuses_writes_and_what_is_outside_the_map(modbus):
    sink, client = modbus("left")
    sink.send(a_record(3))
    eventually(lambda: block(client, 0)["verdicts"] == 1)
    before = block(client, 0)
    assert client.write_register(0, 7).isError()
    assert client.write_coil(0, True).isError()
    assert client.read_input_registers(32, count=1).isError()
    assert block(client, 0) == before


def test_counters_and_clocks_that_do_not_fit_do_not_stop_the_server(modbus):
    sink, client = modbus("left")
    sink.send(a_record(2**40 + 5, score=1e300, captured="9999-12-31T23:59:59.000Z"))
    found = eventually(lambda: (b := block(client, 0))["verdicts"] == 1 and b)
    assert found["frame"] == 5 and found["score"] == pytest.approx(3.4e38)
    sink.send(a_record(1))
    eventually(lambda: block(client, 0)["verdicts"] == 2)


@pytest.mark.parametrize("kind", ["opcua", "modbus"])
def test_a_port_in_use_is_named_at_the_check_and_at_the_start(sinks, kind):
    pytest.importorskip({"opcua": "asyncua", "modbus": "pymodbus"}[kind])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sink = sinks(kind, opened=False, port=port, cameras=["left"])
        words = f"port = {port} is in use by another program: take another one"
        assert sink.check() == words
        with pytest.raises(DeviceError, match=rf"\[sink.hall\] {words}"):
            sink.open()
    assert sink.check() is None
    elsewhere = sinks(kind, opened=False, host="192.0.2.7", cameras=["left"])
    assert "is not an address of this machine" in elsewhere.check()


@pytest.mark.parametrize(
    ("kind", "wrong", "words"),
    [
        ("modbus", {}, "cameras is missing: expected a list of names of cameras"),
        ("modbus", {"cameras": []}, "cameras names 0: expected 1 to 64"),
        ("modbus", {"cameras": ["a", "a"]}, "expected a list of names of cameras"),
        ("opcua", {"user": "line"}, "password_file is missing: a login takes both"),
        ("opcua", {"camera": "left"}, "camera is not a key here (did you mean cameras?)"),
    ],
)
def test_a_wrong_key_is_named(sinks, kind, wrong, words):
    with pytest.raises(SettingsError) as caught:
        sinks(kind, opened=False, **wrong)
    assert words in str(caught.value)


def test_a_verdict_that_cannot_be_shown_is_said_and_the_next_one_is_shown(modbus):
    sink, client = modbus("left")
    sink.send(a_record(0, captured="no time"))
    eventually(lambda: "a verdict of left cannot be shown" in (sink.state().why or ""))
    sink.send(a_record(1))
    eventually(lambda: block(client, 0)["verdicts"] == 2)
    assert eventually(lambda: sink.state().why is None)
