# SPDX-License-Identifier: Apache-2.0
"""The guest's DNS server: answers names of sibling VMs, passes the rest to the host's name servers.

It notes which address each name was answered with, so that policy can speak of names.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping

from innkeeper.network import dns_message
from innkeeper.network.dns_exchange import Exchange
from innkeeper.network.dns_message import Answers, Question
from innkeeper.network.egress import Egress
from innkeeper.network.event_loop import EventLoop
from innkeeper.network.host_resolver import HostResolver
from innkeeper.network.limits import Limits
from innkeeper.network.link import GuestLink
from innkeeper.spec.internet import PORT_DNS

LOCAL_TTL_S = 5
"""For names of siblings and of the hosts file, which may change."""
_UDP_QUERY_BYTES_MAX = 4096
_STREAM_QUERIES_MAX = 8
_READ_BYTES = 65536

Reply = Callable[[bytes], None]


class DnsForwarder:
    """`siblings` maps plain names to packed addresses, and may change while it is in use."""

    def __init__(
        self,
        loop: EventLoop,
        link: GuestLink,
        egress: Egress,
        limits: Limits,
        resolver: HostResolver,
        siblings: Mapping[str, tuple[bytes, ...]],
        *,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.loop = loop
        self._link, self._egress, self._limits, self._resolver = link, egress, limits, resolver
        self._siblings, self._random_bytes = siblings, random_bytes
        self._exchanges: set[Exchange] = set()
        self._streams: set[_Stream] = set()

    def query(self, source: bytes, source_port: int, target: bytes, target_port: int, message: bytes) -> None:
        """A query of the guest over UDP."""
        if len(message) > _UDP_QUERY_BYTES_MAX:
            self._link.statistics.dropped["too long a DNS query"] += 1
            return
        self.resolve(
            message,
            False,
            lambda response: self._link.send_udp(target, target_port, source, source_port, response),
        )

    def serve(self, stream: socket.socket) -> bool:
        """Take over a connection of the guest to our port; False if that is one too many."""
        if len(self._streams) >= self._limits.dns_connections:
            return False
        self._streams.add(_Stream(self, stream))
        return True

    def resolve(self, message: bytes, over_tcp: bool, reply: Reply) -> bool:
        """Answer `message` through `reply`, at once or later, be it with an error; False: it is no query."""
        self._link.statistics.dns_queries += 1
        question = dns_message.parse_question(message)
        if question is None:
            failure = dns_message.failure(message, dns_message.FORMAT_ERROR)
            if failure is None:
                return False
            reply(failure)
            return True
        local = self._siblings.get(question.name) or self._resolver.addresses(question.name)
        if local and question.record_class == dns_message.CLASS_IN:
            for address in local:
                self._egress.names.learn(question.name, address, LOCAL_TTL_S)
            reply(dns_message.local_response(question, tuple(local), LOCAL_TTL_S))
        elif not self._egress.policy.may_resolve(question.name):
            self._link.statistics.refused += 1
            self._egress.refusals.add("dns", "", PORT_DNS, (question.name,), "a name that is not allowed")
            reply(dns_message.failure_of(question, dns_message.REFUSED))
        elif len(self._exchanges) >= self._limits.dns_queries:
            reply(dns_message.failure_of(question, dns_message.SERVER_FAILURE))
        else:
            self._forward(question, over_tcp, reply)
        return True

    def close(self) -> None:
        """Give up everything under way."""
        for exchange in self._exchanges:
            exchange.close()
        self._exchanges.clear()
        for stream in list(self._streams):
            stream.close()

    def stream_closed(self, stream: _Stream) -> None:
        self._streams.discard(stream)

    def _forward(self, question: Question, over_tcp: bool, reply: Reply) -> None:
        def done(response: bytes | None, answers: Answers | None) -> None:
            self._exchanges.discard(exchange)
            if response is None or answers is None:
                reply(dns_message.failure_of(question, dns_message.SERVER_FAILURE))
                return
            for address, ttl_s in answers.addresses:
                self._egress.names.learn(question.name, address, ttl_s)
            response = dns_message.with_identifier(response, question.identifier)
            reply(response if over_tcp else dns_message.cut(response, question))

        exchange = Exchange(self.loop, self._resolver.servers, question, over_tcp, self._random_bytes, done)
        self._exchanges.add(exchange)
        exchange.start()


class _Stream:
    """A guest's connection: queries with their length in front, several at a time (RFC 7766)."""

    def __init__(self, forwarder: DnsForwarder, stream: socket.socket) -> None:
        self._forwarder, self._stream = forwarder, stream
        self._received = bytearray()
        self._unsent = bytearray()
        self._under_way = 0
        self._ended = False
        self._reading = True
        self._writing = False
        forwarder.loop.add_reader(stream.fileno(), self._readable)

    def close(self) -> None:
        if self._stream.fileno() >= 0:
            self._forwarder.loop.remove_reader(self._stream.fileno())
            self._forwarder.loop.remove_writer(self._stream.fileno())
            self._stream.close()
            self._forwarder.stream_closed(self)

    def _readable(self) -> None:
        try:
            data = self._stream.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not data:
            self._ended = True
            self._want_read(False)
        self._received += data
        self._take_queries()

    def _take_queries(self) -> None:
        while self._under_way < _STREAM_QUERIES_MAX and len(self._unsent) < _READ_BYTES:
            size_bytes = int.from_bytes(self._received[:2], "big")
            if len(self._received) < 2 + size_bytes or len(self._received) < 2:
                break
            message = bytes(self._received[2 : 2 + size_bytes])
            del self._received[: 2 + size_bytes]
            self._under_way += 1
            if not self._forwarder.resolve(message, True, self._answered):
                # Who sends that sends no queries after it.
                self.close()
                return
        # A whole query may be kept, and no more.
        self._want_read(not self._ended and len(self._received) < _READ_BYTES + 2)
        if self._ended and not self._under_way and not self._unsent:
            self.close()

    def _answered(self, response: bytes) -> None:
        if self._stream.fileno() < 0:
            return
        self._under_way -= 1
        self._unsent += len(response).to_bytes(2, "big") + response
        if not self._writing:
            self._writing = True
            self._forwarder.loop.add_writer(self._stream.fileno(), self._writable)

    def _writable(self) -> None:
        try:
            del self._unsent[: self._stream.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not self._unsent:
            self._writing = False
            self._forwarder.loop.remove_writer(self._stream.fileno())
            self._take_queries()

    def _want_read(self, wanted: bool) -> None:
        if wanted != self._reading and self._stream.fileno() >= 0:
            self._reading = wanted
            if wanted:
                self._forwarder.loop.add_reader(self._stream.fileno(), self._readable)
            else:
                self._forwarder.loop.remove_reader(self._stream.fileno())
