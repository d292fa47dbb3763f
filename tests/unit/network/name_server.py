# SPDX-License-Identifier: Apache-2.0
"""A name server of the host, for tests: on loopback, over UDP and TCP at one port, answering as told."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from dnslib import RR, DNSRecord

Answer = Callable[[DNSRecord], bytes | None]
"""From a question to the bytes of the response; None: none."""


def zone(text: str) -> Answer:
    """Answers what `text` (a zone file) holds for the question's name and type, aliases followed."""
    records = RR.fromZone(text)

    def answer(question: DNSRecord) -> bytes:
        reply, name = question.reply(), question.q.qname
        for record in records:
            if record.rname == name and record.rtype in (question.q.qtype, 5):
                reply.add_answer(record)
                if record.rtype == 5:
                    name = record.rdata.label
        return bytes(reply.pack())

    return answer


class NameServer:
    """Answers on threads of its own until it is closed."""

    def __init__(self, answer: Answer, address: str = "127.0.0.1") -> None:
        self.answer = answer
        self.asked: list[tuple[str, bool, int]] = []
        """Name, whether over TCP, and the identifier of each question."""
        while True:
            self._listener = socket.create_server((address, 0))
            self.port: int = self._listener.getsockname()[1]
            self._datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                self._datagrams.bind((address, self.port))
                break
            except OSError:
                self._listener.close()
                self._datagrams.close()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._udp, self._tcp)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            own.sendto(b"", self._datagrams.getsockname())
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()
        self._datagrams.close()

    def _response(self, message: bytes, over_tcp: bool) -> bytes | None:
        question = DNSRecord.parse(message)
        self.asked.append((str(question.q.qname), over_tcp, question.header.id))
        return self.answer(question)

    def _udp(self) -> None:
        while True:
            message, client = self._datagrams.recvfrom(4096)
            if not message:
                return
            response = self._response(message, False)
            if response is not None:
                with contextlib.suppress(OSError):
                    self._datagrams.sendto(response, client)

    def _tcp(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(10)
                size_bytes = int.from_bytes(connection.recv(2, socket.MSG_WAITALL), "big")
                response = self._response(connection.recv(size_bytes, socket.MSG_WAITALL), True)
                if response is not None:
                    connection.sendall(len(response).to_bytes(2, "big") + response)
