# SPDX-License-Identifier: Apache-2.0
"""Zicsr, Zifencei, privileged, Svinval, Zawrs, Zicbom and Zicboz instructions.

Each hands its operands to a native function.

Spec: riscv-unpriv 20240411, "Zicsr", "Zifencei", "Zawrs", "CMO"; riscv-priv 20240411, "Machine-Mode
Privileged Instructions", "Supervisor Instructions", "Svinval"
"""

from __future__ import annotations

from typing import Any

from innkeeper.ir.value import Value, zext
from innkeeper.isa.riscv.csrs import CSR_CLEAR, CSR_SET, CSR_WRITE, access_csr
from innkeeper.isa.riscv.definition import instruction
from innkeeper.isa.riscv.hart import Hart
from innkeeper.isa.riscv.privileged import (
    cache_block_clean,
    cache_block_invalidate,
    cache_block_zero,
    environment_break,
    environment_call,
    fence_instructions,
    fence_invalidation,
    fence_virtual_memory,
    wait_for_interrupt,
)
from innkeeper.isa.riscv.traps import return_from_machine, return_from_supervisor


def _nonzero(number: Value) -> Value:
    return zext(number != 0, 64)


@instruction("csr rs1 001 rd 1110011", "csrrw rd, csr, rs1", extension="Zicsr")
def csrrw(hart: Hart, rd: Any, csr: Any, rs1: Any) -> None:
    """Swap a CSR with a register."""
    hart.x[rd] = hart.system(access_csr, csr, hart.x[rs1], CSR_WRITE, 1)


@instruction("csr rs1 010 rd 1110011", "csrrs rd, csr, rs1", extension="Zicsr")
def csrrs(hart: Hart, rd: Any, csr: Any, rs1: Any) -> None:
    """Read a CSR and set bits; with x0 only a read."""
    hart.x[rd] = hart.system(access_csr, csr, hart.x[rs1], CSR_SET, _nonzero(hart.number(rs1)))


@instruction("csr rs1 011 rd 1110011", "csrrc rd, csr, rs1", extension="Zicsr")
def csrrc(hart: Hart, rd: Any, csr: Any, rs1: Any) -> None:
    """Read a CSR and clear bits; with x0 only a read."""
    hart.x[rd] = hart.system(access_csr, csr, hart.x[rs1], CSR_CLEAR, _nonzero(hart.number(rs1)))


@instruction("csr uimm[4:0] 101 rd 1110011", "csrrwi rd, csr, uimm", extension="Zicsr")
def csrrwi(hart: Hart, rd: Any, csr: Any, uimm: Value) -> None:
    """Write a CSR with 5 bits, read the old value."""
    hart.x[rd] = hart.system(access_csr, csr, uimm, CSR_WRITE, 1)


@instruction("csr uimm[4:0] 110 rd 1110011", "csrrsi rd, csr, uimm", extension="Zicsr")
def csrrsi(hart: Hart, rd: Any, csr: Any, uimm: Value) -> None:
    """Read a CSR and set bits out of 5; with 0 only a read."""
    hart.x[rd] = hart.system(access_csr, csr, uimm, CSR_SET, _nonzero(uimm))


@instruction("csr uimm[4:0] 111 rd 1110011", "csrrci rd, csr, uimm", extension="Zicsr")
def csrrci(hart: Hart, rd: Any, csr: Any, uimm: Value) -> None:
    """Read a CSR and clear bits out of 5; with 0 only a read."""
    hart.x[rd] = hart.system(access_csr, csr, uimm, CSR_CLEAR, _nonzero(uimm))


@instruction("imm[11:0] rs1 001 rd 0001111", "fence.i", extension="Zifencei")
def fence_i(hart: Hart) -> None:
    """Fetches after it see stores before it; unused fields are ignored, as the manual asks."""
    hart.system(fence_instructions)


@instruction("000000000000 00000 000 00000 1110011", "ecall", extension="I")
def ecall(hart: Hart) -> None:
    """Environment call."""
    hart.system(environment_call)


