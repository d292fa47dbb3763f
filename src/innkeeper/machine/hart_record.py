# SPDX-License-Identifier: Apache-2.0
"""The architected state of one hart as a dataclass: read from a hart at rest, put into one that has not run.

It says nothing of the engine: what the jit engine saved the reference engine goes on with, and the reverse.
"""

from __future__ import annotations

from dataclasses import dataclass

from innkeeper.devices.saved import require
from innkeeper.isa.riscv import csrs_write, state
from innkeeper.machine.hart import MASK_64, Hart
from innkeeper.spec import riscv
from innkeeper.spec.sbi import HartState

_STATUS_BITS = csrs_write.MSTATUS_WRITABLE | riscv.MSTATUS_UXL_64 | riscv.MSTATUS_SXL_64
_COUNTERS = csrs_write.COUNTEREN_WRITABLE
_LINES = riscv.MIP_MSIP | riscv.MIP_MTIP | riscv.MIP_SEIP | riscv.MIP_MEIP

# Which word of the hart a saved CSR is, and which of its bits can be set.
_CSRS = {
    "mstatus": (state.MSTATUS, _STATUS_BITS),
    "misa": (state.MISA, riscv.MISA_RV64 | riscv.MISA_LETTERS),
    "medeleg": (state.MEDELEG, csrs_write.MEDELEG_WRITABLE),
    "mideleg": (state.MIDELEG, riscv.MIP_SUPERVISOR),
    "mie": (state.MIE, riscv.MIP_ALL),
    "mip": (state.MIP, riscv.MIP_SUPERVISOR),
    "mtvec": (state.MTVEC, ~2 & MASK_64),
    "mscratch": (state.MSCRATCH, MASK_64),
    "mepc": (state.MEPC, ~1 & MASK_64),
    "mcause": (state.MCAUSE, MASK_64),
    "mtval": (state.MTVAL, MASK_64),
    "mcounteren": (state.MCOUNTEREN, _COUNTERS),
    "mcountinhibit": (state.MCOUNTINHIBIT, _COUNTERS),
    "menvcfg": (state.MENVCFG, csrs_write.MENVCFG_WRITABLE),
    "stvec": (state.STVEC, ~2 & MASK_64),
    "sscratch": (state.SSCRATCH, MASK_64),
    "sepc": (state.SEPC, ~1 & MASK_64),
    "scause": (state.SCAUSE, MASK_64),
    "stval": (state.STVAL, MASK_64),
    "scounteren": (state.SCOUNTEREN, _COUNTERS),
    "senvcfg": (state.SENVCFG, csrs_write.SENVCFG_WRITABLE),
    "satp": (state.SATP, MASK_64),
    "stimecmp": (state.STIMECMP, MASK_64),
    "fflags": (state.FFLAGS, 0x1F),
    "frm": (state.FRM, 7),
}
# Words that are no CSR of their own.
_WORDS = {
    "fs_dirty": (state.FS_DIRTY, 1),
    "retired": (state.INSTRET, MASK_64),
    "cycle_offset": (state.CYCLE_OFFSET, MASK_64),
    "instret_offset": (state.INSTRET_OFFSET, MASK_64),
    "reservation": (state.RESERVATION, MASK_64),
    "reserved_value": (state.RESERVED_VALUE, MASK_64),
    "irq_lines": (state.IRQ_LINES, _LINES),
    "ipi_pending": (state.IPI_MAIL, 1),
    "mtimecmp": (state.MTIMECMP, MASK_64),
    "pmp_active": (state.PMP_ACTIVE, 1),
}
_STATES = (HartState.STARTED, HartState.STOPPED, HartState.START_PENDING, HartState.SUSPENDED)
_NAMED = _CSRS | _WORDS
CSR_NAMES = tuple(_CSRS)


@dataclass
class HartRecord:
    """`csrs` are in the order of `CSR_NAMES`; `time` is in ticks; `hsm_state` is a number of SBI's HSM.

    `start` and `suspend` are (address, opaque) of an SBI call that the hart has yet to carry out.
    """

    pc: int
    privilege: int
    x: list[int]
    f: list[int]
    csrs: list[int]
    pmp_config: list[int]
    pmp_address: list[int]
    time: int
    fs_dirty: int
    retired: int
    cycle_offset: int
    instret_offset: int
    reservation: int
    reserved_value: int
    irq_lines: int
    ipi_pending: int
    mtimecmp: int
    pmp_active: int
    hsm_state: int
    waits: bool
    start: list[int] | None
    suspend: list[int] | None


