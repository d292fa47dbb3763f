# SPDX-License-Identifier: Apache-2.0
"""Errors as problem details, and back.

Spec: RFC 9457 "Problem Details for HTTP APIs"
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from innkeeper.api.models import Problem
from innkeeper.errors import ConfigError, GuestError, HostError, InnkeeperError

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "https://innkeeper.invalid/problems/"
"""Problem types are names, not pages. Spec: RFC 2606 2 "TLDs for Testing, & Documentation Examples"."""


class NotFoundError(ConfigError):
    """There is no such thing."""


class ConflictError(ConfigError):
    """It cannot be done in the state that something is in."""


class DeniedError(ConfigError):
    """Whoever asks may not."""


_KINDS: tuple[tuple[type[InnkeeperError], str, int, str], ...] = (
    (NotFoundError, "not-found", 404, "There is no such thing"),
    (ConflictError, "conflict", 409, "Not possible in the state it is in"),
    (DeniedError, "denied", 401, "Not allowed"),
    (ConfigError, "wrong-request", 422, "What was asked for cannot be done"),
    (GuestError, "guest", 502, "The guest failed"),
    (HostError, "host", 503, "The host cannot do it"),
)


def problem_of(error: InnkeeperError) -> Problem:
    """What a client is told of `error`."""
    for cls, kind, status, title in _KINDS:
        if isinstance(error, cls):
            return Problem(
                type=TYPE_PREFIX + kind, title=title, status=status, detail=error.message, remedy=error.remedy
            )
    return Problem(type="about:blank", title="Defect of Innkeeper", status=500, detail=error.message)


def error_of(problem: Problem) -> InnkeeperError:
    """The error that `problem` was made from; a HostError for a type that is not known."""
    for cls, kind, _, _ in _KINDS:
        if problem.type == TYPE_PREFIX + kind:
            return cls(problem.detail or problem.title, problem.remedy)
    return HostError(problem.detail or problem.title, problem.remedy)


def problem_json(problem: Problem) -> dict[str, Any]:
    """`problem` as the body of an answer."""
    return asdict(problem)
