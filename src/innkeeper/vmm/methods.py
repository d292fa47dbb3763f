# SPDX-License-Identifier: Apache-2.0
"""What clients can ask of a VMM: the methods of `innkeeper.api.vmm_protocol`, machine lock held."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from innkeeper.api.messages import Request
from innkeeper.api.vmm_protocol import ExecParameters, VmmConfig
from innkeeper.errors import ConfigError, HostError, InnkeeperError
from innkeeper.vmm.client_streams import ConsoleStream, FileStatusAnswer, SessionStream
from innkeeper.vmm.connection import Connection
from innkeeper.vmm.copies import Copies
from innkeeper.vmm.guest import Guest, require_no_change

Result = Mapping[str, Any]
_PATH_LIMIT = 4096


class Methods:
    """Carries out requests on a guest. `subscribe` adds a connection to those that hear events."""

    def __init__(self, guest: Guest, copies: Copies, subscribe: Callable[[Connection], None]) -> None:
        self._guest = guest
        self._copies = copies
        self._subscribe = subscribe
        self._methods: dict[str, Callable[[Connection, Request], Result | None]] = {
            "status": self._status,
            "pause": self._pause,
            "resume": self._resume,
            "stop": self._stop,
            "reboot": self._reboot,
            "resize": self._resize,
            "snapshot": self._snapshot,
            "fork": self._fork,
            "console": self._console,
            "exec": self._exec,
            "files": self._files,
            "events": self._events,
            "network": self._network,
            "set_network": self._set_network,
            "capture": self._capture,
        }

    def handle(self, connection: Connection, request: Request) -> None:
        """Answer a request, at once or later. Raises InnkeeperError, which is the answer then."""
        method = self._methods.get(request.method)
        if method is None:
            raise ConfigError(
                f"a VMM has no method {request.method[:64]!r}", f"use one of {', '.join(self._methods)}"
            )
        result = method(connection, request)
        if result is not None:
            connection.answer(request.id, result)

    # Each gives its result, or None if it answers by itself.

    def _status(self, connection: Connection, request: Request) -> Result | None:
        return self._guest.status().to_json()

    def _pause(self, connection: Connection, request: Request) -> Result | None:
        def pause() -> Result:
            self._guest.machine.pause()
            with self._guest.machine.lock:
                self._guest.set_paused(True)
            return {}

        self._later(connection, request, pause)
        return None

    def _resume(self, connection: Connection, request: Request) -> Result | None:
        self._guest.machine.resume()
        self._guest.set_paused(False)
        return {}

    def _stop(self, connection: Connection, request: Request) -> Result | None:
        if _flag(request.params, "force"):
            self._guest.force_off("stopped by force")
        else:
            self._guest.machine.resume()
            self._guest.set_paused(False)
            self._guest.power_off()
        return {}

    def _reboot(self, connection: Connection, request: Request) -> Result | None:
        if _flag(request.params, "force"):
            self._guest.machine.reset()
        else:
            self._guest.reboot()
        return {}

    def _resize(self, connection: Connection, request: Request) -> Result | None:
        require_no_change(self._guest.config, dict(request.params))
        return {}

    def _snapshot(self, connection: Connection, request: Request) -> Result | None:
        folder, parent = request.params.get("folder"), request.params.get("parent")
        if not isinstance(folder, str) or not (parent is None or isinstance(parent, str)):
            raise ConfigError("folder or parent of a snapshot is wrong", "give paths")
        where, before = Path(folder), None if parent is None else Path(parent)

        def begin() -> None:
            self._copies.snapshot(where, before, lambda result: connection.answer(request.id, result))

        self._later(connection, request, begin)
        return None

    def _fork(self, connection: Connection, request: Request) -> Result | None:
        wanted = request.params.get("configs")
        if not isinstance(wanted, list):
            raise ConfigError("the configurations of forks are wrong", "give a list")
        configs = [VmmConfig.from_json(item) for item in wanted]
        self._later(connection, request, lambda: self._copies.fork(configs))
        return None

    def _events(self, connection: Connection, request: Request) -> Result | None:
        connection.answer(request.id, {})
        self._subscribe(connection)
        return None

    def _network(self, connection: Connection, request: Request) -> Result | None:
        return self._guest.network.status(self._guest.clock)

    def _set_network(self, connection: Connection, request: Request) -> Result | None:
        return self._guest.network.change(request.params)

    def _capture(self, connection: Connection, request: Request) -> Result | None:
        """Frames of `adapter` (empty: of all) as pcapng on standard output, until the client goes."""
        from innkeeper.vmm.capture_stream import CaptureStream

        name = request.params.get("adapter", "")
        if not isinstance(name, str):
            raise ConfigError("the adapter to capture is wrong", "give its name, as in eth0")
        cables = self._guest.network.watched(name)
        connection.answer(request.id, {})
        CaptureStream(connection, cables, self._guest.clock).begin()
        return None

    def _console(self, connection: Connection, request: Request) -> Result | None:
        stream = ConsoleStream(connection, self._guest.console, self._guest.resize_console)
        connection.answer(request.id, {})
        stream.begin(_flag(request.params, "history"))
        return None

    def _exec(self, connection: Connection, request: Request) -> Result | None:
        parameters = ExecParameters.from_json(dict(request.params))
        stream = SessionStream(connection, request.id)
        session = self._guest.agent.start_command(parameters, stream)
        stream.begin(session)
        if parameters.timeout_s > 0:
            stream.limit_time(self._guest.machine.io, self._guest.clock.now_ns(), parameters.timeout_s)
        return None

    def _files(self, connection: Connection, request: Request) -> Result | None:
        """`op` is read, write (with `mode`, and `modified_ns` or null) or status; `path` is the guest's."""
        params, agent = request.params, self._guest.agent
        operation, path = params.get("op"), params.get("path")
        if not isinstance(path, str) or not path.startswith("/") or len(path) > _PATH_LIMIT:
            raise ConfigError("the path of a file in the guest is wrong", "give one that begins with /")
        if operation == "write":
            mode, modified_ns = params.get("mode", 0o644), params.get("modified_ns")
            if not isinstance(mode, int) or not (modified_ns is None or isinstance(modified_ns, int)):
                raise ConfigError("mode or modified_ns of a file is wrong", "give numbers")
            if modified_ns is not None and abs(modified_ns) >= 1 << 63:
                raise ConfigError("modified_ns of a file is wrong", "give nanoseconds since 1970")
            stream = SessionStream(connection, request.id)
            stream.begin(agent.write_file(path, mode, modified_ns, stream))
        elif operation == "read":
            stream = SessionStream(connection, request.id, answers_with_file=True)
            stream.begin(agent.read_file(path, stream))
        elif operation == "status":
            agent.file_status(path, FileStatusAnswer(connection, request.id))
        else:
            raise ConfigError("there is no such operation on files", "use read, write or status")
        return None

    def _later(self, connection: Connection, request: Request, work: Callable[[], Result | None]) -> None:
        """Answer with what `work` gives, unless None, on a thread of its own, since it waits."""
        machine = self._guest.machine

        def run() -> None:
            result: Result | InnkeeperError | None
            try:
                result = work()
            except InnkeeperError as error:
                result = error
            except OSError as error:
                result = HostError(f"the host cannot do it: {error.strerror or error}")
            if result is not None:
                with machine.lock:
                    connection.answer(request.id, result)

        threading.Thread(target=run, name=request.method, daemon=True).start()


def _flag(params: Mapping[str, Any], name: str) -> bool:
    value = params.get(name, False)
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is neither true nor false", f"correct {name}")
    return value
