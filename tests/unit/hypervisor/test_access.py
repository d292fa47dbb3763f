# SPDX-License-Identifier: Apache-2.0
"""Who may speak to the hypervisor: its own user on the socket, and whoever has the token on TCP."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from innkeeper.api.places import Places
from innkeeper.api.problems import DeniedError
from innkeeper.client.endpoint import Endpoint, endpoint_of
from innkeeper.client.sync import Client
from innkeeper.errors import ConfigError, HostError
from innkeeper.hypervisor.http import guards
from innkeeper.hypervisor.http.server import read_token
from tests.unit.hypervisor.conftest import temporary_places
from tests.unit.hypervisor.daemon import CERTIFICATE, KEY, start, start_with

NOBODY = 65534
TOKEN = "0123456789abcdef0123456789abcdef"


def test_another_user_cannot_reach_the_socket(places: Places) -> None:
    """The folder keeps others out; were it open, the hypervisor would look at who is there."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    client = start(places)
    try:
        assert _as_nobody(places.socket) == "PermissionError"
        for path in (places.runtime.parent, places.runtime, places.socket):
            path.chmod(0o777)
        assert _as_nobody(places.socket) in ("ConnectionResetError", "nothing", "BrokenPipeError")
        places.runtime.chmod(0o700)
        assert client.info().user_id == 0
    finally:
        places.runtime.chmod(0o700)
        client.stop_hypervisor()


def _as_nobody(path: Path) -> str:
    """What another user gets from the socket: an exception's name, or what is read."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(20)
                probe.connect(str(path))
                probe.sendall(b"GET /v1/info HTTP/1.1\r\nhost: x\r\n\r\n")
                os.write(writing, probe.recv(4096) or b"nothing")
        except OSError as error:
            os.write(writing, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with open(reading, "rb") as result:
        return result.read().decode()


@pytest.fixture(scope="module")
def tcp() -> Iterator[int]:
    """The port of a hypervisor that listens on TCP, too."""
    with temporary_places() as places:
        token_file = places.state / "token"
        token_file.write_text(TOKEN + "\n")
        token_file.chmod(0o600)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        process = start_with(
            places, "--listen", f"127.0.0.1:{port}", "--certificate", str(CERTIFICATE), "--key", str(KEY),
            "--token-file", str(token_file),
        )  # fmt: skip
        yield port
        Client(Endpoint(places.socket)).stop_hypervisor()
        assert process.wait(30) == 0
        assert process.stderr is not None
        process.stderr.close()


def _client(port: int, token: str, certificate: Path | None = CERTIFICATE) -> Client:
    places = Places(Path("/nowhere"), Path("/nowhere"))
    return Client(endpoint_of(f"https://127.0.0.1:{port}", token, certificate, places))


def test_with_the_token_all_of_it_works(tcp: int) -> None:
    client = _client(tcp, TOKEN)
    vm = client.create(name="a")
    assert vm.exec(["cat"], stdin=b"x" * 200_000).stdout == b"x" * 200_000
    vm.remove(force=True)


@pytest.mark.parametrize("token", ["", TOKEN[:-1], TOKEN[:-1] + "0", TOKEN + "0", "x" * 32, "\u00e9" * 32])
def test_wrong_tokens_are_refused(tcp: int, token: str) -> None:
    client = _client(tcp, TOKEN)
    headers = {"Authorization": f"Bearer {token}".encode().decode("latin-1")}
    bare = Client(_WithHeaders(client._transport.endpoint, headers))
    with pytest.raises(DeniedError, match="token"):
        bare.info()
    if token.isascii():
        with pytest.raises((ConfigError, HostError)):
            bare.open_stream("events/stream")


def test_no_token_and_other_schemes_are_refused(tcp: int) -> None:
    endpoint = _client(tcp, TOKEN)._transport.endpoint
    for headers in ({}, {"Authorization": f"Basic {TOKEN}"}, {"Authorization": TOKEN}):
        with pytest.raises(DeniedError):
            Client(_WithHeaders(endpoint, headers)).info()


def _WithHeaders(endpoint: Endpoint, headers: dict[str, str]) -> Endpoint:
    class Other(Endpoint):
        @property
        def headers(self) -> dict[str, str]:
            return given

    given = headers
    return Other(endpoint.path, endpoint.host, endpoint.port, endpoint.token, endpoint.certificate)


def test_only_tls_is_spoken(tcp: int) -> None:
    with socket.create_connection(("127.0.0.1", tcp), timeout=20) as plain:
        plain.sendall(f"GET /v1/info HTTP/1.1\r\nauthorization: Bearer {TOKEN}\r\n\r\n".encode())
        with contextlib.suppress(ConnectionResetError):
            assert not plain.recv(4096).startswith(b"HTTP")
    context = ssl.create_default_context(cafile=CERTIFICATE)
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", tcp), timeout=20) as raw,
        pytest.raises((ssl.SSLError, OSError)),
    ):
        context.wrap_socket(raw, server_hostname="127.0.0.1")
    with pytest.raises(HostError, match="certificate"):
        _client(tcp, TOKEN, None).info()


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is compared is digests of one length, by `hmac.compare_digest`: nothing returns earlier."""
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr(guards.hmac, "compare_digest", compare)

    async def app(*_: object) -> None:
        raise AssertionError

    guard = guards.TokenGuard(app, TOKEN)
    for headers in ([], [(b"authorization", b"x")], [(b"authorization", b"Bearer " + b"y" * 5000)]):
        assert not guard._may({"headers": headers})
    assert guard._may({"headers": [(b"authorization", f"bearer {TOKEN}".encode())]})
    assert compared == [(32, 32)] * 4


@pytest.mark.parametrize(
    ("missing", "message"), [("--token-file", "TLS and a token"), ("--key", "TLS and a token")]
)
def test_tcp_is_never_without_protection(places: Places, missing: str, message: str) -> None:
    token_file = places.state / "token"
    token_file.write_text(TOKEN)
    token_file.chmod(0o600)
    given = {
        "--listen": "127.0.0.1:1",
        "--certificate": str(CERTIFICATE),
        "--key": str(KEY),
        "--token-file": str(token_file),
    }
    del given[missing]
    process = start_with(places, *(word for pair in given.items() for word in pair))
    assert process.wait(30) == 2 and process.stderr is not None
    assert message in process.stderr.read().decode()
    process.stderr.close()


def test_a_token_is_long_and_private(tmp_path: Path) -> None:
    path = tmp_path / "token"
    with pytest.raises(ConfigError, match="cannot read"):
        read_token(path)
    path.write_text("short")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="32"):
        read_token(path)
    path.write_text(TOKEN)
    assert read_token(path) == TOKEN
    path.chmod(0o666)
    with pytest.raises(ConfigError, match="only this user"):
        read_token(path)


@pytest.mark.parametrize("url", ["http://a:1", "https://a", "https://a:x", "unix:", "a"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ConfigError):
        endpoint_of(url, TOKEN, None, Places(Path("/a"), Path("/b")))
    with pytest.raises(ConfigError, match="token"):
        endpoint_of("https://a:1", None, None, Places(Path("/a"), Path("/b")))
