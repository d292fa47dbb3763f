# SPDX-License-Identifier: Apache-2.0
"""Running copies of a machine, and snapshots that are written while it goes on, both by fork(2).

Both are called at rest, inside `machine.at_rest(work)`: then no thread of the machine holds a lock. Threads
of the VMM's own do not exist in a child, and locks that they held there stay held.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from innkeeper.errors import ConfigError, GuestError, HostError, InnkeeperError
from innkeeper.host.forked import release_free_memory
from innkeeper.host.tree import remove_tree
from innkeeper.machine.machine import VirtMachine
from innkeeper.machine.snapshot import AddFiles, SnapshotInfo, prepare, read_info, save

T = TypeVar("T")
_NICE = 5
_RESULT_LIMIT_BYTES = 65536
_KINDS: dict[str, type[InnkeeperError]] = {
    kind.__name__: kind for kind in (ConfigError, GuestError, HostError)
}


def fork(machine: VirtMachine, count: int, pids: list[int]) -> int | None:
    """`count` times fork(2) of a machine at rest: gives None, and in a child its number, from 0.

    Appends the pids of the children to `pids`. HostError if one cannot be had; those before it are there.
    They are made at once, because what this process writes between two of them is memory that they do not
    share.

    A child is a machine of its own when this returns: RAM is copy-on-write, translated code is shared, the
    I/O loop is new and looks at no descriptor. When the work of `at_rest` returns, `machine.run` goes on in
    the child too, unpaused; an exception of the work leaves `run` there. Of the process only the thread that
    called `run` is in the child. There the caller first closes and replaces what is shared with the parent:
    sockets, streams, files of disks. Guest time goes on; identity (MAC address, host name, random seed) is
    the same until the VMM tells the guest.
    """
    release_free_memory()
    return _frozen(lambda: machine.fork(count, pids))


def _frozen(do_fork: Callable[[], T]) -> T:
    """Without the garbage collector writing into each object, which would copy the heap for every child."""
    here = os.getpid()
    gc.freeze()
    try:
        with warnings.catch_warnings():
            # Python warns of other threads; those that matter are at rest.
            warnings.simplefilter("ignore", DeprecationWarning)
            return do_fork()
    except OSError as error:
        raise HostError(f"the host does not fork the VM: {error.strerror}", "stop other VMs") from error
    finally:
        if os.getpid() == here:
            gc.unfreeze()


class LiveSnapshot:
    """A snapshot that a child process writes while the machine goes on.

    `fileno()` becomes readable when the child is done; `finish` does not wait then.
    """

    def __init__(self, pid: int, result_fd: int, folder: Path) -> None:
        self.pid = pid
        self._fd = result_fd
        self._folder = folder

    def fileno(self) -> int:
        """A descriptor to wait for with poll(2); -1 after `finish`."""
        return self._fd

    def finish(self) -> SnapshotInfo:
        """Wait for the child and give the finished snapshot; once. Raises what it met, as `save` does."""
        try:
            data = b""
            while piece := os.read(self._fd, 4096):
                data += piece
        finally:
            self._close()
        status = self._wait()
        if not data:
            self._clean()
            raise HostError(f"the writer of the snapshot ended early (status {status})", "try again")
        result = json.loads(data)
        if "error" in result:
            raise _KINDS[result["error"]](result["message"], result["remedy"])
        return read_info(self._folder)

    def cancel(self) -> None:
        """End the child; nothing of the snapshot stays. Harmless when it is done."""
        if self._fd < 0:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._close()
        self._wait()
        self._clean()

    def _close(self) -> None:
        os.close(self._fd)
        self._fd = -1

    def _wait(self) -> int:
        try:
            return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:  # somebody waits for all children
            return 0

    def _clean(self) -> None:
        part = self._folder.with_name(f".{self._folder.name}.{self.pid}.part")
        remove_tree(part)


def save_live(
    machine: VirtMachine,
    folder: Path,
    parent: Path | None = None,
    add_files: AddFiles | None = None,
    *,
    detached: bool = False,
) -> LiveSnapshot:
    """As `snapshot.save`, by a child process, from the state of this moment; returns at once.

    `add_files` runs in the child, where no descriptor but standard input, output and error is open. A
    `detached` child goes on when this process ends: it is in a session of its own, holds no stream of the
    user's open, and also makes what the first `load` would have to. HostError if there can be no child.
    """
    if folder.exists():
        raise ConfigError(f"{folder} exists already", "remove it, or choose another name")
    reader, writer = os.pipe()
    try:
        pid = _frozen(os.fork)
    except HostError:
        os.close(reader)
        os.close(writer)
        raise
    if pid == 0:

        def write() -> None:
            if detached:
                _detach()
            save(machine, folder, parent, add_files)
            if detached:
                prepare(folder)

        _write_and_exit(writer, write)
    os.close(writer)
    return LiveSnapshot(pid, reader, folder)


def _detach() -> None:
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.close(null)


def _write_and_exit(result_fd: int, write: Callable[[], Any]) -> None:
    """Never returns: nothing of the parent's may be cleaned up here."""
    status = 1
    try:
        gc.disable()
        # Else a disk would stay locked after the VM has ended.
        os.closerange(3, result_fd)
        os.closerange(result_fd + 1, os.sysconf("SC_OPEN_MAX"))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.nice(_NICE)
        result: dict[str, str] = {}
        try:
            write()
            status = 0
        except InnkeeperError as error:
            result = {"error": type(error).__name__, "message": error.message, "remedy": error.remedy or ""}
        except BaseException as error:
            result = {"error": "HostError", "message": f"the snapshot failed: {error!r}", "remedy": ""}
        os.write(result_fd, json.dumps(result).encode()[:_RESULT_LIMIT_BYTES])
    finally:
        os._exit(status)
