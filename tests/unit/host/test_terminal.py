# SPDX-License-Identifier: Apache-2.0
"""Raw mode is undone however its body ends."""

from __future__ import annotations

import os
import pty
import signal
import termios
from collections.abc import Iterator

import pytest

from innkeeper.host.terminal import DEFAULT_SIZE, is_terminal, on_resize, raw_mode, terminal_size


@pytest.fixture
def terminal() -> Iterator[int]:
    main, sub = pty.openpty()
    yield sub
    os.close(main)
    os.close(sub)


def is_raw(fd: int) -> bool:
    return not termios.tcgetattr(fd)[3] & termios.ICANON


def test_raw_mode_comes_and_goes(terminal: int) -> None:
    with raw_mode(terminal):
        assert is_raw(terminal)
    assert not is_raw(terminal)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_raw_mode_ends_with_an_error(terminal: int, error: type[BaseException]) -> None:
    with pytest.raises(error), raw_mode(terminal):
        raise error
    assert not is_raw(terminal)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_raw_mode_ends_with_a_signal(terminal: int, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as left, raw_mode(terminal):
        os.kill(os.getpid(), number)
        signal.pause()
    assert left.value.code == 128 + number
    assert not is_raw(terminal)
    assert signal.getsignal(number) == before


def test_what_is_no_terminal_is_left_alone() -> None:
    reader, writer = os.pipe()
    with raw_mode(reader):
        pass
    assert not is_terminal(reader)
    assert terminal_size(reader) == DEFAULT_SIZE
    os.close(reader)
    os.close(writer)
    assert not is_terminal(reader)
    assert terminal_size(reader) == DEFAULT_SIZE
    with raw_mode(reader):
        pass


def test_size_and_its_changes(terminal: int) -> None:
    termios.tcsetwinsize(terminal, (33, 99))
    assert terminal_size(terminal) == (99, 33)
    sizes: list[tuple[int, int]] = []
    with on_resize(lambda: sizes.append(terminal_size(terminal))):
        os.kill(os.getpid(), signal.SIGWINCH)
    os.kill(os.getpid(), signal.SIGWINCH)
    assert sizes == [(99, 33)]
