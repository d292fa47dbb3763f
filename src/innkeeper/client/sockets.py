# SPDX-License-Identifier: Apache-2.0
"""Opening WebSockets, synchronous and asynchronous."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from innkeeper.client.calls import Call
from innkeeper.client.endpoint import Endpoint
from innkeeper.client.wire import MESSAGE_LIMIT_BYTES
from innkeeper.errors import ConfigError, HostError

_OPEN_TIMEOUT_S = 30.0


def _address(endpoint: Endpoint, path: str, query: Mapping[str, Any]) -> str:
    target = Call("", "GET", f"/v1/{path}", lambda data: None, query).target
    if endpoint.path is not None:
        return f"ws://localhost{target}"
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"wss://{host}:{endpoint.port}{target}"


def _options(endpoint: Endpoint) -> dict[str, Any]:
    options: dict[str, Any] = {
        "additional_headers": endpoint.headers,
        "max_size": MESSAGE_LIMIT_BYTES,
        "compression": None,
        "open_timeout": _OPEN_TIMEOUT_S,
        "proxy": None,
    }
    if endpoint.path is None:
        options["ssl"] = endpoint.tls()
    return options


def connect(endpoint: Endpoint, path: str, query: Mapping[str, Any]) -> Any:
    """A connection of `websockets.sync`. HostError if nobody answers, ConfigError if one is not let in."""
    from websockets.exceptions import InvalidHandshake
    from websockets.sync import client

    address, options = _address(endpoint, path, query), _options(endpoint)
    try:
        if endpoint.path is not None:
            return client.unix_connect(str(endpoint.path), address, **options).__enter__()
        return client.connect(address, **options).__enter__()
    except InvalidHandshake as error:
        raise _refused(error) from error
    except (OSError, TimeoutError) as error:
        raise endpoint.unreachable(error) from error


async def connect_async(endpoint: Endpoint, path: str, query: Mapping[str, Any]) -> Any:
    """As `connect`, of `websockets.asyncio`."""
    from websockets.asyncio import client
    from websockets.exceptions import InvalidHandshake

    address, options = _address(endpoint, path, query), _options(endpoint)
    try:
        if endpoint.path is not None:
            return await client.unix_connect(str(endpoint.path), address, **options).__aenter__()
        return await client.connect(address, **options).__aenter__()
    except InvalidHandshake as error:
        raise _refused(error) from error
    except (OSError, TimeoutError) as error:
        raise endpoint.unreachable(error) from error


def _refused(error: Exception) -> HostError | ConfigError:
    status = getattr(getattr(error, "response", None), "status_code", 0)
    if status in (401, 403):
        return ConfigError("the token is missing or wrong", "give the one in the hypervisor's token file")
    return HostError(f"the hypervisor refuses the connection: {error}", "check the address")
