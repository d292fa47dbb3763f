# SPDX-License-Identifier: Apache-2.0
"""The two clients have one shape, and both speak the API that the OpenAPI document describes."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields
from typing import Any

import pytest

from innkeeper.api import models
from innkeeper.client import aio, calls, streams, sync
from innkeeper.hypervisor.http.app import make_app

DOCUMENT = make_app(None, lambda: None).openapi()
SAMPLES: dict[str, Any] = {
    "labels": ["a=b"], "request": None, "wait_s": 1.0, "vm": "v/m", "force": True, "state": "ready",
    "timeout_s": 1.0, "source": "vmm", "tail_bytes": 5, "follow": True, "snapshot": "s", "operation": "o",
    "after": 1, "limit": 2, "name": "n", "path": "/p",
}  # fmt: skip
REQUESTS = {
    "create_vm": models.VmCreate(), "update_vm": models.VmUpdate(), "stop_vm": models.VmStop(),
    "restart_vm": models.VmStop(), "clone_vm": models.VmClone(), "fork_vm": models.VmFork(),
    "take_snapshot": models.SnapshotCreate(), "restore_snapshot": models.SnapshotRestore(),
}  # fmt: skip


def _operations() -> dict[str, tuple[str, str, dict[str, Any]]]:
    return {
        operation["operationId"]: (method.upper(), path, operation)
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    }


def _call(name: str) -> calls.Call[Any]:
    function = getattr(calls, name)
    given = {
        key: REQUESTS[name] if key == "request" else SAMPLES[key]
        for key in inspect.signature(function).parameters
    }
    call: calls.Call[Any] = function(**given)
    return call


def test_every_operation_has_a_call() -> None:
    missing = [name for name in _operations() if not hasattr(calls, name)]
    assert not missing


@pytest.mark.parametrize("name", sorted(_operations()))
def test_calls_are_what_the_document_says(name: str) -> None:
    method, path, operation = _operations()[name]
    call = _call(name)
    assert (call.name, call.method) == (name, method)
    parameters = {(item["in"], item["name"]) for item in operation.get("parameters", [])}
    in_path = [item for kind, item in parameters if kind == "path"]
    wanted = path
    for item in in_path:
        wanted = wanted.replace("{" + item + "}", calls.quote(str(SAMPLES[item]), safe=""))
    assert call.path == wanted
    assert set(call.query) == {item for kind, item in parameters if kind == "query"}
    if isinstance(call.json, dict):
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        known = DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]["properties"]
        assert set(call.json) == set(known)
    answers = operation["responses"]
    good = next(answers[code] for code in ("200", "202") if code in answers)
    schema = good["content"].get("application/json", {}).get("schema", {})
    reference = schema.get("$ref") or schema.get("items", {}).get("$ref", "")
    if reference:
        properties = DOCUMENT["components"]["schemas"][reference.rsplit("/", 1)[1]]["properties"]
        cls = getattr(models, reference.rsplit("/", 1)[1])
        assert {item.name for item in fields(cls)} == set(properties)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (sync.Client, aio.AsyncClient),
        (sync.Vm, aio.AsyncVm),
        (sync.Snapshot, aio.AsyncSnapshot),
        (streams.Stream, streams.AsyncStream),
    ],
)
def test_both_clients_have_the_same_names_and_parameters(one: type, other: type) -> None:
    def shape(cls: type) -> dict[str, Any]:
        public = {name: value for name, value in vars(cls).items() if not name.startswith("_")}
        return {
            name: list(inspect.signature(value).parameters) if callable(value) else "property"
            for name, value in public.items()
        }

    assert shape(one) == shape(other)
    for name, value in vars(other).items():
        if callable(value) and not name.startswith("_"):
            lasting = inspect.isasyncgenfunction(value) or "AsyncIterator" in str(
                value.__annotations__["return"]
            )
            assert inspect.iscoroutinefunction(value) or lasting, name


def test_the_synchronous_client_starts_without_heavy_modules() -> None:
    heavy = ("fastapi", "pydantic", "httpx", "uvicorn", "llvmlite", "asyncio")
    code = (
        "import sys; from innkeeper.client import connect, sync, endpoint; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
