# SPDX-License-Identifier: Apache-2.0
"""Where the jit engine keeps its own state: words behind the architected ones of a hart, and the shared
block.

A hart's block is `BLOCK_WORDS` long: architected words, engine words, software TLB, jump caches. The shared
block holds what all harts of a VM use: the translator's state and tables. Indexes count 64-bit words.
"""

from __future__ import annotations

from innkeeper.isa.riscv.state import ENGINE, HART_WORDS

# Engine words of a hart.
JUMP_CACHE = ENGINE + 0
"""Host address of the jump cache of the current fetch context."""
DATA_CONTEXT = ENGINE + 1
"""Identifier (below 4096) of what selects the current data mapping; compiled code has it in a register."""
PAGE = ENGINE + 2
"""Virtual address of the page that code runs in, when it is not in its register."""
FP_USABLE = ENGINE + 3
"""1 if FS is not Off and frm is a mode of the host."""
MXCSR = ENGINE + 4
"""Host floating-point control and sticky flags while compiled code is not running."""
SHARED = ENGINE + 5
"""Host address of the shared block."""
RAM_HOST = ENGINE + 6
RAM_BASE = ENGINE + 7
RAM_SIZE = ENGINE + 8
RAM_DELTA = ENGINE + 9
"""RAM_HOST - RAM_BASE: add to a guest-physical address to get the host's."""
REMAINING = ENGINE + 10
"""Budget of this `run` that is not yet handed to a slice."""
RUNNING = ENGINE + 11
"""1 while this hart is inside `run_hart`; others wait for it to serve requests only then."""
CODE_EPOCH = ENGINE + 12
"""The shared CODE_EPOCH at which this hart's jump caches were last emptied."""
TIMER_DUE = ENGINE + 13
"""Timer bits of mip as computed at the last poll."""
FETCH_NEXT = ENGINE + 14
DATA_NEXT = ENGINE + 15
NEXT_IDENTIFIER = ENGINE + 16
LARGE_LOW = ENGINE + 17
"""2 words: lowest user and kernel page that came from a superpage since the last flush."""
LARGE_HIGH = ENGINE + 19
LEAF_SIZE = ENGINE + 21
SERVED = ENGINE + 22
"""Value of REQUEST up to which requests are served."""
EXIT_PC = ENGINE + 23
"""Address of the instruction that left with an MMIO exit."""
FETCH_KEYS = ENGINE + 96
"""FETCH_CONTEXTS pairs (satp, privilege + 1)."""
DATA_KEYS = ENGINE + 160
"""DATA_CONTEXTS triples (satp, flags + 1, identifier)."""
STATISTICS = ENGINE + 256
"""Counters, see `STATISTIC_NAMES`."""
STATISTIC_NAMES = (
    "slices", "tlb_misses", "slow_accesses", "lookups", "blocks", "translated_instructions", "system_calls",
    "tlb_flushes", "page_flushes", "code_invalidations", "code_flushes", "requests",
    "fetch_flushes", "walked_lookups",
)  # fmt: skip

TLB = HART_WORDS
TLB_ENTRIES = 8192
TLB_ENTRY_WORDS = 4
"""Read tag, write tag, addend, unused. A tag is the page's address | DATA_CONTEXT; no tag is NO_TAG."""
TLB_READ, TLB_WRITE, TLB_ADDEND = 0, 1, 2
NO_TAG = (1 << 64) - 1
FETCH_CONTEXTS = 16
DATA_CONTEXTS = 16
JUMP_ENTRIES = 8192
"""Pairs (pc, code); no pc is NO_TAG. A pc stands where its bits from JUMP_LOW_SHIFT on, exclusive-or those
from JUMP_HIGH_SHIFT on, say: so the same places of different pages do not meet."""
JUMP_LOW_SHIFT, JUMP_HIGH_SHIFT = 1, 12
FETCH_TLB = TLB + TLB_ENTRIES * TLB_ENTRY_WORDS
"""Pairs (tag, addend) for fetches; apart, so that code and data do not drive each other out."""
FETCH_TLB_ENTRIES = 512
JUMP_CACHES = FETCH_TLB + FETCH_TLB_ENTRIES * 2
EXECUTED = JUMP_CACHES + FETCH_CONTEXTS * JUMP_ENTRIES * 2
EXECUTED_BITS = 1 << 16
"""A bit for each page, by the low bits of its number, that has entries in a jump cache."""
BLOCK_WORDS = EXECUTED + EXECUTED_BITS // 64

