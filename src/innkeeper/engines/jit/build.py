# SPDX-License-Identifier: Apache-2.0
"""Builds what the jit engine needs ahead of time: stencils, decoding tables and the native functions.

The result is an `Artifact`: plain bytes, the same for every VM on this host.
"""

from __future__ import annotations

import importlib

from innkeeper.codegen import layout as at
from innkeeper.codegen.glue import glue_ir
from innkeeper.codegen.link import link
from innkeeper.codegen.llvm import compile_object
from innkeeper.codegen.native import compile_functions
from innkeeper.codegen.stencil import Stencil, read_stencils
from innkeeper.engines.jit.artifact import Artifact
from innkeeper.engines.jit.exports import CALLED_FROM_PYTHON, Progress
from innkeeper.engines.jit.native_runtime import stored
from innkeeper.engines.jit.tables import (
    DecodingTables,
    Operation,
    operation_array,
    operations,
    stencil_arrays,
)
from innkeeper.ir.native import INTRINSIC, NATIVE
from innkeeper.runtime.intrinsics import INTRINSIC_IR

_NATIVE_MODULES = (
    "access", "code", "contexts", "dispatch", "emitter", "holding", "lookup", "regions", "sampler",
    "surroundings", "translator",
)  # fmt: skip
_HOLES = ("X", "XD", "F", "PC", "NEXTPC", "BUDGET", "SLOT", "SITE")
_METADATA = """
attributes #0 = { nounwind strictfp }
attributes #1 = { strictfp }
!0 = !{i64 -2147483648, i64 2147483648}
!1 = !{!"branch_weights", i32 1, i32 2000}
!2 = !{!"branch_weights", i32 2000, i32 1}
!3 = !{i64 0, i64 2147483648}
"""


def function_table(all_operations: list[Operation]) -> list[str]:
    """Native functions that stencils call, in the order of the function table."""
    called = {str(e.attr) for o in all_operations for e in o.trace.effects if e.op == "system"}
    return [*sorted(called), "leave_for_step", "take_illegal", *(f"after_{n}" for n in at.STUB_NAMES)]


def build(progress: Progress) -> Artifact:
    """Compile everything; takes some seconds."""
    progress(0, 4, "tracing instructions")
    all_operations = operations()
    table = function_table(all_operations)
    progress(1, 4, "compiling stencils")
    stencils, constants = _stencils(all_operations, table)
    progress(2, 4, "compiling the runtime")
    runtime = stored(link(compile_object(runtime_ir(table), static=False)))
    progress(3, 4, "making tables")
    numbers = {s.name: i for i, s in enumerate(stencils)}
    code, facts, relocations = stencil_arrays(stencils)
    decoding = DecodingTables(all_operations)
    artifact = Artifact(
        names={
            "table": table,
            **runtime.names,
            "glue": [str(numbers[n]) for n in at.GLUE_NAMES],
            "stubs": [str(numbers[f"stub_{n}"]) for n in at.STUB_NAMES],
        },
        blobs={
            **runtime.blobs,
            "constants": constants,
            "code": code,
            "facts": facts.tobytes(),
            "relocations": relocations.tobytes(),
            "operations": operation_array(all_operations, numbers).tobytes(),
            "entries": decoding.entries.tobytes(),
            "fields": decoding.fields.tobytes(),
            "buckets": decoding.buckets.tobytes(),
            "candidates": decoding.candidates.tobytes(),
            "narrow": decoding.narrow.tobytes(),
        },
    )
    progress(4, 4, "engine built")
    return artifact


def _stencils(all_operations: list[Operation], table: list[str]) -> tuple[list[Stencil], bytes]:
    bodies = [o.ir for o in all_operations if o.ir is not None]
    glue = glue_ir()
    ir = "\n".join([*_declarations(table), *bodies, *glue.values(), _METADATA])
    found, constants = read_stencils(compile_object(ir, static=True), table)
    names = [o.stencil_name for o in all_operations if o.ir is not None] + list(glue)
    return [found[name] for name in names], constants


def _declarations(table: list[str]) -> list[str]:
    lines = [f"@{k}.{i} = external dso_local global i8" for k in _HOLES for i in range(8)]
    # Weak, because LLVM takes the address of any other symbol to differ from 0.
    for kind, metadata in (("RAW", "!0"), ("PCIMM", "!0"), ("URAW", "!3")):
        lines += [
            f"@{kind}.{i} = extern_weak dso_local global i8, !absolute_symbol {metadata}" for i in range(10)
        ]
    lines += [f"@TABLE.{name} = external dso_local global i8" for name in table]
    targets = ["NEXT.0", "COLD.0", "TAKEN.0", *(f"STUB.{n}" for n in at.STUB_NAMES)]
    signature = "(i64, ptr, i64, i64, i64, i64)"
    return lines + [f"declare dso_local preserve_nonecc void @{t}{signature}" for t in targets]


def load_native_functions() -> None:
    """Have all of them in `NATIVE`."""
    for module in _NATIVE_MODULES:
        importlib.import_module(f"innkeeper.runtime.{module}")


def runtime_ir(table: list[str]) -> str:
    """LLVM IR of every native function, the engine's own for each intrinsic."""
    load_native_functions()
    functions = [NATIVE[name] for name in sorted(NATIVE)]
    rename = {name: f"jit_{name}" for name in INTRINSIC if f"jit_{name}" in NATIVE}
    exports = {*table, *CALLED_FROM_PYTHON}
    return INTRINSIC_IR + compile_functions(functions, rename, exports) + "\nattributes #0 = { nounwind }\n"
