# SPDX-License-Identifier: Apache-2.0
"""The errors that Innkeeper raises on purpose.

Each carries one sentence for the user and, where there is one, the remedy. The command prints them as one
line and exits with 2; anything else that escapes is a defect of ours.
"""


class InnkeeperError(Exception):
    """Something went wrong that the user can understand.

    `message` says what, `remedy` says what to do about it (empty if nothing can be done).
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message


class ConfigError(InnkeeperError):
    """What the user asked for cannot be done: a wrong argument, a missing or damaged file of theirs."""


class HostError(InnkeeperError):
    """The host cannot do what is needed: disk full, mirror unreachable, memory refused."""


class GuestError(InnkeeperError):
    """The guest did something that ends it or that a device refuses; the host is unharmed."""
