# SPDX-License-Identifier: Apache-2.0
"""Clients of the hypervisor, synchronous and asynchronous."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from innkeeper.api.places import Places
from innkeeper.client.endpoint import endpoint_of, ensure_running

if TYPE_CHECKING:
    from innkeeper.client.aio import AsyncClient
    from innkeeper.client.sync import Client

__all__ = ["connect", "connect_async"]


def connect(
    url: str | None = None,
    *,
    token: str | None = None,
    certificate: str | Path | None = None,
    start: bool = True,
) -> Client:
    """A client of the user's hypervisor, which is started if it does not run (unless `start` is False).

    `url` names another: `unix:PATH`, or `https://HOST:PORT` with its `token`, and perhaps the `certificate`
    that it is trusted by. Raises ConfigError and HostError.
    """
    from innkeeper.client.sync import Client

    places = Places.of(os.environ, os.geteuid())
    endpoint = endpoint_of(url, token, certificate, places)
    if url is None and start:
        ensure_running(places)
    return Client(endpoint)


async def connect_async(
    url: str | None = None,
    *,
    token: str | None = None,
    certificate: str | Path | None = None,
    start: bool = True,
) -> AsyncClient:
    """As `connect`, for use with asyncio."""
    import asyncio

    from innkeeper.client.aio import AsyncClient

    places = Places.of(os.environ, os.geteuid())
    endpoint = endpoint_of(url, token, certificate, places)
    if url is None and start:
        await asyncio.to_thread(ensure_running, places)
    return AsyncClient(endpoint)
