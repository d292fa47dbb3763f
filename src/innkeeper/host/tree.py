# SPDX-License-Identifier: Apache-2.0
"""Folders with all that is in them."""

from __future__ import annotations

from pathlib import Path


def remove_tree(folder: Path, *, ignore_errors: bool = True) -> None:
    """Remove a folder and what is in it, as far as that can be; raises OSError unless `ignore_errors`."""
    from shutil import rmtree  # takes long to load, and most starts of a VM remove nothing

    rmtree(folder, ignore_errors=ignore_errors)