# Sites: what the slow path of one memory access needs to know. Four words.
SITE_INFO, SITE_RETRY, SITE_NEXT, SITE_REMAINING = 0, 1, 2, 3
SITE_WORDS = 4
# SITE_INFO: page offset (12 bits) | instruction length << 12 | kind << 16 | size << 20 | extend << 24 | reg
# << 32
KIND_LOAD, KIND_STORE, KIND_ATOMIC, KIND_RESERVE = 0, 1, 2, 3
EXTEND_ZERO, EXTEND_SIGN, EXTEND_BOX = 0, 1, 2

# Relocations of a stencil: three words each: offset | kind << 32, operand or index, addend.
HOLE_X, HOLE_XD, HOLE_F, HOLE_RAW, HOLE_PC, HOLE_PC_IMM, HOLE_NEXT_PC = 0, 1, 2, 3, 4, 5, 6
HOLE_BUDGET, HOLE_SLOT, HOLE_SITE, HOLE_TABLE, HOLE_NEXT, HOLE_TAKEN, HOLE_COLD, HOLE_STUB = (
    7,
    8,
    9,
    10,
    11,
    12,
    13,
    14,
)
HOLE_BYTES = 15
RELATIVE_HOLES = frozenset({HOLE_NEXT, HOLE_TAKEN, HOLE_COLD, HOLE_STUB})
RELOCATION_WORDS = 3

# Entry points into compiled glue that stencils jump to.
(
    STUB_MEMORY, STUB_LOOKUP, STUB_SYSTEM, STUB_CHAIN, STUB_BUDGET, STUB_FP, STUB_EXIT, STUB_SIDE,
) = range(8)  # fmt: skip
GLUE_NAMES = (
    "entry", "goto_slot", "goto_slot_refund", "goto_page", "goto_page_refund", "thunk_chain", "thunk_memory",
    "thunk_budget", "thunk_fp", "fp_check", "fp_dirty", "step", "illegal",
)  # fmt: skip
(
    GLUE_ENTRY, GLUE_SLOT, GLUE_SLOT_REFUND, GLUE_PAGE, GLUE_PAGE_REFUND, GLUE_CHAIN, GLUE_MEMORY,
    GLUE_BUDGET, GLUE_FP, GLUE_FP_CHECK, GLUE_FP_DIRTY, GLUE_STEP, GLUE_ILLEGAL,
) = range(13)  # fmt: skip
TARGET_OPERAND = 8
"""Index of the translator's own operand: page offset of a jump's target, or of this instruction."""
COUNT_OPERAND = 9
"""Index of the translator's own operand: a number of instructions."""
STUB_NAMES = ("memory", "lookup", "system", "chain", "budget", "fp", "exit", "side")

