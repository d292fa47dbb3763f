# SPDX-License-Identifier: Apache-2.0
"""Answers of the API become dataclasses, or a clear error."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from innkeeper.api.decode import decode
from innkeeper.api.models import Disk, Operation, Problem, VmCreate
from innkeeper.api.problems import ConflictError, NotFoundError, error_of, problem_of
from innkeeper.errors import ConfigError, GuestError, HostError, InnkeeperError

OPERATION = {
    "id": "x", "kind": "start", "target": "vm", "state": "failed", "what": "", "done": 0, "total": 0,
    "vms": ["a"], "snapshot": None, "created_ns": 5, "ended_ns": 6,
    "problem": {"type": "about:blank", "title": "t", "status": 500},
}  # fmt: skip


def test_nested_values() -> None:
    operation = decode(Operation, OPERATION | {"from_a_newer_version": 1})
    assert operation.problem == Problem(type="about:blank", title="t", status=500)
    create = decode(VmCreate, {"disks": [{"path": "/d"}], "labels": {"a": "b"}})
    assert create.disks == [Disk(path="/d")] and create.labels == {"a": "b"}
    assert decode(VmCreate, asdict(create)) == create


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"vms": "a"}, "vms"),
        ({"vms": [1]}, "vms"),
        ({"done": True}, "done"),
        ({"created_ns": None}, "created_ns"),
        ({"problem": {"type": "x"}}, "problem.title"),
    ],
)
def test_damaged_answers_name_the_field(change: dict[str, object], where: str) -> None:
    with pytest.raises(HostError, match=where):
        decode(Operation, OPERATION | change)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(HostError, match="kind"):
        decode(Operation, {key: value for key, value in OPERATION.items() if key != "kind"})


@pytest.mark.parametrize("cls", [ConfigError, HostError, GuestError, NotFoundError, ConflictError])
def test_errors_survive_the_wire(cls: type[InnkeeperError]) -> None:
    error = error_of(problem_of(cls("what", "remedy")))
    assert type(error) is cls and (error.message, error.remedy) == ("what", "remedy")
    assert 400 <= problem_of(error).status < 600
