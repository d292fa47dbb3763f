# SPDX-License-Identifier: Apache-2.0
"""The process that owns one VM: `python -m innkeeper.vmm.process vmm.json`.

It serves the VM's control socket until the VM ends, writes how it ended beside its configuration, and removes
the socket. SIGTERM and SIGINT ask the guest for a clean end. See `innkeeper.api.vmm_protocol`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

from innkeeper.api import vmm_protocol as api
from innkeeper.errors import GuestError, InnkeeperError
from innkeeper.host.forked import detach_network_sockets, replace_argument
from innkeeper.host.processes import process_start_ticks
from innkeeper.machine.machine import Ending, Outcome
from innkeeper.vmm.control_server import ControlServer
from innkeeper.vmm.copies import Copies
from innkeeper.vmm.guest import Guest
from innkeeper.vmm.methods import Methods

PATIENCE_NS = 20_000_000_000
"""How long a guest that was asked to end by SIGTERM may take."""
_ENDINGS: dict[Ending, api.Ending] = {
    Ending.POWER_OFF: "power-off",
    Ending.FAILED: "failed",
    Ending.CRASHED: "crashed",
    Ending.STOPPED: "stopped",
}


class VmmProcess:
    """One VM from its start to its end. `folder` is where `ended.json` goes."""

    def __init__(self, config: api.VmmConfig, folder: Path) -> None:
        self.config = config
        self.folder = folder
        self.guest = Guest(config, self._tell)
        try:
            self.guest.restore()
            self.server = ControlServer(Path(config.control_socket), self.guest.machine.io)
        except BaseException:
            self.guest.close()
            raise
        self.copies = Copies(self.guest, self._become)
        self._serve()

    def run(self) -> Outcome:
        """Boot, serve, and return how it ended. What escapes from our own code is an end, too."""
        machine = self.guest.machine
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked_to_end)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda number, frame: self.copies.reap())
        try:
            outcome = machine.run()
        except InnkeeperError as error:
            outcome = Outcome(Ending.CRASHED, str(error))
        except Exception as error:
            traceback.print_exc()
            outcome = Outcome(Ending.CRASHED, f"internal error: {error!r}")
        with machine.lock:
            self.guest.has_ended(outcome)
        return outcome

    def close(self, outcome: Outcome) -> None:
        """Flush the disks, say how it ended, and let the socket go."""
        try:
            self.guest.close()
        except InnkeeperError as error:
            outcome = Outcome(Ending.CRASHED, f"a disk could not be written at the end: {error}")
        write_ended(self.folder, self.config, outcome)
        self.server.close()

    def _serve(self) -> None:
        methods = Methods(self.guest, self.copies, lambda connection: self.server.subscribe(connection))
        with self.guest.machine.lock:
            self.server.start(methods.handle)

    def _become(self, config: api.VmmConfig) -> None:
        """In a forked child, at rest: be the VMM of another VM; a child that cannot ends here.

        It must not go on as if it were the parent: disks and files are the parent's until they are replaced.
        """
        try:
            self._let_go_and_become(config)
        except BaseException as error:
            traceback.print_exc()
            write_ended(Path(config.console_log).parent, config, Outcome(Ending.CRASHED, str(error)))
            os._exit(1)

    def _let_go_and_become(self, config: api.VmmConfig) -> None:
        parent = self.config
        os.setsid()
        self.server.abandon()
        detach_network_sockets()
        self.config, self.folder = config, Path(config.console_log).parent
        redirect_output(self.folder / api.LOG_FILE)
        replace_argument(
            str(Path(parent.console_log).parent / api.CONFIG_FILE), str(self.folder / api.CONFIG_FILE)
        )
        self.guest.become(config)
        self.server = ControlServer(Path(config.control_socket), self.guest.machine.io)
        self._serve()

    def _tell(self, event: dict[str, Any]) -> None:
        self.server.tell(event)

    def _asked_to_end(self, number: int, frame: FrameType | None) -> None:
        """A signal: on the main thread, between two of its steps."""
        self.guest.machine.io.call_soon(self._end_cleanly)

    def _end_cleanly(self) -> None:
        machine = self.guest.machine
        try:
            machine.resume()
            self.guest.power_off()
        except GuestError:
            self.guest.force_off("asked to end before its guest could be")
        machine.io.call_at(
            machine.clock.now_ns() + PATIENCE_NS,
            lambda: self.guest.force_off("its guest did not end when asked to"),
        )


def redirect_output(log: Path) -> None:
    """Standard output and error go to `log` from now on. A host that cannot leaves them as they are."""
    with contextlib.suppress(OSError):
        fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        os.close(fd)


def write_ended(folder: Path, config: api.VmmConfig, outcome: Outcome) -> None:
    """Write `ended.json`, whole or not at all. A host that cannot is told of in the log."""
    pid = os.getpid()
    record = api.EndedRecord(
        ending=_ENDINGS.get(outcome.ending, "crashed"),
        reason=outcome.reason,
        code=outcome.code,
        generation=config.generation,
        pid=pid,
        process_start_ticks=process_start_ticks(pid) or 0,
    )
    path = folder / api.ENDED_FILE
    scratch = path.with_name(f".{path.name}.{pid}.part")
    try:
        with open(scratch, "w", encoding="utf-8") as file:
            json.dump(record.to_json(), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError as error:
        print(f"cannot write {path}: {error}", file=sys.stderr)
        with contextlib.suppress(OSError):
            scratch.unlink()


def main(arguments: list[str]) -> int:
    """Run the VM of the configuration file that is the one argument; 0 unless it crashed or did not start."""
    if len(arguments) != 1:
        print("usage: python -m innkeeper.vmm.process VMM.JSON", file=sys.stderr)
        return 2
    path = Path(arguments[0]).absolute()
    os.umask(0o077)
    try:
        config = api.VmmConfig.read(path)
    except InnkeeperError as error:
        print(f"inn: {error}", file=sys.stderr)
        return 2
    try:
        vmm = VmmProcess(config, path.parent)
    except InnkeeperError as error:
        print(f"inn: {error}", file=sys.stderr)
        write_ended(path.parent, config, Outcome(Ending.CRASHED, str(error)))
        return 2
    outcome = vmm.run()
    vmm.close(outcome)
    return 1 if outcome.ending is Ending.CRASHED else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
