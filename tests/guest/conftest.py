# SPDX-License-Identifier: Apache-2.0
"""What tests of guests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import innkeeper
from innkeeper.api.places import Places
from tests.unit.hypervisor.conftest import temporary_places


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    """Folders of a hypervisor that `innkeeper.connect` and `inn` find."""
    with temporary_places() as places, pytest.MonkeyPatch.context() as patch:
        patch.setenv("INNKEEPER_RUNTIME", str(places.runtime))
        patch.setenv("INNKEEPER_STATE", str(places.state))
        yield places
        innkeeper.connect().stop_hypervisor()
