# SPDX-License-Identifier: Apache-2.0
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.errors import ConfigError
from innkeeper.images import command_archive
from innkeeper.images.cpio import read_entries

ARGUMENT = st.binary(max_size=20).map(lambda data: data.replace(b"\0", b""))


def _script(argv: list[bytes | str], env: dict[str, str], cwd: str | None) -> bytes:
    [script] = [entry.data for entry in read_entries(command_archive(argv, env, cwd)) if entry.data]
    return script


def _run(script: bytes, folder: Path) -> bytes:
    (folder / "command").write_bytes(script)
    return subprocess.run(["/bin/sh", str(folder / "command")], capture_output=True, check=True).stdout


@settings(max_examples=60, deadline=None)
@given(st.lists(ARGUMENT, max_size=4))
def test_a_shell_sees_the_exact_arguments(
    tmp_path_factory: pytest.TempPathFactory, words: list[bytes]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    script = _script([b"/usr/bin/printf", b"%s\\0", b"first", *words], {}, None)
    assert _run(script, folder).split(b"\0")[:-1] == [b"first", *words]


def test_every_byte_survives(tmp_path: Path) -> None:
    every = bytes(range(1, 256))
    assert _run(_script([b"/usr/bin/printf", b"%s", every], {}, None), tmp_path) == every


def test_environment_and_folder(tmp_path: Path) -> None:
    script = _script(["/bin/sh", "-c", 'echo "$A|$PWD"'], {"A": "it's $HOME"}, "/usr")
    assert _run(script, tmp_path) == b"it's $HOME|/usr\n"


def test_undecodable_arguments_come_back_as_bytes(tmp_path: Path) -> None:
    assert _run(_script(["/usr/bin/printf", "%s", "\udcff"], {}, None), tmp_path) == b"\xff"


@pytest.mark.parametrize(
    ("argv", "env"),
    [([], {}), ([""], {}), (["a\0b"], {}), (["a"], {"a b": "1"}), (["a"], {"": "1"}), (["a"], {"A": "\0"})],
)
def test_what_cannot_be_run_is_refused(argv: list[str], env: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        command_archive(argv, env, None)