# The shared block of a VM.
LOCK = 0
CODE_NEXT, CODE_END, CODE_WRITE = 1, 2, 3
"""Where the next code goes (as it is executed), where the area ends, and what to add to write there."""
DATA_NEXT_FREE, DATA_END = 4, 5
"""Slots and sites: next free word, end."""
CODE_FIRST, DATA_FIRST = 6, 7
"""Where both begin again when everything is thrown away."""
PAGES = 8
"""Address of one 32-bit number for each page of RAM: its code page + 1, or 0."""
POOL, POOL_NEXT, POOL_COUNT, POOL_FREE = 9, 10, 11, 12
"""Code pages: array, first never used, their number, and head of the list of freed ones (+ 1)."""
HARTS = 13
STENCILS, RELOCATIONS, CODE_BYTES, FUNCTION_TABLE, CONSTANT_BYTES = 14, 15, 16, 17, 18
BUCKETS, CANDIDATES, ENTRIES, NARROW, FIELDS, OPERATIONS = 19, 20, 21, 22, 23, 24
CROSSING = 25
"""Address of CROSSING_ENTRIES pairs (instruction word, code) for instructions that cross a page's end."""
SHARED_EPOCH = 26
"""Counts invalidations of code."""
FLUSH_COUNT = 27
"""Counts the times that all code was thrown away."""
WRITERS = 28
"""Address of one byte for each page of RAM: a bit for each hart that may have it in its TLB for writing."""
SAMPLE_NEXT, SAMPLED = 29, 30
"""Number of the next sample of where slices end; address of SAMPLE_ENTRIES of them, 0: none are taken."""
REGIONS = 31
"""Counts regions put in place."""
STUBS = 32
GLUE = 40
"""Stencil number of each of GLUE_NAMES."""
HART_BLOCKS = 56
"""Address of each hart's block."""
MAX_HARTS = 8
OPERANDS = 64
"""Scratch of the translator: operands of the instruction in hand (8), its target and count operands."""
OFFSET, LENGTH, SLOT, SITE, COLD_KIND, COUNT, BUDGET_AT, THUNK_COUNT, EMITTED = (
    80,
    81,
    82,
    83,
    84,
    85,
    86,
    87,
    88,
)
BLOCK_PAGE, LINES, FLOAT_SEEN, FLOAT_DIRTY, BLOCK_OFFSET = 89, 90, 91, 92, 93
THUNKS = 128
THUNK_WORDS = 6
MAX_THUNKS = 256
SHARED_WORDS = THUNKS + THUNK_WORDS * MAX_THUNKS
CROSSING_ENTRIES = 4096
CODE_PAGE_WORDS = 1 + 1024 + 1024
"""A code page: lines of 64 bytes that hold translated code (a bit each), a 32-bit address for each 2 bytes,
and as many of baseline code where the first one is a region's."""
CODE_PAGE_BASELINE = 8 * (1 + 1024)
SAMPLE_ENTRIES = 4096

# A region to put in place (words). Behind: stubs (offset, stub, addend), entries (page offset, code offset).
REGION_PA, REGION_SOURCE, REGION_CODE, REGION_BYTES, REGION_LINES, REGION_STUBS, REGION_ENTRIES = range(7)
REGION_LIST = 8
REGION_ALIGNMENT = 64
"""Of a region's code, with the constants in it: those of the host's vector registers need it."""

THUNK_BUDGET, THUNK_FLOAT, THUNK_MEMORY, THUNK_TAKEN = 0, 1, 2, 3
BLOCK_LIMIT = 64
"""Instructions in one block."""
BLOCK_CODE_BYTES = 1 << 16
BLOCK_DATA_BYTES = 1 << 13
"""Room that a block may need at most."""

# Operations: what the translator knows of each (words).
OPERATION_STENCIL, OPERATION_FLAGS, OPERATION_MEMORY, OPERATION_TARGET, OPERATION_RD = 0, 1, 2, 3, 4
OPERATION_WORDS = 5
NO_STENCIL = (1 << 64) - 1
FLAG_JUMP, FLAG_BRANCH, FLAG_END, FLAG_MEMORY, FLAG_FLOAT, FLAG_WRITES_FLOAT, FLAG_PURE = (
    1,
    2,
    4,
    8,
    16,
    32,
    64,
)
# OPERATION_MEMORY: kind | size << 4 | extend << 8 | register operand << 12 | float << 16

# Decoding entries (words): mask, match, operation, first field word, number of fields.
ENTRY_MASK, ENTRY_MATCH, ENTRY_OPERATION, ENTRY_FIELDS, ENTRY_FIELD_COUNT = 0, 1, 2, 3, 4
ENTRY_WORDS = 5
# A field: number of moves | sign bit << 8 (0: none), a constant to add, then moves source | target << 8 |
# width << 16.
