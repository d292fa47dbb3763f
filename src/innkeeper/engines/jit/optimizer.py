# SPDX-License-Identifier: Apache-2.0
"""Finds the hot pages of a VM by samples, and has regions of them compiled while the guest runs on.

A sample is where a slice of a hart ended: one each some hundred thousand instructions, in proportion to where
instructions are spent. The thread here sleeps until harts have run for a while, so that an idle guest costs
nothing. The guest never waits for it, and what was compiled before never waits for what is being compiled:
that has a thread of its own.
"""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from innkeeper.codegen import layout as at
from innkeeper.codegen.region_code import RegionCode
from innkeeper.engines.jit.engine import JitEngine
from innkeeper.engines.jit.regions import RegionInstaller
from innkeeper.spec.riscv import PAGE_BYTES

WARM_SAMPLES = 2
"""Samples in a page that make it worth asking whether it was compiled before."""
HOT_SAMPLES = 6
"""Samples in a page that make it hot: some million instructions, about a millisecond."""
POLL_SAMPLES_MIN, POLL_SAMPLES_MAX = 4, 32
"""New samples that are worth waking up for: few while there is something to do, more and more while there is
not, since the thread takes time from harts where those are as many as the host has CPUs."""
MAX_ENTRIES = 12
MAX_REFUSED = 4096
MAX_COMPILES = 6
"""How often one page is compiled in a while: one that goes on changing stays in the baseline tier."""
FORGET_AFTER_SAMPLES = 800
"""Then counts are halved: what is hot now comes before what was hot once."""


class Wanted(Enum):
    """Which region of a page will do."""

    KNOWN = "known"
    """One that was compiled before, by any VM: this is asked for early, for it costs next to nothing."""
    ANY = "any"
    """That, or one compiled now."""
    ALL_ENTRIES = "all entries"
    """One that is entered at all places that are asked for."""


Compile = Callable[[bytes, tuple[int, ...], Wanted], RegionCode | None]
"""(the page, entries, wanted) -> its region, or None if there is none. KNOWN ones are asked for on one
thread; others, which may take long, one at a time on another."""


@dataclass(frozen=True)
class _Request:
    """A region to be compiled, of the page at guest-physical `address`."""

    address: int
    source: bytes
    entries: tuple[int, ...]
    wanted: Wanted


@dataclass
class _Page:
    counts: Counter[int] = field(default_factory=Counter)
    fresh: int = 0
    """Samples since it was last compiled, of places that its region does not hold."""
    entries: tuple[int, ...] = ()
    holds: int = 0
    """Where instructions of its region begin: a bit for each 2 bytes."""
    compiles: int = 0
    looked_up: bool = False


