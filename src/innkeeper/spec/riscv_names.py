# SPDX-License-Identifier: Apache-2.0
"""What assembly language calls registers, CSRs and rounding modes.

Spec: riscv-abi 1.0 "Register Convention"; riscv-unpriv 20240411, table "Rounding mode encoding";
riscv-priv 20240411, "CSR Listing"
"""

from __future__ import annotations

from innkeeper.spec import riscv

X_NAMES = (
    *("zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1"),
    *(f"a{n}" for n in range(8)),
    *(f"s{n}" for n in range(2, 12)),
    *(f"t{n}" for n in range(3, 7)),
)
"""x0..x31. `fp` is another name of s0."""

F_NAMES = (
    *(f"ft{n}" for n in range(8)),
    *("fs0", "fs1"),
    *(f"fa{n}" for n in range(8)),
    *(f"fs{n}" for n in range(2, 12)),
    *(f"ft{n}" for n in range(8, 12)),
)
"""f0..f31."""

ROUNDING_NAMES = {0: "rne", 1: "rtz", 2: "rdn", 3: "rup", 4: "rmm", 7: "dyn"}


def _csr_names() -> dict[int, str]:
    """Every `CSR_` constant of `spec.riscv`, with the numbered ones between first and last filled in."""
    names = {n: name[4:].lower() for name, n in vars(riscv).items() if name.startswith("CSR_")}
    names |= {riscv.CSR_MHPMEVENT3 + n: f"mhpmevent{3 + n}" for n in range(29)}
    names |= {riscv.CSR_MHPMCOUNTER3 + n: f"mhpmcounter{3 + n}" for n in range(29)}
    names |= {riscv.CSR_PMPADDR0 + n: f"pmpaddr{n}" for n in range(16)}
    return names


CSR_NAMES = _csr_names()
"""By number; only the CSRs that a hart of ours has."""
