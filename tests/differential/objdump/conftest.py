# SPDX-License-Identifier: Apache-2.0
from tests.oracle.fixtures import *  # noqa: F403