class Optimizer:
    """The optimising tier of one engine.

    `give_up`, from another thread, makes it return soon, and at once from then on; `close` comes last.
    """

    def __init__(
        self,
        engine: JitEngine,
        compile_region: Compile,
        give_up: Callable[[], None],
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._compile = compile_region
        self._give_up = give_up
        self._close = close
        self._installer = RegionInstaller(engine)
        self.spans = self._installer.spans
        """Where the code of regions is."""
        self._samples = engine.start_sampling()
        self._seen = 0
        self._patience = POLL_SAMPLES_MIN
        self._total = 0
        self._pages: dict[int, _Page] = {}
        self._wake = threading.Event()
        self._stopping = False
        self._refused: set[int] = set()
        """Pages, by a hash of their content, that there is no region of: they are not asked for again."""
        self.installed = 0
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._compiled: queue.SimpleQueue[tuple[_Request, RegionCode | None]] = queue.SimpleQueue()
        self._is_compiling = False
        mains = {"optimizer": self._main, "compiler": self._compile_main}
        self._threads = [threading.Thread(target=mains[name], name=name, daemon=True) for name in mains]
        for thread in self._threads:
            thread.start()

    def poll(self) -> None:
        """A hart has run for a while. From any thread; does not wait."""
        if self._engine.shared[at.SAMPLE_NEXT] - self._seen >= self._patience:
            self._wake.set()

    def stop(self) -> None:
        """End the threads; a compilation under way is given up."""
        self._stopping = True
        self._wake.set()
        self._give_up()
        self._requests.put(None)
        for thread in self._threads:
            thread.join()
        self._close()

    def _main(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._stopping:
                break
            self._take_samples()
            found = self._look_up_warm_pages()
            found = self._take_compiled() or found
            found = self._compile_hottest_page() or found
            self._patience = POLL_SAMPLES_MIN if found else min(2 * self._patience, POLL_SAMPLES_MAX)

    def _compile_main(self) -> None:
        while (request := self._requests.get()) is not None:
            region = self._compile(request.source, request.entries, request.wanted)
            self._compiled.put((request, region))
            self._wake.set()

    def _take_samples(self) -> None:
        end = self._engine.shared[at.SAMPLE_NEXT]
        start = max(self._seen, end - at.SAMPLE_ENTRIES)
        self._seen = end
        found = [self._samples[number % at.SAMPLE_ENTRIES] for number in range(start, end)]
        # A sample is counted before it is written: what stands there then may be no address of RAM.
        ram = range(self._engine.ram.base, self._engine.ram.base + self._engine.ram.size_bytes)
        found = [address for address in found if address in ram]
        for address in {address & -PAGE_BYTES for address in found}:
            self._check_region(address, self._pages.setdefault(address, _Page()))
        for address in found:
            page = self._pages[address & -PAGE_BYTES]
            offset = address % PAGE_BYTES
            page.counts[offset] += 1
            page.fresh += not page.holds >> (offset >> 1) & 1
        self._total += end - start
        if self._total > FORGET_AFTER_SAMPLES:
            self._forget()

    def _check_region(self, address: int, page: _Page) -> None:
        """The page may have been written, or all code thrown away: its region is gone then."""
        if page.entries and not self._installer.has_region(address + page.entries[0]):
            page.entries, page.holds, page.looked_up = (), 0, False
            page.counts.clear()
            page.fresh = 0

    def _forget(self) -> None:
        self._total = 0
        for address, page in list(self._pages.items()):
            page.counts = Counter({o: n // 2 for o, n in page.counts.items() if n > 1})
            page.fresh //= 2
            page.compiles //= 2
            if not page.counts:
                del self._pages[address]

    def _take_compiled(self) -> bool:
        """Put in place what was compiled; whether anything was."""
        found = not self._compiled.empty()
        while not self._compiled.empty():
            request, region = self._compiled.get()
            self._is_compiling = False
            if region is not None:
                self._install(request, region)
            elif len(self._refused) < MAX_REFUSED:
                self._refused.add(hash(request.source))
        return found

    def _compile_hottest_page(self) -> bool:
        """One page at a time: when it is done, another may be hotter. Whether one is asked for."""
        hot = [(page.fresh, address) for address, page in self._pages.items() if self._is_hot(page)]
        while hot and not self._is_compiling and not self._stopping:
            hot.sort()
            _, address = hot.pop()
            page = self._pages[address]
            page.compiles += 1
            page.fresh = 0
            request = self._request(address, page, Wanted.ALL_ENTRIES if page.entries else Wanted.ANY)
            if request is not None:
                self._is_compiling = True
                self._requests.put(request)
                return True
        return False

    @staticmethod
    def _is_hot(page: _Page) -> bool:
        return page.compiles < MAX_COMPILES and page.fresh >= HOT_SAMPLES << page.compiles

    def _look_up_warm_pages(self) -> bool:
        """Ask for what is known of pages that have become warm; whether there were any."""
        found = False
        for address, page in list(self._pages.items()):
            if not page.looked_up and page.fresh >= WARM_SAMPLES and not self._stopping:
                page.looked_up = found = True
                request = self._request(address, page, Wanted.KNOWN)
                region = self._compile(request.source, request.entries, Wanted.KNOWN) if request else None
                if request is not None and region is not None:
                    self._install(request, region)
        return found

    def _request(self, address: int, page: _Page, wanted: Wanted) -> _Request | None:
        """What to ask for; None if there is nothing to gain."""
        entries = tuple(offset for offset, _ in page.counts.most_common(MAX_ENTRIES))
        if all(self._installer.has_region(address + offset) for offset in entries):
            page.entries = entries  # forgotten here, but still in place
            for offset in entries:
                page.holds |= 1 << (offset >> 1)
            return None
        source = self._engine.read_page(address)
        return None if hash(source) in self._refused else _Request(address, source, entries, wanted)

    def _install(self, request: _Request, region: RegionCode) -> None:
        address = request.address
        if not self._stopping and self._installer.install(address, request.source, region):
            page = self._pages.setdefault(address, _Page())
            page.entries, page.holds = tuple(offset for offset, _ in region.entries), region.holds
            page.fresh = 0
            self.installed += 1
