# SPDX-License-Identifier: Apache-2.0
"""The program that runs in every guest and does there what the VMM asks for.

It is written in the native subset of Python (`innkeeper.ir.native`), compiled by LLVM's RISC-V target to a
static ELF program of a few kilobytes (`program.build`), and needs nothing in the guest but the kernel.
"""
