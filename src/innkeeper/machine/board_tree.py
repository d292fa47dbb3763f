# SPDX-License-Identifier: Apache-2.0
"""The devicetree of the board, generated from `spec.board`.

Bindings: Linux v6.12, Documentation/devicetree/bindings (riscv/cpus.yaml, riscv/extensions.yaml,
interrupt-controller/sifive,plic-1.0.0.yaml, timer/sifive,clint.yaml, virtio/mmio.yaml,
power/reset/syscon-*.yaml).
"""

from __future__ import annotations

from dataclasses import dataclass

from innkeeper.machine.devicetree import Node, Value, cells64, flatten
from innkeeper.spec import board

_CPU_INTC = 1
"""phandle of hart 0's interrupt controller; those of the other harts follow."""
_PLIC = _CPU_INTC + board.MAX_HARTS
_TEST = _PLIC + 1

_IRQ_M_SOFT, _IRQ_M_TIMER, _IRQ_S_EXTERNAL, _IRQ_M_EXTERNAL = 3, 7, 9, 11


@dataclass(frozen=True)
class TreeParameters:
    """What differs between two boots of the board. `initrd` is (start, end) in guest-physical addresses."""

    hart_count: int
    memory_bytes: int
    append: str = ""
    initrd: tuple[int, int] | None = None
    rng_seed: bytes = b""
    virtio_slots: int = len(board.VIRTIO)
    stdout_path: str = "/soc/serial@10000000"


def board_devicetree(parameters: TreeParameters) -> bytes:
    """The board's devicetree as a DTB."""
    return flatten(board_tree(parameters))


def board_tree(parameters: TreeParameters) -> Node:
    """The board's devicetree as nodes."""
    root = Node(
        "",
        {"#address-cells": 2, "#size-cells": 2, "compatible": "riscv-virtio", "model": "riscv-virtio,qemu"},
    )
    _add_chosen(root, parameters)
    memory = root.add(f"memory@{board.RAM_BASE:x}", reg=cells64(board.RAM_BASE, parameters.memory_bytes))
    memory.properties["device_type"] = "memory"
    _add_cpus(root, parameters.hart_count)
    soc = root.add("soc", compatible="simple-bus", ranges=None)
    soc.properties.update({"#address-cells": 2, "#size-cells": 2})
    _add_interrupt_controllers(soc, parameters.hart_count)
    _add_devices(soc, parameters.virtio_slots)
    _add_power(root)
    return root


def _add_chosen(root: Node, parameters: TreeParameters) -> None:
    chosen = root.add("chosen", stdout_path=parameters.stdout_path)
    if parameters.append:
        chosen.properties["bootargs"] = parameters.append
    if parameters.initrd:
        chosen.properties["linux,initrd-start"] = cells64(parameters.initrd[0])
        chosen.properties["linux,initrd-end"] = cells64(parameters.initrd[1])
    if parameters.rng_seed:
        chosen.properties["rng-seed"] = parameters.rng_seed


def _add_cpus(root: Node, hart_count: int) -> None:
    cpus = root.add("cpus")
    cpus.properties.update({"#address-cells": 1, "#size-cells": 0, "timebase-frequency": board.TIMEBASE_HZ})
    single = "".join(name for name in board.EXTENSIONS if len(name) == 1 and name != "i")
    multiple = "".join("_" + name for name in board.EXTENSIONS if len(name) > 1)
    for hart in range(hart_count):
        cpu = cpus.add(f"cpu@{hart:x}", compatible="riscv", reg=hart, status="okay")
        cpu.properties.update(
            {
                "device_type": "cpu",
                "riscv,isa": board.BASE_ISA + single + multiple,
                "riscv,isa-base": board.BASE_ISA,
                "riscv,isa-extensions": board.EXTENSIONS,
                "riscv,cbom-block-size": board.CACHE_BLOCK_BYTES,
                "riscv,cboz-block-size": board.CACHE_BLOCK_BYTES,
                "mmu-type": board.MMU_TYPE,
            }
        )
        controller = cpu.add(
            "interrupt-controller",
            compatible="riscv,cpu-intc",
            interrupt_controller=None,
            phandle=_CPU_INTC + hart,
        )
        controller.properties.update({"#interrupt-cells": 1, "#address-cells": 0})


def _add_interrupt_controllers(soc: Node, hart_count: int) -> None:
    def extended(*irqs: int) -> list[int]:
        return [cell for hart in range(hart_count) for irq in irqs for cell in (_CPU_INTC + hart, irq)]

    soc.add(
        f"clint@{board.CLINT.base:x}",
        compatible=["sifive,clint0", "riscv,clint0"],
        reg=_reg(board.CLINT),
        interrupts_extended=extended(_IRQ_M_SOFT, _IRQ_M_TIMER),
    )
    plic = soc.add(
        f"plic@{board.PLIC.base:x}",
        compatible=["sifive,plic-1.0.0", "riscv,plic0"],
        reg=_reg(board.PLIC),
        interrupts_extended=extended(_IRQ_M_EXTERNAL, _IRQ_S_EXTERNAL),
        interrupt_controller=None,
        phandle=_PLIC,
    )
    plic.properties.update({"riscv,ndev": board.PLIC_SOURCES, "#interrupt-cells": 1, "#address-cells": 0})


def _add_devices(soc: Node, virtio_slots: int) -> None:
    _add_device(soc, "serial", board.UART, compatible="ns16550a", clock_frequency=board.UART_CLOCK_HZ)
    _add_device(soc, "rtc", board.RTC, compatible="google,goldfish-rtc")
    for region in board.VIRTIO[:virtio_slots]:
        _add_device(soc, "virtio_mmio", region, compatible="virtio,mmio", dma_coherent=None)
    _add_device(soc, "test", board.TEST, compatible=["sifive,test1", "sifive,test0", "syscon"], phandle=_TEST)


def _add_device(soc: Node, kind: str, region: board.Region, **properties: Value) -> None:
    node = soc.add(f"{kind}@{region.base:x}", reg=_reg(region), **properties)
    if region.irq:
        node.properties.update({"interrupts": region.irq, "interrupt-parent": _PLIC})


def _add_power(root: Node) -> None:
    for name, value in (("poweroff", board.POWER_OFF_VALUE), ("reboot", board.RESET_VALUE)):
        root.add(name, compatible=f"syscon-{name}", regmap=_TEST, offset=0, value=value)


def _reg(region: board.Region) -> list[int]:
    return cells64(region.base, region.size_bytes)
