# SPDX-License-Identifier: Apache-2.0
"""DNS messages: the few things we read in them and make of them. The format itself is dnslib's.

Spec: RFC 1035 4 "Messages", RFC 6891 for EDNS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from innkeeper.network.policy import plain_name

A, CNAME, AAAA, OPT, ANY = 1, 5, 28, 41, 255
CLASS_IN = 1
NO_ERROR, FORMAT_ERROR, SERVER_FAILURE, NOT_IMPLEMENTED, REFUSED = 0, 1, 2, 4, 5
HEADER_BYTES = 12
UDP_BYTES_DEFAULT = 512
"""What a client without EDNS takes over UDP."""
_RESPONSE_BIT, _OPCODE_MASK, _TRUNCATED_BIT = 0x80, 0x78, 0x02


@dataclass(frozen=True, slots=True)
class Question:
    """A query. `name` is plain: lower case, no dot at its end."""

    identifier: int
    name: str
    kind: int
    record_class: int
    udp_bytes_max: int
    message: bytes


@dataclass(frozen=True, slots=True)
class Answers:
    """What a response to a question says: its addresses (packed), each with the time it may be used."""

    addresses: tuple[tuple[bytes, int], ...]


def _parse(message: bytes) -> Any:
    """The message as dnslib reads it, None if it is damaged."""
    from dnslib import DNSRecord

    try:
        return DNSRecord.parse(message)
    except Exception:
        # Whatever damaged bytes make dnslib raise (IndexError, RecursionError, …), it is a damaged message.
        return None


def parse_question(message: bytes) -> Question | None:
    """A query with one question; None for anything else."""
    if len(message) < HEADER_BYTES or message[2] & (_RESPONSE_BIT | _OPCODE_MASK):
        return None
    record = _parse(message)
    if record is None or len(record.questions) != 1:
        return None
    question = record.questions[0]
    udp_bytes_max = UDP_BYTES_DEFAULT
    for extra in record.ar:
        if extra.rtype == OPT:
            udp_bytes_max = max(UDP_BYTES_DEFAULT, extra.rclass)
    return Question(
        record.header.id,
        plain_name(str(question.qname)),
        question.qtype,
        question.qclass,
        udp_bytes_max,
        message,
    )


def parse_response(message: bytes, identifier: int, question: Question) -> Answers | None:
    """What `message` says, None if it is not the response to `question` sent as `identifier`."""
    if len(message) < HEADER_BYTES or not message[2] & _RESPONSE_BIT:
        return None
    if int.from_bytes(message[:2], "big") != identifier:
        return None
    record = _parse(message)
    if record is None or len(record.questions) != 1:
        return None
    asked = record.questions[0]
    if (plain_name(str(asked.qname)), asked.qtype, asked.qclass) != (
        question.name,
        question.kind,
        question.record_class,
    ):
        return None
    return Answers(tuple(_addresses(record, question.name)))


def _addresses(record: Any, name: str) -> list[tuple[bytes, int]]:
    """Addresses of `name` itself or at the end of its aliases."""
    aliases, ttl_s = {name}, 86_400
    found = []
    for answer in record.rr:
        owner = plain_name(str(answer.rname))
        if answer.rclass != CLASS_IN or owner not in aliases:
            continue
        if answer.rtype == CNAME:
            aliases.add(plain_name(str(answer.rdata.label)))
            ttl_s = min(ttl_s, answer.ttl)
        elif answer.rtype in (A, AAAA):
            packed = bytes(answer.rdata.data)
            if len(packed) == (4 if answer.rtype == A else 16):
                found.append((packed, min(ttl_s, answer.ttl)))
    return found


def with_identifier(message: bytes, identifier: int) -> bytes:
    return identifier.to_bytes(2, "big") + message[2:]


def truncated(message: bytes) -> bool:
    return bool(message[2] & _TRUNCATED_BIT)


def local_response(question: Question, addresses: tuple[bytes, ...], ttl_s: int) -> bytes:
    """Our own answer: those of `addresses` that the question asks for."""
    from dnslib import AAAA as Address6
    from dnslib import RR, DNSRecord
    from dnslib import A as Address4

    request = DNSRecord.parse(question.message)
    reply = request.reply(ra=1, aa=1)
    for packed in addresses:
        if len(packed) == 4 and question.kind in (A, ANY):
            reply.add_answer(RR(request.q.qname, A, ttl=ttl_s, rdata=Address4(tuple(packed))))
        elif len(packed) == 16 and question.kind in (AAAA, ANY):
            reply.add_answer(RR(request.q.qname, AAAA, ttl=ttl_s, rdata=Address6(tuple(packed))))
    return bytes(reply.pack())


def failure(message: bytes, code: int) -> bytes | None:
    """The query `message` sent back with an error; None if it has no header."""
    if len(message) < HEADER_BYTES or message[2] & _RESPONSE_BIT:
        return None
    # Recursion desired as asked, recursion available; no question, so that nothing damaged is repeated.
    flags = bytes((_RESPONSE_BIT | message[2] & (_OPCODE_MASK | 1), 0x80 | code))
    return message[:2] + flags + bytes(8)


def failure_of(question: Question, code: int) -> bytes:
    """`question` sent back with an error."""
    from dnslib import DNSRecord

    reply = DNSRecord.parse(question.message).reply(ra=1, aa=0)
    reply.header.rcode = code
    return bytes(reply.pack())


def cut(response: bytes, question: Question) -> bytes:
    """`response` for a client over UDP: if it is too long for it, one that says to ask over TCP."""
    if len(response) <= question.udp_bytes_max:
        return response
    from dnslib import DNSRecord

    reply = DNSRecord.parse(question.message).reply(ra=1, aa=0)
    reply.header.tc = 1
    return bytes(reply.pack())
