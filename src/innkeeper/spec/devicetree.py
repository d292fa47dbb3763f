# SPDX-License-Identifier: Apache-2.0
"""Constants of the flattened devicetree format.

Spec: devicetree-specification v0.4, chapter 5 "Flattened Devicetree (DTB) Format"
"""

from __future__ import annotations

import struct

MAGIC = 0xD00DFEED
VERSION = 17
LAST_COMPATIBLE_VERSION = 16

HEADER = struct.Struct(">10I")
"""magic, totalsize, off_dt_struct, off_dt_strings, off_mem_rsvmap, version, last_comp_version,
boot_cpuid_phys, size_dt_strings, size_dt_struct (5.2)."""
RESERVE_ENTRY = struct.Struct(">QQ")
"""address, size (5.3.2); a zero entry ends the list."""

BEGIN_NODE = 1
END_NODE = 2
PROP = 3
NOP = 4
END = 9
"""Tokens of the structure block (5.4.1)."""

NODE_NAME_CHARACTERS = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ,._+-@")
PROPERTY_NAME_CHARACTERS = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ,._+?#-")
"""Tables in 2.2.1 and 2.2.4.1."""
NAME_MAX_CHARACTERS = 31
