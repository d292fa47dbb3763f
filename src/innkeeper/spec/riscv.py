# SPDX-License-Identifier: Apache-2.0
"""Numbers of the RISC-V privileged architecture: CSRs, causes, and the bits inside registers and PTEs.

Spec: riscv-priv 20240411. Each group names the section by its title. Plain integers, because native functions
read them.
"""

# "Privilege Levels"
PRIV_U = 0
PRIV_S = 1
PRIV_M = 3

# "CSR Listing": unprivileged floating-point CSRs.
CSR_FFLAGS = 0x001
CSR_FRM = 0x002
CSR_FCSR = 0x003

# "CSR Listing": unprivileged counters (read-only shadows).
CSR_CYCLE = 0xC00
CSR_TIME = 0xC01
CSR_INSTRET = 0xC02

# "CSR Listing": supervisor-level CSRs.
CSR_SSTATUS = 0x100
CSR_SIE = 0x104
CSR_STVEC = 0x105
CSR_SCOUNTEREN = 0x106
CSR_SENVCFG = 0x10A
CSR_SSCRATCH = 0x140
CSR_SEPC = 0x141
CSR_SCAUSE = 0x142
CSR_STVAL = 0x143
CSR_SIP = 0x144
CSR_STIMECMP = 0x14D
CSR_SATP = 0x180

# "CSR Listing": machine-level CSRs.
CSR_MVENDORID = 0xF11
CSR_MARCHID = 0xF12
CSR_MIMPID = 0xF13
CSR_MHARTID = 0xF14
CSR_MCONFIGPTR = 0xF15
CSR_MSTATUS = 0x300
CSR_MISA = 0x301
CSR_MEDELEG = 0x302
CSR_MIDELEG = 0x303
CSR_MIE = 0x304
CSR_MTVEC = 0x305
CSR_MCOUNTEREN = 0x306
CSR_MENVCFG = 0x30A
CSR_MCOUNTINHIBIT = 0x320
CSR_MHPMEVENT3 = 0x323
CSR_MHPMEVENT31 = 0x33F
CSR_MSCRATCH = 0x340
CSR_MEPC = 0x341
CSR_MCAUSE = 0x342
CSR_MTVAL = 0x343
CSR_MIP = 0x344
CSR_PMPCFG0 = 0x3A0
CSR_PMPCFG2 = 0x3A2
CSR_PMPADDR0 = 0x3B0
CSR_PMPADDR15 = 0x3BF
CSR_MCYCLE = 0xB00
CSR_MINSTRET = 0xB02
CSR_MHPMCOUNTER3 = 0xB03
CSR_MHPMCOUNTER31 = 0xB1F

# "Machine Cause (mcause) Register": exceptions.
CAUSE_FETCH_MISALIGNED = 0
CAUSE_FETCH_ACCESS = 1
CAUSE_ILLEGAL_INSTRUCTION = 2
CAUSE_BREAKPOINT = 3
CAUSE_LOAD_MISALIGNED = 4
CAUSE_LOAD_ACCESS = 5
CAUSE_STORE_MISALIGNED = 6
CAUSE_STORE_ACCESS = 7
CAUSE_ECALL_U = 8
CAUSE_ECALL_S = 9
CAUSE_ECALL_M = 11
CAUSE_FETCH_PAGE = 12
CAUSE_LOAD_PAGE = 13
CAUSE_STORE_PAGE = 15
CAUSE_INTERRUPT = 1 << 63
"""Set in xcause for interrupts."""

# "Machine Cause (mcause) Register": interrupts.
IRQ_S_SOFTWARE = 1
IRQ_M_SOFTWARE = 3
IRQ_S_TIMER = 5
IRQ_M_TIMER = 7
IRQ_S_EXTERNAL = 9
IRQ_M_EXTERNAL = 11

# "Machine Interrupt (mip and mie) Registers"
MIP_SSIP = 1 << 1
MIP_MSIP = 1 << 3
MIP_STIP = 1 << 5
MIP_MTIP = 1 << 7
MIP_SEIP = 1 << 9
MIP_MEIP = 1 << 11
MIP_SUPERVISOR = MIP_SSIP | MIP_STIP | MIP_SEIP
MIP_ALL = MIP_SUPERVISOR | MIP_MSIP | MIP_MTIP | MIP_MEIP

# "Machine Status (mstatus and mstatush) Registers"
MSTATUS_SIE = 1 << 1
MSTATUS_MIE = 1 << 3
MSTATUS_SPIE = 1 << 5
MSTATUS_MPIE = 1 << 7
MSTATUS_SPP = 1 << 8
MSTATUS_MPP_SHIFT = 11
MSTATUS_MPP = 3 << 11
MSTATUS_FS = 3 << 13
MSTATUS_MPRV = 1 << 17
MSTATUS_SUM = 1 << 18
MSTATUS_MXR = 1 << 19
MSTATUS_TVM = 1 << 20
MSTATUS_TW = 1 << 21
MSTATUS_TSR = 1 << 22
MSTATUS_UXL_64 = 2 << 32
MSTATUS_SXL_64 = 2 << 34
MSTATUS_SD = 1 << 63

# "Machine ISA (misa) Register": RV64 with A C D F I M S U.
MISA_RV64 = 2 << 62
MISA_LETTERS = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 8 | 1 << 12 | 1 << 18 | 1 << 20

# "Machine Environment Configuration (menvcfg) Register"; senvcfg has the same low bits.
ENVCFG_FIOM = 1 << 0
ENVCFG_CBIE_SHIFT = 4
ENVCFG_CBIE = 3 << 4
ENVCFG_CBCFE = 1 << 6
ENVCFG_CBZE = 1 << 7
MENVCFG_ADUE = 1 << 61
MENVCFG_STCE = 1 << 63

# "Machine Counter-Enable (mcounteren) Register"; mcountinhibit has the same positions.
COUNTER_CY = 1 << 0
COUNTER_TM = 1 << 1
COUNTER_IR = 1 << 2

# "Supervisor Address Translation and Protection (satp) Register"
SATP_MODE_SHIFT = 60
SATP_BARE = 0
SATP_SV39 = 8
SATP_SV48 = 9
SATP_SV57 = 10
SATP_ASID_SHIFT = 44
SATP_ASID_MASK = 0xFFFF
SATP_PPN_MASK = (1 << 44) - 1

# "Sv39: Page-Based 39-bit Virtual-Memory System"
PAGE_SHIFT = 12
PAGE_BYTES = 1 << PAGE_SHIFT
PTE_V = 1 << 0
PTE_R = 1 << 1
PTE_W = 1 << 2
PTE_X = 1 << 3
PTE_U = 1 << 4
PTE_G = 1 << 5
PTE_A = 1 << 6
PTE_D = 1 << 7
PTE_PPN_SHIFT = 10
PTE_PPN_MASK = (1 << 44) - 1
PTE_RESERVED = 0x3FF << 54
"""Bits 63..54: N (Svnapot), PBMT (Svpbmt) and reserved ones; none of those extensions is here."""
PHYSICAL_ADDRESS_BITS = 56

# "Physical Memory Protection CSRs"
PMP_ENTRIES = 16
PMP_R = 1 << 0
PMP_W = 1 << 1
PMP_X = 1 << 2
PMP_A_SHIFT = 3
PMP_A = 3 << 3
PMP_OFF = 0
PMP_TOR = 1
PMP_NA4 = 2
PMP_NAPOT = 3
PMP_L = 1 << 7
PMP_ADDRESS_MASK = (1 << 54) - 1
