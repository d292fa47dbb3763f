# SPDX-License-Identifier: Apache-2.0
"""The control-file format of Debian: paragraphs of `Field: value` lines.

Source: Debian Policy 5.1 "Syntax of control files".
"""

from collections.abc import Iterator


def parse_paragraph(text: str) -> dict[str, str]:
    """Return the fields of one paragraph, names in lower case, continuation lines joined by newlines.

    Comment lines are skipped; a line that is neither a field nor a continuation is ignored, because the
    text comes from the network and an unknown line never carries what the caller needs.
    """
    fields: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in (" ", "\t"):
            if name:
                fields[name] += "\n" + line.strip()
            continue
        key, colon, value = line.partition(":")
        if colon and key:
            name = key.strip().lower()
            fields[name] = value.strip()
        else:
            name = ""
    return fields


def paragraphs(text: str) -> Iterator[dict[str, str]]:
    """Yield the paragraphs of a whole file; blank lines separate them."""
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.strip():
            block.append(line)
        elif block:
            fields = parse_paragraph("\n".join(block))
            block = []
            if fields:
                yield fields
