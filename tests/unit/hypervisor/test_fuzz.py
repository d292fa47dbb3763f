# SPDX-License-Identifier: Apache-2.0
"""The API is fuzzed from its OpenAPI document by schemathesis, which nobody here wrote: never a 500."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from innkeeper.api.places import Places
from innkeeper.client.endpoint import Endpoint
from innkeeper.client.sync import Client
from innkeeper.hypervisor.http.app import make_app
from tests.unit.hypervisor.conftest import temporary_places
from tests.unit.hypervisor.daemon import start

EXAMPLES = 12
schema = schemathesis.openapi.from_dict(make_app(None, lambda: None).openapi())
schema = schema.exclude(operation_id="stop_hypervisor")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A hypervisor with VMs called after what the generator likes, reached through a relay on TCP."""
    with temporary_places() as places:
        client = start(places)
        for name in ("0", "a"):
            client.create(name=name, append="silent")
        client.vm("0").snapshot("0")
        with _relay(places) as port:
            yield f"http://127.0.0.1:{port}"
        assert client.info().vms >= 0
        Client(Endpoint(places.socket)).stop_hypervisor()


@contextlib.contextmanager
def _relay(places: Places) -> Iterator[int]:
    """A port of the loopback that leads to the hypervisor's socket."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = listener.accept()
                other = socket.socket(socket.AF_UNIX)
                other.connect(str(places.socket))
                for here, there in ((one, other), (other, one)):
                    threading.Thread(target=_copy, args=(here, there), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield int(listener.getsockname()[1])
    listener.close()


def _copy(here: socket.socket, there: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := here.recv(65536):
            there.sendall(data)
    with contextlib.suppress(OSError):
        there.shutdown(socket.SHUT_WR)


@schema.parametrize()
@settings(
    max_examples=int(os.environ.get("INNKEEPER_FUZZ", EXAMPLES)),
    suppress_health_check=list(HealthCheck),
    deadline=None,
)
def test_no_request_is_a_defect(case: schemathesis.Case, address: str) -> None:
    for name in ("wait_s", "timeout_s"):
        if case.query and name in case.query:
            case.query[name] = 0
    if case.query:
        case.query.pop("follow", None)
    response = case.call(base_url=address, timeout=60)
    assert response.status_code < 500 or _is_expected(response), response.text


def _is_expected(response: schemathesis.Response) -> bool:
    """A guest or host that failed says so with 502 or 503 and a problem; a defect is a 500."""
    return response.status_code in (502, 503) and "problem+json" in response.headers["content-type"][0]
