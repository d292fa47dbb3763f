# SPDX-License-Identifier: Apache-2.0
"""What is said on control sockets: round trips, and that nothing but an InnkeeperError comes of rubbish."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.api import frames, messages
from innkeeper.api.frames import FrameKind, FrameReader
from innkeeper.api.messages import LineReader
from innkeeper.api.vmm_protocol import (
    LINE_LIMIT_BYTES,
    EndedRecord,
    ExecParameters,
    VmDisk,
    VmmConfig,
    VmStatus,
)
from innkeeper.errors import ConfigError, GuestError, HostError, InnkeeperError

CONFIG = VmmConfig(
    id="0123456789ab",
    name="web",
    control_socket="/run/x.sock",
    console_log="/var/x/console.log",
    generation="0" * 32,
    disks=(VmDisk("/disk.img", True),),
    mac_addresses=("02:00:00:00:00:01",),
    networks=("user",),
    ports=("8080:80",),
)
STATUS = VmStatus("0123456789ab", "running", True, 7, 8, "0" * 32, 1, 2, 1, 1 << 28, 9, 10)
ENDED = EndedRecord("crashed", "its kernel panicked", 0, "0" * 32, 7, 8)
EXEC = ExecParameters(("ls", "-l"), {"A": "1"}, "/tmp", "root", True, 100, 30, 1.5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("value", [CONFIG, STATUS, ENDED, EXEC, replace(CONFIG, disks=(), image="")])
def test_round_trips(value: Any) -> None:
    assert type(value).from_json(json.loads(json.dumps(value.to_json()))) == value


@given(data=st.data())
def test_a_wrong_field_is_a_config_error_or_none(data: st.DataObject) -> None:
    """Whatever is put in place of a field, all that comes out is a value of the type, or ConfigError."""
    value: Any = data.draw(st.sampled_from([CONFIG, STATUS, ENDED, EXEC]))
    fields = json.loads(json.dumps(value.to_json()))
    fields[data.draw(st.sampled_from(sorted(fields)))] = data.draw(JSON)
    try:
        again = type(value).from_json(fields)
    except ConfigError as error:
        assert error.remedy
    else:
        assert type(value).from_json(json.loads(json.dumps(again.to_json()))) == again


@given(JSON)
def test_no_object_is_a_config_error(value: Any) -> None:
    for cls in (VmmConfig, VmStatus, EndedRecord, ExecParameters):
        with pytest.raises(ConfigError):
            cls.from_json(value)  # type: ignore[attr-defined]


def test_configuration_file_that_is_missing_or_damaged(tmp_path: Path) -> None:
    path = tmp_path / "vmm.json"
    with pytest.raises(ConfigError, match="No such file"):
        VmmConfig.read(path)
    path.write_text(json.dumps(CONFIG.to_json())[:-9])
    with pytest.raises(ConfigError):
        VmmConfig.read(path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"argv": []},
        {"argv": [""]},
        {"argv": ["a\0b"]},
        {"argv": "ls"},
        {"argv": ["ls"], "env": {"A=B": "c"}},
        {"argv": ["ls"], "env": {"": "c"}},
        {"argv": ["ls"], "columns": 70000},
        {"argv": ["ls"], "timeout_s": -1},
        {"argv": ["ls"], "tty": 1},
    ],
)
def test_commands_that_cannot_be_run(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ExecParameters.from_json(wrong)


@given(st.lists(st.binary(max_size=200).map(lambda b: b.replace(b"\n", b"")), max_size=8), st.data())
def test_lines_come_in_any_pieces(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines) + b"rest"
    reader, found = LineReader(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += reader.feed(stream[:size])
        stream = stream[size:]
    assert found == lines
    assert reader.rest() == b"rest" and reader.rest() == b""


def test_lines_are_bounded() -> None:
    reader = LineReader()
    assert reader.feed(b"x" * LINE_LIMIT_BYTES) == []
    with pytest.raises(ConfigError, match="1 MiB"):
        reader.feed(b"x")
    with pytest.raises(ConfigError, match="1 MiB"):
        LineReader().feed(b"x" * (LINE_LIMIT_BYTES + 1) + b"\n")
    with pytest.raises(ConfigError, match="1 MiB"):
        messages.encode_line({"text": "x" * LINE_LIMIT_BYTES})


@given(st.binary(max_size=100) | JSON.map(lambda value: json.dumps(value).encode()))
def test_requests_and_answers_of_rubbish(line: bytes) -> None:
    for decode in (messages.decode_request, messages.decode_answer):
        with contextlib.suppress(InnkeeperError):
            decode(line)


@pytest.mark.parametrize("kind", [GuestError, HostError, ConfigError])
def test_errors_cross_the_socket(kind: type[InnkeeperError]) -> None:
    number, error = messages.decode_answer(messages.encode_error(5, kind("it broke", "mend it")))
    assert number == 5 and type(error) is kind
    assert (error.message, error.remedy) == ("it broke", "mend it")
    failure = frames.decode_failure(frames.encode_failure(kind("it broke", "mend it"))[5:])
    assert type(failure) is kind and failure.remedy == "mend it"


@given(st.lists(st.tuples(st.sampled_from(FrameKind), st.binary(max_size=300)), max_size=6), st.data())
def test_frames_come_in_any_pieces(wanted: list[tuple[FrameKind, bytes]], data: st.DataObject) -> None:
    stream = b"".join(frames.encode_frame(kind, payload) for kind, payload in wanted)
    reader, found = FrameReader(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += reader.feed(stream[:size])
        stream = stream[size:]
    assert found == wanted


def test_frames_are_bounded() -> None:
    long = b"x" * (frames.PAYLOAD_LIMIT_BYTES + 1)
    with pytest.raises(ValueError):
        frames.encode_frame(FrameKind.STDIN, long)
    parts = FrameReader().feed(frames.encode_data(FrameKind.STDIN, long))
    assert [len(payload) for _, payload in parts] == [frames.PAYLOAD_LIMIT_BYTES, 1]
    for head in (b"\x00\x00\x01\x00\x01", b"\x07\x00\x00\x00\x00"):
        with pytest.raises(HostError):
            FrameReader().feed(head)


def test_payloads_of_frames() -> None:
    assert frames.decode_exit(frames.encode_exit(143)[5:]) == 143
    assert frames.decode_window(frames.encode_window(132, 43)[5:]) == (132, 43)
    assert frames.decode_signal(frames.encode_signal(15)[5:]) == 15
    for decode in (frames.decode_exit, frames.decode_window, frames.decode_signal, frames.decode_failure):
        with pytest.raises(HostError):
            decode(b"\0\0\0")
