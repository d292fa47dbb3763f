# SPDX-License-Identifier: Apache-2.0
"""Who this machine is: after a fork or a restore it must not be taken for the one that it was copied from."""

from __future__ import annotations

from innkeeper.guest_agent import linux
from innkeeper.guest_agent import protocol as say
from innkeeper.guest_agent.files import replace_file
from innkeeper.guest_agent.layout import SMALL, text
from innkeeper.guest_agent.output import end_frame, payload_at, send_number
from innkeeper.guest_agent.subset import (
    ERRORS,
    agent,
    call1,
    call2,
    call3,
    call4,
    errno_of,
    load8,
    load16,
    load32,
    load64,
    store8,
    store16,
    store32,
    store64,
)
from innkeeper.guest_agent.texts import NEWLINE, copy_bytes, length_of, next_string, zero_bytes
from innkeeper.ir.native import Words

URANDOM = text(b"/dev/urandom")
ETH0 = text(b"eth0")
HOSTNAME_FILE = text(b"/etc/hostname")
MACHINE_ID_FILE = text(b"/etc/machine-id")
RUN_FOLDER = text(b"/run/innkeeper")
GENERATION_FILE = text(b"/run/innkeeper/generation")
SYSTEMD_RUNS = text(b"/run/systemd/system")

HEAD_BYTES = 88
"""Of `protocol.IDENTITY_HEAD`."""
ENTROPY_AT, MAC_AT = 16, 80
RING = SMALL + 64
"""Of the 4 KiB of SMALL: what system calls are given."""


@agent
def take_identity(a: Words, token: int, request: int, end: int) -> int:
    """Carry out IDENTITY, all steps of it, whatever becomes of each."""
    name = request + HEAD_BYTES
    machine = next_string(name, end) if name < end else 0
    generation = next_string(machine, end) if machine else 0
    if not generation or not next_string(generation, end):
        return send_number(a, say.DONE, token, linux.EINVAL)
    clock = set_clock(load64(request), load64(request + 8))
    entropy = add_entropy(request + ENTROPY_AT)
    host = set_host_name(name)
    identity = set_machine_id(machine)
    address = set_mac(request + MAC_AT)
    known = set_generation(generation)
    body = payload_at(a)
    store32(body, clock)
    store32(body + 4, entropy)
    store32(body + 8, host)
    store32(body + 12, identity)
    store32(body + 16, address)
    store32(body + 20, known)
    return end_frame(a, say.DONE, token, 24)


@agent
def set_clock(seconds: int, nanoseconds: int) -> int:
    """The wall clock; 0 seconds leave it."""
    if not seconds:
        return 0
    store64(RING, seconds)
    store64(RING + 8, nanoseconds)
    return errno_of(call2(linux.CLOCK_SETTIME, linux.CLOCK_REALTIME, RING))


@agent
def add_entropy(source: int) -> int:
    """Credit random bytes, and make the kernel's generator begin anew with them. Source: random(4)"""
    fd = call4(linux.OPENAT, linux.AT_FDCWD, URANDOM, linux.O_WRONLY | linux.O_CLOEXEC, 0)
    if fd >= ERRORS:
        return errno_of(fd)
    store32(RING, say.ENTROPY_BYTES * 8)
    store32(RING + 4, say.ENTROPY_BYTES)
    copy_bytes(RING + 8, source, say.ENTROPY_BYTES)
    result = call3(linux.IOCTL, fd, linux.RNDADDENTROPY, RING)
    if result < ERRORS:
        result = call3(linux.IOCTL, fd, linux.RNDRESEEDCRNG, 0)
    zero_bytes(RING, say.ENTROPY_BYTES + 8)
    call1(linux.CLOSE, fd)
    return errno_of(result)


@agent
def write_line(path: int, string: int) -> int:
    """A string and a newline over a file that is there; one that is missing is no error."""
    size = length_of(string)
    if size > 1024:
        return linux.EINVAL
    copy_bytes(RING, string, size)
    store8(RING + size, NEWLINE)
    errno = replace_file(path, RING, size + 1)
    return 0 if errno == linux.ENOENT else errno


@agent
def set_host_name(name: int) -> int:
    """The kernel's and the file's, if there is one."""
    if not load8(name):
        return 0
    result = call2(linux.SETHOSTNAME, name, length_of(name))
    errno = write_line(HOSTNAME_FILE, name)
    return errno_of(result) if result >= ERRORS else errno


@agent
def set_machine_id(machine: int) -> int:
    """/etc/machine-id, where there is one. Source: machine-id(5)"""
    return write_line(MACHINE_ID_FILE, machine) if load8(machine) else 0


@agent
def set_mac(address: int) -> int:
    """The address of eth0; zeroes leave it. Source: netdevice(7)"""
    if not (load32(address) or load16(address + 4)):
        return 0
    fd = call3(linux.SOCKET, linux.AF_INET, linux.SOCK_DGRAM, 0)
    if fd >= ERRORS:
        return errno_of(fd)
    zero_bytes(RING, 40)
    copy_bytes(RING, ETH0, 5)
    store16(RING + 16, linux.ARPHRD_ETHER)
    copy_bytes(RING + 18, address, 6)
    result = call3(linux.IOCTL, fd, linux.SIOCSIFHWADDR, RING)
    call1(linux.CLOSE, fd)
    return errno_of(result)


@agent
def set_generation(generation: int) -> int:
    """A file that says which copy this is, for programs that want to know."""
    if not load8(generation):
        return 0
    call3(linux.MKDIRAT, linux.AT_FDCWD, RUN_FOLDER, 0o755)
    fd = call4(
        linux.OPENAT,
        linux.AT_FDCWD,
        GENERATION_FILE,
        linux.O_WRONLY | linux.O_CREAT | linux.O_CLOEXEC,
        0o644,
    )
    if fd >= ERRORS:
        return errno_of(fd)
    call1(linux.CLOSE, fd)
    return write_line(GENERATION_FILE, generation)


@agent
def end_machine(a: Words, token: int, is_reboot: int) -> int:
    """Ask process 1 to power off or reboot: systemd by its signals, all others by those of busybox init.

    Source: systemd(1), "SIGNALS"; busybox, init/halt.c
    """
    is_systemd = call4(linux.FACCESSAT, linux.AT_FDCWD, SYSTEMD_RUNS, 0, 0) < ERRORS
    if is_systemd:
        number = linux.SIGRTMIN + 5 if is_reboot else linux.SIGRTMIN + 4
    else:
        number = linux.SIGTERM if is_reboot else linux.SIGUSR2
    return send_number(a, say.DONE, token, errno_of(call2(linux.KILL, 1, number)))
