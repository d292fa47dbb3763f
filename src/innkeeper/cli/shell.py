# SPDX-License-Identifier: Apache-2.0
"""`inn shell` and `inn ssh`: logging in to a guest.

ssh comes to the guest's sshd by way of its agent, as `sshd -i` on standard input and output: whatever network
the VM has, and nothing listens for others. Who speaks there is known: the hypervisor has asked the VM itself.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from innkeeper.api.places import Places
from innkeeper.cli import attach
from innkeeper.cli.parts import Parts
from innkeeper.errors import ConfigError, HostError
from innkeeper.host.private import private_folder

if TYPE_CHECKING:
    from innkeeper.client.sync import Vm

LOGIN = ("/bin/sh", "-c", 'exec "${SHELL:-/bin/sh}" -l')
SSHD = "/usr/sbin/sshd"
NO_SSHD, NO_USER = 69, 67
"""As in sysexits.h: a service that is not there, a user who is not known."""
PREPARE = f"""
[ -x {SSHD} ] || exit {NO_SSHD}
mkdir -p /run/sshd && chmod 755 /run/sshd
[ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -A >/dev/null || exit 1
home= group=
while IFS=: read -r name _ _ group _ home _; do [ "$name" != "$1" ] || break; home=; done </etc/passwd
[ -n "$home" ] || exit {NO_USER}
read -r key
[ -d "$home/.ssh" ] || {{ mkdir -m 700 "$home/.ssh" && chown "$1:$group" "$home/.ssh"; }} || exit 1
keys=$home/.ssh/authorized_keys
while read -r line; do [ "$line" != "$key" ] || exit 0; done 2>/dev/null <"$keys"
[ -e "$keys" ] || {{ : >"$keys" && chmod 600 "$keys" && chown "$1:$group" "$keys"; }} || exit 1
printf '%s\\n' "$key" >>"$keys"
"""


def shell(parts: Parts, name: str, user: str) -> int:
    """A login shell of a user of the guest; returns its status."""
    request = attach.exec_request(LOGIN, None, "", user, None, 0.0)
    return attach.run_command(parts, name, request)


def ssh(parts: Parts, name: str, user: str, arguments: Sequence[str]) -> int:
    """Run ssh to the guest's sshd; returns its status. ConfigError if one of them is missing."""
    program = shutil.which("ssh")
    if program is None:
        raise ConfigError("this host has no ssh", "install openssh-client; inn shell needs none")
    key = _own_key()
    with parts.connect() as client:
        vm = client.vm(name)
        _prepare(vm, user, key.with_suffix(".pub").read_bytes())
    # The VM may be renamed, its id stays.
    inn = [sys.executable, "-c", "import sys; from innkeeper.cli import main; sys.exit(main())"]
    proxy = shlex.join([*inn, "exec", "--no-tty", vm.id, "--", SSHD, "-i"]).replace("%", "%%")
    options = {
        "ProxyCommand": proxy,
        "IdentityFile": str(key),
        "IdentitiesOnly": "yes",
        "HostKeyAlias": f"innkeeper-{vm.id}",
        "UserKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "no",
        "LogLevel": "ERROR",
    }
    command = [program, *(part for pair in options.items() for part in ("-o", "=".join(pair)))]
    return subprocess.call([*command, "-l", user, vm.name, *arguments])


def _prepare(vm: Vm, user: str, public_key: bytes) -> None:
    done = vm.exec(["/bin/sh", "-c", PREPARE, "sh", user], stdin=public_key.strip() + b"\n", timeout_s=120)
    if done.returncode == NO_SSHD:
        raise ConfigError(
            f"{vm.name} has no sshd",
            f"inn shell needs none; on Debian: inn exec {vm.name} -- apt-get install -y openssh-server",
        )
    if done.returncode == NO_USER:
        raise ConfigError(f"{vm.name} has no user '{user}'", "give one of its /etc/passwd: --user")
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise HostError(f"sshd in {vm.name} cannot be prepared: {said[-1] if said else done.returncode}")


def _own_key() -> Path:
    """The key that opens this user's VMs, made the first time."""
    folder = private_folder(Places.of(os.environ, os.geteuid()).state / "ssh")
    key = folder / "id_ed25519"
    if not key.exists() or not key.with_suffix(".pub").exists():
        keygen = shutil.which("ssh-keygen")
        if keygen is None:
            raise ConfigError("this host has no ssh-keygen", "install openssh-client; inn shell needs none")
        scratch = folder / f"key-{os.getpid()}"
        done = subprocess.run(
            [keygen, "-q", "-t", "ed25519", "-N", "", "-C", "innkeeper", "-f", str(scratch)],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode != 0:
            raise HostError(f"ssh-keygen failed: {done.stderr.strip()[:200]}", "see inn doctor")
        os.replace(scratch.with_suffix(".pub"), key.with_suffix(".pub"))
        os.replace(scratch, key)
    return key