@instruction("000000000001 00000 000 00000 1110011", "ebreak", extension="I")
def ebreak(hart: Hart) -> None:
    """Breakpoint."""
    hart.system(environment_break)


@instruction("000100000010 00000 000 00000 1110011", "sret", extension="S")
def sret(hart: Hart) -> None:
    """Return from a trap into S-mode."""
    hart.system(return_from_supervisor)


@instruction("001100000010 00000 000 00000 1110011", "mret", extension="Machine")
def mret(hart: Hart) -> None:
    """Return from a trap into M-mode."""
    hart.system(return_from_machine)


@instruction("000100000101 00000 000 00000 1110011", "wfi", extension="Machine")
def wfi(hart: Hart) -> None:
    """Wait for an interrupt."""
    hart.system(wait_for_interrupt)


@instruction("0001001 rs2 rs1 000 00000 1110011", "sfence.vma rs1, rs2", extension="S")
def sfence_vma(hart: Hart, rs1: Any, rs2: Any) -> None:
    """Order page-table stores before later translations: of address rs1, of address space rs2."""
    has_va, has_asid = _nonzero(hart.number(rs1)), _nonzero(hart.number(rs2))
    hart.system(fence_virtual_memory, hart.x[rs1], has_va, hart.x[rs2], has_asid)


@instruction("0001011 rs2 rs1 000 00000 1110011", "sinval.vma rs1, rs2", extension="Svinval")
def sinval_vma(hart: Hart, rs1: Any, rs2: Any) -> None:
    """As sfence.vma; nothing is left for the two fences around it."""
    has_va, has_asid = _nonzero(hart.number(rs1)), _nonzero(hart.number(rs2))
    hart.system(fence_virtual_memory, hart.x[rs1], has_va, hart.x[rs2], has_asid)


@instruction("0001100 00000 00000 000 00000 1110011", "sfence.w.inval", extension="Svinval")
def sfence_w_inval(hart: Hart) -> None:
    """Order stores before later sinval.vma."""
    hart.system(fence_invalidation)


@instruction("0001100 00001 00000 000 00000 1110011", "sfence.inval.ir", extension="Svinval")
def sfence_inval_ir(hart: Hart) -> None:
    """Order earlier sinval.vma before later translations."""
    hart.system(fence_invalidation)


@instruction("000000001101 00000 000 00000 1110011", "wrs.nto", extension="Zawrs")
def wrs_nto(hart: Hart) -> None:
    """Wait on the reservation set: may end at any time, and does so at once."""


@instruction("000000011101 00000 000 00000 1110011", "wrs.sto", extension="Zawrs")
def wrs_sto(hart: Hart) -> None:
    """Wait on the reservation set, briefly: ends at once."""


@instruction("000000000000 rs1 010 00000 0001111", "cbo.inval (rs1)", extension="Zicbom")
def cbo_inval(hart: Hart, rs1: Any) -> None:
    """Invalidate a cache block."""
    hart.system(cache_block_invalidate, hart.x[rs1])


@instruction("000000000001 rs1 010 00000 0001111", "cbo.clean (rs1)", extension="Zicbom")
def cbo_clean(hart: Hart, rs1: Any) -> None:
    """Write back a cache block."""
    hart.system(cache_block_clean, hart.x[rs1])


@instruction("000000000010 rs1 010 00000 0001111", "cbo.flush (rs1)", extension="Zicbom")
def cbo_flush(hart: Hart, rs1: Any) -> None:
    """Write back and invalidate a cache block."""
    hart.system(cache_block_clean, hart.x[rs1])


@instruction("000000000100 rs1 010 00000 0001111", "cbo.zero (rs1)", extension="Zicboz")
def cbo_zero(hart: Hart, rs1: Any) -> None:
    """Store zeros to a cache block."""
    hart.system(cache_block_zero, hart.x[rs1])
