# SPDX-License-Identifier: Apache-2.0
"""LLVM as this project uses it: IR text to an object file, for this host or for the guest."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import llvmlite.binding as llvm

from innkeeper.errors import HostError

_RISCV_TRIPLE = "riscv64-unknown-linux"


@lru_cache(maxsize=1)
def _initialize() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


@lru_cache(maxsize=2)
def _machine(static: bool) -> Any:
    _initialize()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        reloc="static" if static else "pic",
        codemodel="small",
    )


def compile_object(ir: str, *, static: bool) -> bytes:
    """Compile LLVM IR text with O2. `static`: for addresses below 2 GiB; else position-independent.

    All that is referred to directly lies within 2 GiB.
    """
    machine = _machine(static)
    module = llvm.parse_assembly(f'target triple = "{llvm.get_default_triple()}"\n{ir}')
    module.verify()
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    builder.getModulePassManager().run(module, builder)
    result: bytes = machine.emit_object(module)
    return result


@lru_cache(maxsize=1)
def _riscv_machine() -> Any:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        target = llvm.Target.from_triple(_RISCV_TRIPLE)
    except RuntimeError as error:
        raise HostError(
            f"this LLVM makes no RISC-V code: {error}",
            "install llvmlite from its own wheels: pip install llvmlite",
        ) from error
    return target.create_target_machine(
        cpu="generic-rv64", features="+m,+a,+c", opt=2, reloc="static", codemodel="medium"
    )


def compile_riscv_object(ir: str) -> bytes:
    """Compile LLVM IR text for riscv64 Linux, without floating point, by O2."""
    machine = _riscv_machine()
    module = llvm.parse_assembly(f'target triple = "{_RISCV_TRIPLE}"\n{ir}')
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    result: bytes = machine.emit_object(module)
    return result