def record(hart: Hart) -> HartRecord:
    """The state of a hart that does not run."""
    words = hart.words
    hart.vcpu.float_collect()
    return HartRecord(
        pc=words[state.PC],
        privilege=words[state.PRIV],
        x=list(words[state.X : state.X + 32]),
        f=list(words[state.F : state.F + 32]),
        csrs=[words[index] for index, _ in _CSRS.values()],
        pmp_config=list(words[state.PMPCFG : state.PMPCFG + 2]),
        pmp_address=list(words[state.PMPADDR : state.PMPADDR + riscv.PMP_ENTRIES]),
        time=hart.time_ticks(),
        hsm_state=int(hart.state),
        waits=hart.waits,
        start=list(hart.start_request) if hart.start_request else None,
        suspend=list(hart.suspend_request) if hart.suspend_request else None,
        **{name: words[index] for name, (index, _) in _WORDS.items() if name != "retired"},
        retired=hart.retired(),
    )


def put(hart: Hart, saved: HartRecord) -> None:
    """Let `hart`, which does not run, go on from `saved`. ConfigError for a state that no hart can have."""
    where = f"hart {hart.index}"
    _check(saved, where)
    words = hart.words
    hart.vcpu.reset(saved.pc, saved.privilege, 0, 0)
    words[state.X : state.X + 32] = _words(saved.x)
    words[state.F : state.F + 32] = _words(saved.f)
    for (index, _), value in zip(_CSRS.values(), saved.csrs, strict=True):
        words[index] = value
    for name, (index, _) in _WORDS.items():
        words[index] = getattr(saved, name)
    words[state.PMPCFG : state.PMPCFG + 2] = _words(saved.pmp_config)
    words[state.PMPADDR : state.PMPADDR + riscv.PMP_ENTRIES] = _words(saved.pmp_address)
    words[state.SLICE] = words[state.BUDGET] = 0
    hart.set_time_ticks(saved.time)
    hart.state = HartState(saved.hsm_state)
    hart.waits = saved.waits
    hart.start_request = (saved.start[0], saved.start[1]) if saved.start else None
    hart.suspend_request = (saved.suspend[0], saved.suspend[1]) if saved.suspend else None
    hart.vcpu.float_written()
    hart.vcpu.flush()


def _words(values: list[int]) -> memoryview:
    return memoryview(b"".join(value.to_bytes(8, "little") for value in values)).cast("B").cast("Q")


def _check(saved: HartRecord, where: str) -> None:
    lengths = (len(saved.x), len(saved.f), len(saved.csrs), len(saved.pmp_config), len(saved.pmp_address))
    require(lengths == (32, 32, len(_CSRS), 2, riscv.PMP_ENTRIES), f"{where} has not all registers")
    require(saved.privilege in (riscv.PRIV_U, riscv.PRIV_S, riscv.PRIV_M), f"{where} has no such privilege")
    plain = [*saved.x, *saved.f, *saved.pmp_config, *saved.pmp_address, saved.pc, saved.time]
    pairs = [*(saved.start or ()), *(saved.suspend or ())]
    require(all(0 <= value <= MASK_64 for value in (*plain, *pairs)), f"{where}: no 64-bit number")
    require(saved.x[0] == 0 and not saved.pc & 1, f"{where}: x0 or pc cannot be")
    require(all(len(pair) == 2 for pair in (saved.start, saved.suspend) if pair is not None), f"{where}: SBI")
    pending = saved.hsm_state == HartState.START_PENDING
    require(saved.hsm_state in _STATES and pending == (saved.start is not None), f"{where}: its SBI state")
    values = dict(zip(CSR_NAMES, saved.csrs, strict=True)) | {n: getattr(saved, n) for n in _WORDS}
    for name, (_, mask) in _NAMED.items():
        require(not values[name] & ~mask, f"{where}: {name} cannot be {values[name]:#x}")
    mode = values["satp"] >> riscv.SATP_MODE_SHIFT
    require(mode == riscv.SATP_BARE or riscv.SATP_SV39 <= mode <= riscv.SATP_SV57, f"{where}: satp's mode")
    previous = values["mstatus"] >> riscv.MSTATUS_MPP_SHIFT & 3
    require(previous != 2, f"{where}: mstatus.MPP is reserved")
    require(all(address <= riscv.PMP_ADDRESS_MASK for address in saved.pmp_address), f"{where}: pmpaddr")
