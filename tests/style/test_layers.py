# SPDX-License-Identifier: Apache-2.0
"""The import contracts of pyproject.toml hold, and name every package there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_import_contracts_hold(tmp_path: Path) -> None:
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("where", "source", "contract"),
    [
        ("machine/wrong.py", "import innkeeper.vmm", "Layers"),
        ("codegen/wrong.py", "import innkeeper.runtime", "Layers"),
        ("brandnew/__init__.py", "", "Layers"),
        ("machine/wrong.py", "import llvmlite.binding", "llvmlite"),
        ("devices/wrong.py", "from ctypes import c_int", "ctypes"),
        ("vmm/wrong.py", "def f():\n    import fcntl\n", "ctypes"),
        ("hypervisor/wrong.py", "import innkeeper.machine", "Two stacks"),
        ("client/wrong.py", "import fastapi", "fastapi"),
        ("errors.py", "import innkeeper.spec", "errors"),
    ],
)
def test_contracts_catch(tmp_path: Path, where: str, source: str, contract: str) -> None:
    """Contracts that hold for everything would hold nothing: break each in a tree of empty packages."""
    package = tmp_path / "innkeeper"
    for folder in sorted({path.parent for path in (ROOT / "src/innkeeper").rglob("__init__.py")}):
        there = package / folder.relative_to(ROOT / "src/innkeeper")
        there.mkdir(parents=True, exist_ok=True)
        (there / "__init__.py").touch()
    (package / "errors.py").touch()
    (package / where).parent.mkdir(exist_ok=True)
    (package / where).write_text(source)
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r});"
        "from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    broken = [line for line in done.stdout.splitlines() if line.endswith(" BROKEN")]
    assert done.returncode == 1, done.stdout + done.stderr
    assert len(broken) == 1 and contract in broken[0], done.stdout
