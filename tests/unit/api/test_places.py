# SPDX-License-Identifier: Apache-2.0
"""Where the processes of one user meet."""

from __future__ import annotations

from pathlib import Path

import pytest

from innkeeper.api.places import SOCKET_PATH_LIMIT_BYTES, Places
from innkeeper.errors import ConfigError


@pytest.mark.parametrize(
    ("environment", "runtime", "state"),
    [
        (
            {"HOME": "/home/a", "XDG_RUNTIME_DIR": "/run/user/5"},
            "/run/user/5/innkeeper",
            "/home/a/.local/state/innkeeper",
        ),
        ({"HOME": "/home/a"}, "/tmp/innkeeper-5", "/home/a/.local/state/innkeeper"),
        ({"HOME": "/home/a", "XDG_STATE_HOME": "/s"}, "/tmp/innkeeper-5", "/s/innkeeper"),
        ({"HOME": "/home/a", "XDG_RUNTIME_DIR": "run"}, "/tmp/innkeeper-5", "/home/a/.local/state/innkeeper"),
        (
            {"INNKEEPER_RUNTIME": "/r", "INNKEEPER_STATE": "/t", "HOME": "/h", "XDG_RUNTIME_DIR": "/x"},
            "/r",
            "/t",
        ),
    ],
)
def test_folders(environment: dict[str, str], runtime: str, state: str) -> None:
    places = Places.of(environment, 5)
    assert (places.runtime, places.state) == (Path(runtime), Path(state))


def test_sockets_fit_or_are_refused() -> None:
    room = SOCKET_PATH_LIMIT_BYTES - len("/vm/0123456789ab.sock")
    places = Places.of({"INNKEEPER_RUNTIME": "/" + "r" * (room - 1), "HOME": "/h"}, 5)
    assert len(str(places.control_socket("0123456789ab"))) == SOCKET_PATH_LIMIT_BYTES
    with pytest.raises(ConfigError, match="INNKEEPER_RUNTIME"):
        Places.of({"INNKEEPER_RUNTIME": "/" + "r" * room, "HOME": "/h"}, 5)
