# SPDX-License-Identifier: Apache-2.0
"""How long a command takes in a guest that goes on from a prepared start, and where that time goes.

    .venv/bin/python benchmarks/prepared.py [REPEATS]

The first start makes the snapshot and is not counted. Measured are whole processes, from before they are
started to after their end: `inn run -- true`; then the same in stages, each to the moment when it is done;
then a process without the command line, from its start to the first byte of a command's output in a guest
that it has restored. Modules are compiled to bytecode, as an installed package is.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPEATS = 7
_STAGES = """
import sys, time
stages = [("start of Python", time.monotonic())]
def done(name):
    stages.append((name, time.monotonic()))
def after(owner, method, name):
    inner = getattr(owner, method)
    def outer(*arguments, **named):
        result = inner(*arguments, **named)
        done(name)
        return result
    setattr(owner, method, outer)
import innkeeper.cli, innkeeper.cli.app
done("modules of the command line")
from innkeeper.cli.parts import Parts
from innkeeper.cli.progress import ProgressDisplay
def make_machine(options, progress):
    done("parsing of the command line")
    import innkeeper.vmm.machine, innkeeper.vmm.command_start, innkeeper.machine.snapshot
    done("modules of the VMM")
    import innkeeper.engines.jit.engine
    done("modules of the engine")
    from innkeeper.vmm.command_guest import CommandGuest
    from innkeeper.vmm.prepared import PreparedStart
    after(PreparedStart, "__init__", "check of image and snapshot")
    after(CommandGuest, "__init__", "engine and machine")
    after(PreparedStart, "restore", "restore of the snapshot")
    after(CommandGuest, "start_command", "guest's agent answers, takes its identity")
    after(CommandGuest, "on_end", "command")
    from innkeeper.cli.parts import make_machine
    return make_machine(options, progress)
sys.argv = ["inn", "run", "--", "true"]
status = innkeeper.cli.main(None, Parts(machine=make_machine))
done("end of the machine")
import json
print(json.dumps([status, stages]))
"""
_RESTORE = """
import time
from innkeeper import Machine
def first(data, seen=[]):
    if not seen:
        print(time.monotonic())
    seen.append(data)
Machine().run(["echo", "here"], stdout=first)
"""


def run_inn(environment: dict[str, str]) -> float:
    """Seconds of one `inn run -- true`."""
    inn = str(Path(sys.executable).with_name("inn"))
    begin_s = time.monotonic()
    subprocess.run([inn, "run", "--", "true"], check=True, stdin=subprocess.DEVNULL, env=environment)
    return time.monotonic() - begin_s


def run_script(script: str, environment: dict[str, str]) -> tuple[float, float, str]:
    """When a process with `script` was started and had ended, and its last line."""
    begin_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        env=environment, text=True,
    )  # fmt: skip
    return begin_s, time.monotonic(), done.stdout.splitlines()[-1]


def stages_of(environment: dict[str, str]) -> dict[str, float]:
    """Seconds that each stage took."""
    last_s, end_s, line = run_script(_STAGES, environment)
    status, stages = json.loads(line)
    assert status == 0, line
    took_s = {}
    for name, at_s in [*stages, ("end of the process", end_s)]:
        took_s[name], last_s = at_s - last_s, at_s
    return took_s


def main(repeats: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as bytecode:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for script in (_STAGES, _RESTORE):
            run_script(script, environment)
        time.sleep(5)  # the snapshot's writer, if it had to be made
        for script in (_STAGES, _RESTORE):
            run_script(script, environment)
        whole = sorted(run_inn(environment) for _ in range(repeats))
        print(f"inn run -- true: median {statistics.median(whole):.3f} s ({whole[0]:.3f} to {whole[-1]:.3f})")
        print("\n| stage | ms |\n|---|---|")
        runs = [stages_of(environment) for _ in range(repeats)]
        for name in runs[0]:
            print(f"| {name} | {1000 * statistics.median(run[name] for run in runs):.0f} |")
        firsts = []
        for _ in range(repeats):
            begin_s, _, line = run_script(_RESTORE, environment)
            firsts.append(float(line) - begin_s)
        firsts.sort()
        print(
            f"\nfresh process to first output of a restored guest: median {statistics.median(firsts):.3f} s"
            f" ({firsts[0]:.3f} to {firsts[-1]:.3f})"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else REPEATS)
