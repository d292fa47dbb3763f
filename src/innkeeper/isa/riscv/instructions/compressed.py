# SPDX-License-Identifier: Apache-2.0
"""C: 16-bit instructions and what they stand for.

Hints expand to instructions without effect; reserved encodings are those that no pattern here matches.

Spec: riscv-unpriv 20240411, "C" Extension for Compressed Instructions, 26.8 "RVC Instruction Set Listings".
"""

from __future__ import annotations

from innkeeper.isa.riscv.definition import compressed

# Quadrant 0.
compressed("000 uimm[5:4|9:6|2|3]!=0 rd' 00", "c.addi4spn rd, sp, uimm", "addi", rd="rd", rs1=2, imm="uimm")
compressed(
    "001 uimm[5:3] rs1' uimm[7:6] rd' 00", "c.fld frd, uimm(rs1)", "fld", rd="rd", rs1="rs1", imm="uimm"
)
compressed("010 uimm[5:3] rs1' uimm[2|6] rd' 00", "c.lw rd, uimm(rs1)", "lw", rd="rd", rs1="rs1", imm="uimm")
compressed("011 uimm[5:3] rs1' uimm[7:6] rd' 00", "c.ld rd, uimm(rs1)", "ld", rd="rd", rs1="rs1", imm="uimm")
compressed(
    "101 uimm[5:3] rs1' uimm[7:6] rs2' 00", "c.fsd frs2, uimm(rs1)", "fsd", rs1="rs1", rs2="rs2", imm="uimm"
)
compressed(
    "110 uimm[5:3] rs1' uimm[2|6] rs2' 00", "c.sw rs2, uimm(rs1)", "sw", rs1="rs1", rs2="rs2", imm="uimm"
)
compressed(
    "111 uimm[5:3] rs1' uimm[7:6] rs2' 00", "c.sd rs2, uimm(rs1)", "sd", rs1="rs1", rs2="rs2", imm="uimm"
)

# Quadrant 1. rd = x0 is a hint in c.nop, c.li, c.lui.
compressed("000 imm[5] 00000 imm[4:0] 01", "c.nop imm", "addi", rd=0, rs1=0, imm="imm")
compressed("000 imm[5] rd!=0 imm[4:0] 01", "c.addi rd, imm", "addi", rd="rd", rs1="rd", imm="imm")
compressed("001 imm[5] rd!=0 imm[4:0] 01", "c.addiw rd, imm", "addiw", rd="rd", rs1="rd", imm="imm")
compressed("010 imm[5] rd imm[4:0] 01", "c.li rd, imm", "addi", rd="rd", rs1=0, imm="imm")
compressed("011 imm[9] 00010 imm[4|6|8:7|5]!=0 01", "c.addi16sp sp, imm", "addi", rd=2, rs1=2, imm="imm")
compressed("011 imm[17] rd!=2 imm[16:12]!=0 01", "c.lui rd, imm>>12", "lui", rd="rd", imm="imm")
compressed("100 shamt[5] 00 rd' shamt[4:0] 01", "c.srli rd, shamt", "srli", rd="rd", rs1="rd", shamt="shamt")
compressed("100 shamt[5] 01 rd' shamt[4:0] 01", "c.srai rd, shamt", "srai", rd="rd", rs1="rd", shamt="shamt")
compressed("100 imm[5] 10 rd' imm[4:0] 01", "c.andi rd, imm", "andi", rd="rd", rs1="rd", imm="imm")
compressed("100 0 11 rd' 00 rs2' 01", "c.sub rd, rs2", "sub", rd="rd", rs1="rd", rs2="rs2")
compressed("100 0 11 rd' 01 rs2' 01", "c.xor rd, rs2", "xor", rd="rd", rs1="rd", rs2="rs2")
compressed("100 0 11 rd' 10 rs2' 01", "c.or rd, rs2", "or", rd="rd", rs1="rd", rs2="rs2")
compressed("100 0 11 rd' 11 rs2' 01", "c.and rd, rs2", "and", rd="rd", rs1="rd", rs2="rs2")
compressed("100 1 11 rd' 00 rs2' 01", "c.subw rd, rs2", "subw", rd="rd", rs1="rd", rs2="rs2")
compressed("100 1 11 rd' 01 rs2' 01", "c.addw rd, rs2", "addw", rd="rd", rs1="rd", rs2="rs2")
compressed("101 imm[11|4|9:8|10|6|7|3:1|5] 01", "c.j pc+imm", "jal", rd=0, imm="imm")
compressed("110 imm[8|4:3] rs1' imm[7:6|2:1|5] 01", "c.beqz rs1, pc+imm", "beq", rs1="rs1", rs2=0, imm="imm")
compressed("111 imm[8|4:3] rs1' imm[7:6|2:1|5] 01", "c.bnez rs1, pc+imm", "bne", rs1="rs1", rs2=0, imm="imm")

# Quadrant 2. rd = x0 is a hint in c.slli, c.mv and c.add.
compressed("000 shamt[5] rd shamt[4:0] 10", "c.slli rd, shamt", "slli", rd="rd", rs1="rd", shamt="shamt")
compressed("001 uimm[5] rd uimm[4:3|8:6] 10", "c.fldsp frd, uimm(sp)", "fld", rd="rd", rs1=2, imm="uimm")
compressed("010 uimm[5] rd!=0 uimm[4:2|7:6] 10", "c.lwsp rd, uimm(sp)", "lw", rd="rd", rs1=2, imm="uimm")
compressed("011 uimm[5] rd!=0 uimm[4:3|8:6] 10", "c.ldsp rd, uimm(sp)", "ld", rd="rd", rs1=2, imm="uimm")
compressed("100 0 rs1!=0 00000 10", "c.jr rs1", "jalr", rd=0, rs1="rs1", imm=0)
compressed("100 0 rd rs2!=0 10", "c.mv rd, rs2", "add", rd="rd", rs1=0, rs2="rs2")
compressed("100 1 00000 00000 10", "c.ebreak", "ebreak")
compressed("100 1 rs1!=0 00000 10", "c.jalr rs1", "jalr", rd=1, rs1="rs1", imm=0)
compressed("100 1 rd rs2!=0 10", "c.add rd, rs2", "add", rd="rd", rs1="rd", rs2="rs2")
compressed("101 uimm[5:3|8:6] rs2 10", "c.fsdsp frs2, uimm(sp)", "fsd", rs1=2, rs2="rs2", imm="uimm")
compressed("110 uimm[5:2|7:6] rs2 10", "c.swsp rs2, uimm(sp)", "sw", rs1=2, rs2="rs2", imm="uimm")
compressed("111 uimm[5:3|8:6] rs2 10", "c.sdsp rs2, uimm(sp)", "sd", rs1=2, rs2="rs2", imm="uimm")
