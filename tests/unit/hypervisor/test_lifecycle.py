# SPDX-License-Identifier: Apache-2.0
"""VMs from create to remove, over stand-in VMMs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from innkeeper.api.models import Operation, VmClone, VmCreate, VmFork, VmUpdate
from innkeeper.api.places import Places
from innkeeper.api.problems import ConflictError, NotFoundError
from innkeeper.errors import ConfigError, InnkeeperError
from innkeeper.hypervisor import copies
from innkeeper.hypervisor.hypervisor import Hypervisor
from innkeeper.hypervisor.views import view
from innkeeper.hypervisor.vm import Vm

Run = Callable[..., Any]


async def done(hypervisor: Hypervisor, operation: Operation) -> Operation:
    """`operation` once it has ended well."""
    ended = await hypervisor.operations.wait(operation.id, 60)
    assert ended.state == "done", ended
    return ended


async def launch(hypervisor: Hypervisor, **given: Any) -> Vm:
    operation = await done(hypervisor, await hypervisor.create(VmCreate(**given)))
    return hypervisor.vms[operation.vms[0]]


def is_state(*states: str) -> Callable[[Vm], bool]:
    return lambda vm: vm.state in states


def test_from_create_to_remove(run: Run, places: Places) -> None:
    async def scenario(hypervisor: Hypervisor) -> None:
        vm = await launch(hypervisor, name="web", labels={"a": "b"})
        assert (vm.state, vm.ready) == ("running", True)
        assert hypervisor.find("web") is hypervisor.find(vm.id) is hypervisor.find(vm.id[:6]) is vm
        await vm.pause()
        assert vm.state == "paused"
        await vm.resume()
        await vm.resume()
        assert vm.state == "running"
        await vm.stop(force=False, timeout_s=30)
        assert (vm.state, vm.record.reason, vm.record.pid) == ("stopped", "stopped by request", None)
        await vm.start()
        assert view(vm).state == "running" and view(vm).pid == vm.record.pid
        with pytest.raises(ConflictError, match="stop it first"):
            await hypervisor.remove(vm, force=False)
        await done(hypervisor, await hypervisor.remove(vm, force=True))
        assert hypervisor.vms == {} and list(places.vms.iterdir()) == []
        kinds = [event.kind for event in hypervisor.services.store.events(0, 100)]
        assert kinds[:2] == ["created", "started"] and kinds[-2:] == ["stopped", "removed"]
        with pytest.raises(NotFoundError):
            hypervisor.find("web")

    run(scenario)


def test_a_vm_that_does_not_start_is_not_made(run: Run, places: Places) -> None:
    async def scenario(hypervisor: Hypervisor) -> None:
        for append, reason in (("fail=no_kernel_here", "no kernel here"), ("dumb", "this VMM gives up")):
            operation = await hypervisor.create(VmCreate(name="a", append=append))
            ended = await hypervisor.operations.wait(operation.id, 60)
            assert ended.state == "failed" and ended.problem is not None and reason in ended.problem.detail
        assert hypervisor.vms == {} and list(places.vms.iterdir()) == []

    run(scenario)


def test_a_guest_that_does_not_listen_is_ended(run: Run) -> None:
    async def scenario(hypervisor: Hypervisor) -> None:
        vm = await launch(hypervisor, append="deaf")
        await vm.stop(force=False, timeout_s=0.05)
        assert vm.state == "stopped"

    run(scenario)


def test_a_killed_vmm_is_a_crash_with_its_reason(run: Run) -> None:
    async def scenario(hypervisor: Hypervisor) -> None:
        vm = await launch(hypervisor, name="a")
        os.kill(vm.record.pid or 0, signal.SIGKILL)
        assert await vm.wait_for(is_state("crashed"), 30)
        assert "signal 9" in vm.record.reason and vm.record.desired == "stopped"
        await vm.start()
        assert (vm.state, vm.record.reason) == ("running", "")

    run(scenario)


@pytest.mark.parametrize("policy", ["on-failure", "always"])
def test_the_restart_policy_acts(run: Run, policy: Any) -> None:
    async def scenario(hypervisor: Hypervisor) -> None:
        waits: list[float] = []

        async def no_sleep(seconds: float) -> None:
            waits.append(seconds)

        hypervisor.services.sleep = no_sleep
        vm = await launch(hypervisor, restart=policy)
        for number in range(1, 4):
            os.kill(vm.record.pid or 0, signal.SIGKILL)
            assert await vm.wait_for(
                lambda vm, n=number: (vm.record.restarts, vm.state) == (n, "running"), 30
            )
        assert waits == [1.0, 2.0, 4.0]
        await vm.stop(force=True, timeout_s=0)
        assert (vm.state, vm.record.restarts, vm.record.desired) == ("stopped", 0, "stopped")

    run(scenario)


def test_settings_change(run: Run) -> None:
    async def scenario(hypervisor: Hypervisor) -> None:
        vm = await launch(hypervisor, name="a")
        await launch(hypervisor, name="b", start=False)
        await hypervisor.update(vm, VmUpdate(name="c", labels={"x": "y"}, restart="always", autostart=True))
        assert hypervisor.find("c") is vm and hypervisor.select(["x=y"]) == hypervisor.select(["x"]) == [vm]
        assert hypervisor.select(["x=z"]) == []
        with pytest.raises(ConfigError, match="resized"):
            await hypervisor.update(vm, VmUpdate(cpus=2, name="d"))
        assert (vm.record.settings.cpus, vm.record.name) == (1, "c")
        with pytest.raises(ConflictError):
            await hypervisor.update(vm, VmUpdate(name="b"))
        await vm.stop(force=True, timeout_s=0)
        await hypervisor.update(vm, VmUpdate(cpus=2, memory_bytes=1 << 30))
        await vm.start()
        assert vm.status is not None and (vm.status.cpus, vm.status.memory_bytes) == (2, 1 << 30)

    run(scenario)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "taken"}, "already"),
        ({"name": "0123456789ab"}, "id of a VM"),
        ({"image": "small", "kernel": "/k"}, "not both"),
        ({"initrd": "/i"}, "kernel"),
    ],
)
def test_wrong_wishes(run: Run, given: dict[str, Any], message: str) -> None:
    async def scenario(hypervisor: Hypervisor) -> None:
        await launch(hypervisor, name="taken", start=False)
        with pytest.raises(InnkeeperError, match=message):
            await hypervisor.create(VmCreate(**given))
        assert len(hypervisor.vms) == 1
        await launch(hypervisor, name="another", start=False)

    run(scenario)


def test_clones_and_forks_have_their_own_identity(run: Run, places: Places) -> None:
    async def scenario(hypervisor: Hypervisor) -> None:
        vm = await launch(hypervisor, name="a", labels={"l": "1"}, autostart=True)
        with pytest.raises(ConflictError):
            await copies.clone(hypervisor, vm, VmClone())
        forked = await done(
            hypervisor, await copies.fork(hypervisor, vm, VmFork(count=3, names=["f1", "f2"]))
        )
        forks = [hypervisor.vms[key] for key in forked.vms]
        assert [fork.record.name for fork in forks][:2] == ["f1", "f2"]
        assert all((fork.state, fork.record.phase) == ("running", "ready") for fork in forks)
        await vm.stop(force=True, timeout_s=0)
        assert all(
            [fork.state == "running" and (await fork.call("status"))["id"] == fork.id for fork in forks]
        )
        (places.vm(vm.id) / "disks/root.overlay").write_bytes(b"disk")
        cloned = await done(hypervisor, await copies.clone(hypervisor, vm, VmClone(name="c", start=True)))
        clone = hypervisor.vms[cloned.vms[0]]
        assert (places.vm(clone.id) / "disks/root.overlay").read_bytes() == b"disk"
        everyone = [vm, clone, *forks]
        for field in ("id", "name", "mac_address", "generation"):
            assert len({getattr(each.record, field) for each in everyone}) == 5
        assert not clone.record.settings.autostart and clone.record.settings.labels == {"l": "1"}

    run(scenario)


def test_a_fork_that_cannot_be_named_leaves_nothing(run: Run) -> None:
    async def scenario(hypervisor: Hypervisor) -> None:
        vm = await launch(hypervisor, name="a")
        for request in (VmFork(count=2, names=["b", "a"]), VmFork(count=2, names=["b", "b"])):
            with pytest.raises(InnkeeperError):
                await copies.fork(hypervisor, vm, request)
        await done(hypervisor, await copies.fork(hypervisor, vm, VmFork(names=["b"])))
        assert len(hypervisor.vms) == 2

    run(scenario)
