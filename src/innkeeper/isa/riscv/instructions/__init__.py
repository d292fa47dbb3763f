# SPDX-License-Identifier: Apache-2.0
"""The definitions, one module per extension; importing this package registers them all."""

from importlib import import_module
from pkgutil import iter_modules

for _module in sorted(m.name for m in iter_modules(__path__)):
    import_module(f"{__name__}.{_module}")
