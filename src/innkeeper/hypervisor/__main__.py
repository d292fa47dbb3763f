# SPDX-License-Identifier: Apache-2.0
"""`python -m innkeeper.hypervisor`."""

from __future__ import annotations

import sys

from innkeeper.hypervisor.process import main

sys.exit(main(sys.argv[1:]))
