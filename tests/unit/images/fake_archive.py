# SPDX-License-Identifier: Apache-2.0
"""A tiny Debian archive on loopback, signed with a key made for the test."""

import hashlib
import http.server
import io
import lzma
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pysequoia import Cert, SignatureMode, Tsk, sign


def tar_of(files: dict[str, bytes]) -> bytes:
    """A tar archive: path to contents; a path that ends in / is a folder, contents of `-> x` a link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, data in files.items():
            member = tarfile.TarInfo("./" + path.rstrip("/"))
            member.mode = 0o755
            if path.endswith("/"):
                member.type = tarfile.DIRTYPE
            elif data.startswith(b"-> "):
                member.type, member.linkname, data = tarfile.SYMTYPE, data[3:].decode(), b""
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def ar_of(members: dict[str, bytes]) -> bytes:
    """An ar archive."""
    parts = [b"!<arch>\n"]
    for name, data in members.items():
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data)
        parts.append(b"\n" * (len(data) % 2))
    return b"".join(parts)


def deb_of(control: str, files: dict[str, bytes], scripts: dict[str, bytes] | None = None) -> bytes:
    """A binary package."""
    control_files = {"control": control.encode() + b"\n", **(scripts or {})}
    return ar_of(
        {
            "debian-binary": b"2.0\n",
            "control.tar.xz": lzma.compress(tar_of(control_files)),
            "data.tar.xz": lzma.compress(tar_of(files)),
        }
    )


@dataclass
class FakeArchive:
    """What the server serves: `files` maps paths to contents and may be changed at any time."""

    key: Tsk = field(default_factory=lambda: Tsk.generate(user_id="Test <test@example.org>"))
    files: dict[str, bytes] = field(default_factory=dict)
    indices: dict[str, list[str]] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    cut_short: dict[str, int] = field(default_factory=dict)
    """Path to how many bytes of the body are sent before the connection is dropped, once."""
    refuse: int = 0
    """The status with which everything is answered, if not 0."""
    address: str = ""

    @property
    def keyring(self) -> list[Cert]:
        return [self.key.extract_certificate()]

    def add(self, control: str, files: dict[str, bytes], component: str = "main") -> bytes:
        """Add a package; returns its file."""
        fields = dict(line.split(": ", 1) for line in control.splitlines())
        data = deb_of(control, files)
        path = f"pool/{fields['Package']}_{fields['Version'].replace(':', '%3a')}.deb"
        self.files[path] = data
        digest = hashlib.sha256(data).hexdigest()
        entry = f"{control}\nFilename: {path}\nSize: {len(data)}\nSHA256: {digest}\n"
        self.indices.setdefault(component, []).append(entry)
        return data

    def publish(self, suite: str = "trixie", codename: str = "trixie", signer: Tsk | None = None) -> None:
        """Write the indices and the signed release of `suite`."""
        lines = []
        for component, entries in {"main": [], **self.indices}.items():
            data = lzma.compress("\n".join(entries).encode())
            path = f"{component}/binary-riscv64/Packages.xz"
            self.files[f"dists/{suite}/{path}"] = data
            lines.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} {path}")
        text = f"Codename: {codename}\nVersion: 13.0\nDate: today\nSHA256:\n" + "\n".join(lines) + "\n"
        self.files[f"dists/{suite}/InRelease"] = sign(
            (signer or self.key).signer(), text.encode(), mode=SignatureMode.CLEAR
        )


@contextmanager
def serving(archive: FakeArchive) -> Iterator[FakeArchive]:
    """Serve `archive` on loopback, with ranges, until the block is left."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.lstrip("/")
            wanted = self.headers.get("Range")
            archive.requests.append((path, wanted))
            data = archive.files.get(path)
            if archive.refuse or data is None:
                self.send_error(archive.refuse or 404)
                return
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            end = archive.cut_short.pop(path, len(data))
            self.wfile.write(data[start:end])
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    archive.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield archive
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
