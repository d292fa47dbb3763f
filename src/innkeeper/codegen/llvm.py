# SPDX-License-Identifier: Apache-2.0
"""LLVM as this project uses it: IR text to an object file for this host, and an object file into this
process."""

from __future__ import annotations

import platform
from functools import lru_cache
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from innkeeper.errors import HostError

_RISCV_TRIPLE = "riscv64-unknown-linux"


@lru_cache(maxsize=1)
def _initialize() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


def host_description() -> str:
    """What machine code depends on: architecture, CPU, its features, and the LLVM that makes it."""
    _initialize()
    features = llvm.get_host_cpu_features().flatten()
    version = ".".join(map(str, llvm.llvm_version_info))
    return f"{platform.machine()} {llvm.get_host_cpu_name()} {features} llvm {version} {llvmlite.__version__}"


def host_has(feature: str) -> bool:
    """Whether the host CPU has a feature, by LLVM's name for it."""
    _initialize()
    return bool(llvm.get_host_cpu_features().get(feature, False))


@lru_cache(maxsize=4)
def _machine(static: bool, model: str) -> Any:
    _initialize()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        reloc="static" if static else "pic",
        codemodel=model,
    )


def compile_object(ir: str, *, static: bool, small: bool = False) -> bytes:
    """Compile LLVM IR text with O2. `static`: small static code, for stencils; else position-independent.

    `small`: all that is referred to lies within 2 GiB.
    """
    machine = _machine(static, "small" if static or small else "jitdefault")
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


class LoadedObject:
    """An object file linked into this process; its functions stay callable until `close`."""

    def __init__(self, image: bytes, name: str, exports: list[str], imports: dict[str, int]) -> None:
        _initialize()
        try:
            self._jit = llvm.create_lljit_compiler(_machine(False, "jitdefault"), use_jit_link=True)
            builder = llvm.JITLibraryBuilder().add_object_img(image)
            for symbol, address in imports.items():
                builder = builder.import_symbol(symbol, address)
            for symbol in exports:
                builder = builder.export_symbol(symbol)
            self._library: Any = builder.link(self._jit, name)
        except RuntimeError as error:
            raise HostError(f"LLVM could not link the engine: {error}", "see `inn doctor`") from error

    def address(self, symbol: str) -> int:
        """Where an exported function is."""
        address: int = self._library[symbol]
        return address

    def close(self) -> None:
        """Unlink; nothing of it may be running."""
        self._library.close()
        self._library = None
