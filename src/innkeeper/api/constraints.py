# SPDX-License-Identifier: Apache-2.0
"""What the fields of the API may hold.

The server checks these through pydantic; nothing here imports it, so that clients start without.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le, MaxLen, MinLen


class Pattern:
    """A regular expression that a text has to match; the pattern has its own anchors."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        schema = handler(source)
        schema["pattern"] = self.pattern
        return schema


class Wire:
    """Base of what requests hold: unknown fields are refused, docstrings of fields describe them."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}


NAME_PATTERN = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
ID_PATTERN = "^[0-9a-f]{12}$"
MEMORY_MIN_BYTES = 64 << 20
MEMORY_MAX_BYTES = 1 << 46
CPUS_MAX = 8
FORKS_MAX = 256

Name = Annotated[str, Pattern(NAME_PATTERN), MinLen(1), MaxLen(63)]
"""A host name of RFC 1123 in lower case."""
Identifier = Annotated[str, Pattern(ID_PATTERN)]
Reference = Annotated[str, MinLen(1), MaxLen(63)]
"""A name or an id."""
ImageName = Annotated[str, Pattern("^[a-z0-9][a-z0-9._-]*$"), MaxLen(63)]
AbsolutePath = Annotated[str, Pattern("^/[^\\x00]*$"), MaxLen(4096)]
Text = Annotated[str, Pattern("^[^\\x00]*$"), MaxLen(4096)]
NetworkText = Annotated[str, Pattern("^[a-z0-9][A-Za-z0-9:._-]*$"), MaxLen(63)]
"""`user`, `none`, a private network, `tap:INTERFACE` or `bridge:BRIDGE`."""
PortText = Annotated[str, Pattern("^[0-9A-Fa-f:./\\[\\]tcpudTCPUD]+$"), MaxLen(64)]
"""`[HOST_ADDR:]HOST_PORT:GUEST_PORT[/udp]`."""
RuleText = Annotated[str, Pattern("^[A-Za-z0-9_.:*/,\\[\\]-]+$"), MaxLen(320)]
"""`[tcp:|udp:|icmp:]HOST[:PORT[-PORT],...]`."""
LabelName = Annotated[str, Pattern("^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$"), MaxLen(63)]
LabelValue = Annotated[str, Pattern("^[^\\x00-\\x1f]*$"), MaxLen(255)]
Cpus = Annotated[int, Ge(1), Le(CPUS_MAX)]
MemoryBytes = Annotated[int, Ge(MEMORY_MIN_BYTES), Le(MEMORY_MAX_BYTES)]
Seconds = Annotated[float, Ge(0), Le(1e6)]


def is_name(text: str) -> bool:
    """Whether `text` can be the name of a VM. An id cannot: names and ids are looked up together."""
    return bool(re.fullmatch(NAME_PATTERN, text)) and not re.fullmatch(ID_PATTERN, text)
