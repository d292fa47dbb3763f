# SPDX-License-Identifier: Apache-2.0
"""What tests of guests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import innkeeper
from innkeeper import images
from innkeeper.api.places import Places
from innkeeper.vmm import GuestJobRunner
from tests.unit.hypervisor.conftest import temporary_places


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    """Folders of a hypervisor that `innkeeper.connect` and `inn` find."""
    with temporary_places() as places, pytest.MonkeyPatch.context() as patch:
        patch.setenv("INNKEEPER_RUNTIME", str(places.runtime))
        patch.setenv("INNKEEPER_STATE", str(places.state))
        yield places
        innkeeper.connect().stop_hypervisor()


@pytest.fixture(scope="session", autouse=True)
def small() -> images.BootFiles:
    """The default image, which every guest boots through: without it each test fails here, at once."""
    return images.ensure("small", images.SILENT, GuestJobRunner())


@pytest.fixture(scope="session")
def debian(small: images.BootFiles) -> images.BootFiles:
    """The `debian` image; building it takes a minute."""
    return images.ensure("debian", images.SILENT, GuestJobRunner())
