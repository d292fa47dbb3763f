# SPDX-License-Identifier: Apache-2.0
"""LLVM IR as functions of this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from innkeeper.codegen.link import link
from innkeeper.codegen.llvm import compile_object
from innkeeper.host.executable import NativeCode, callable_at, symbol_address


@contextmanager
def linked(ir: str, parameters: int) -> Iterator[dict[str, Callable[..., int]]]:
    """Every function of `ir`, each with so many words; gone when the block is left."""
    made = link(compile_object(ir, static=False))
    imports = {offset: symbol_address(name) for offset, name in made.imports.items()}
    code = NativeCode(bytes(made.code), imports, made.pointers)
    yield {
        name: callable_at(code.address + offset, parameters, releases_gil=False)
        for name, (offset, _) in made.functions.items()
    }
    code.close()
