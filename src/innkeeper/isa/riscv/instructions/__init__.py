# SPDX-License-Identifier: Apache-2.0
"""The definitions, one module per extension; importing this package registers them all."""

from innkeeper.isa.riscv.instructions import base

__all__ = ["base"]
