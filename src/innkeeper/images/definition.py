# SPDX-License-Identifier: Apache-2.0
"""The catalog: what each image is made of, one TOML file each."""

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Literal, cast

from innkeeper.errors import ConfigError

ImageKind = Literal["initramfs", "disk"]


@dataclass(frozen=True)
class KernelSource:
    """Packages with a kernel: one whose name matches `pattern` (group `release`), and companions."""

    component: str
    pattern: str
    companions: tuple[str, ...]


@dataclass(frozen=True)
class ArchiveChoice:
    """Which Debian: `suites` are names of one release, tried in turn; `codename` is its own name."""

    codename: str
    suites: tuple[str, ...]
    architecture: str


@dataclass(frozen=True)
class DiskContents:
    """Root disk of an image of kind `disk`. Sizes in bytes."""

    packages: tuple[str, ...]
    excluded: tuple[str, ...]
    left_out: tuple[str, ...]
    disk_bytes: int
    build_memory_bytes: int


@dataclass(frozen=True)
class ImageDefinition:
    """One image of the catalog.

    `initramfs` images boot into memory; `disk` images boot through the initramfs of `base` to their disk.
    """

    name: str
    summary: str
    kind: ImageKind
    append: str
    archive: ArchiveChoice
    base: str | None
    kernel_sources: tuple[KernelSource, ...]
    modules: tuple[str, ...]
    early_modules: tuple[str, ...]
    disk: DiskContents | None
    memory_min_bytes: int = 0
    """With less its kernel panics before it can say so on hvc0."""


def _disk(table: dict[str, Any]) -> DiskContents:
    return DiskContents(
        packages=tuple(table["packages"]),
        excluded=tuple(table.get("excluded", ())),
        left_out=tuple(table.get("left_out", ())),
        disk_bytes=table["size_mib"] << 20,
        build_memory_bytes=table["build_memory_mib"] << 20,
    )


def _catalog_file(name: str) -> Traversable:
    return files("innkeeper.images") / "catalog" / f"{name}.toml"


def _on_top_of(extended: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    """`table` with what it leaves out from `extended`; its packages are added to the other's."""
    disk = table.get("disk", {})
    packages = [*extended["disk"]["packages"], *disk.get("packages", ())]
    return extended | table | {"disk": extended["disk"] | disk | {"packages": packages}}


def parse_definition(text: str, source: str) -> ImageDefinition:
    """Parse one file of the catalog; `extends` names another whose disk gets more packages.

    Raises ConfigError, naming `source`, if a field is missing or wrong.
    """
    try:
        table = tomllib.loads(text)
        if "extends" in table:
            extended = _catalog_file(table["extends"])
            if not extended.is_file():
                raise ValueError(f"it extends {table['extends']}, which is not there")
            table = _on_top_of(tomllib.loads(extended.read_text("utf-8")), table)
        kind = table["kind"]
        if kind not in ("initramfs", "disk") or (kind == "disk") != ("disk" in table):
            raise ValueError("kind must be initramfs, or disk with a [disk] table")
        archive = table["archive"]
        kernel = table.get("kernel", {})
        return ImageDefinition(
            name=table["name"],
            summary=table["summary"],
            kind=cast(ImageKind, kind),
            append=" ".join(table["append"].split()),
            archive=ArchiveChoice(archive["codename"], tuple(archive["suites"]), archive["architecture"]),
            base=table.get("base"),
            kernel_sources=tuple(
                KernelSource(item["component"], item["pattern"], tuple(item.get("companions", ())))
                for item in kernel.get("source", ())
            ),
            modules=tuple(kernel.get("modules", ())),
            early_modules=tuple(kernel.get("early_modules", ())),
            disk=_disk(table["disk"]) if "disk" in table else None,
            memory_min_bytes=table.get("memory_min_mib", 0) << 20,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"the image definition {source} is wrong: {error!r}", "correct the file") from error


def catalog() -> list[ImageDefinition]:
    """Every image that can be booted by name, the default (`small`) first, then by name."""
    folder = files("innkeeper.images") / "catalog"
    definitions = [
        parse_definition(item.read_text("utf-8"), item.name)
        for item in folder.iterdir()
        if item.name.endswith(".toml")
    ]
    return sorted(definitions, key=lambda definition: (definition.name != "small", definition.name))


def definition(name: str) -> ImageDefinition:
    """The image called `name`. Raises ConfigError, listing what there is, if there is none."""
    found = {item.name: item for item in catalog()}
    if name not in found:
        raise ConfigError(f"there is no image called '{name}'", f"choose one of: {', '.join(found)}")
    return found[name]
