# SPDX-License-Identifier: Apache-2.0
"""From the packages that an image names to all that have to be installed.

Greedy, as debootstrap's and apt's default is: the first alternative that can be had is taken, unless one of
the alternatives is chosen already. Conflicts are left to the catalog: it names a set that goes together.
"""

from collections.abc import Iterable

from innkeeper.errors import ConfigError
from innkeeper.images.packages import Package, PackageIndex
from innkeeper.images.relation import Relation
from innkeeper.images.version import satisfies

_PRIORITY_ORDER = {"required": 0, "important": 1, "standard": 2, "optional": 3}


def _fits(package: Package, relation: Relation) -> bool:
    """Whether `package`, by its name or by what it provides, satisfies `relation`.

    A versioned relation is met only by a versioned Provides (Debian Policy 7.5).
    """
    if package.name == relation.name:
        return not relation.operator or satisfies(package.version, relation.operator, relation.version)
    for provided in package.provides:
        if provided.name != relation.name:
            continue
        if not relation.operator:
            return True
        if provided.operator == "=" and satisfies(provided.version, relation.operator, relation.version):
            return True
    return False


def _candidates(index: PackageIndex, relation: Relation) -> list[Package]:
    """What can satisfy `relation`, best first: the package itself, else providers by priority."""
    real = [package for package in index.versions(relation.name) if _fits(package, relation)]
    if real:
        return real
    providers = [package for package in index.providers(relation.name) if _fits(package, relation)]
    return sorted(providers, key=lambda package: (_PRIORITY_ORDER.get(package.priority, 4), package.name))


class _Resolution:
    def __init__(self, index: PackageIndex, excluded: frozenset[str]) -> None:
        self.index = index
        self.excluded = excluded
        self.chosen: dict[str, Package] = {}
        self._provided: dict[str, list[Package]] = {}

    def _is_met(self, relation: Relation) -> bool:
        named = self.chosen.get(relation.name)
        if named is not None and _fits(named, relation):
            return True
        return any(_fits(package, relation) for package in self._provided.get(relation.name, ()))

    def _choose(self, package: Package) -> None:
        self.chosen[package.name] = package
        for provided in package.provides:
            self._provided.setdefault(provided.name, []).append(package)

    def add(self, wanted: Package) -> None:
        """Choose `wanted` and what it depends on, dependencies first asked in the order they are written."""
        pending = [wanted]
        while pending:
            package = pending.pop()
            if package.name in self.chosen:
                continue
            self._choose(package)
            needed = [self._pick(package, group) for group in package.depends]
            pending.extend(reversed([found for found in needed if found is not None]))

    def _pick(self, package: Package, group: tuple[Relation, ...]) -> Package | None:
        """The package that meets `group`, None if it is met already or excluded on purpose."""
        if any(self._is_met(relation) or relation.name in self.excluded for relation in group):
            return None
        for relation in group:
            for candidate in _candidates(self.index, relation):
                if candidate.name not in self.chosen and candidate.name not in self.excluded:
                    return candidate
        wanted = " | ".join(map(str, group))
        raise ConfigError(
            f"package {package.name} {package.version} needs {wanted}, which the archive does not have",
            "set INNKEEPER_MIRROR to a complete mirror, or try again later if the mirror is being updated",
        )


def find(index: PackageIndex, name: str) -> Package:
    """Return the newest package `name`. Raises ConfigError if the archive has none."""
    package = index.newest(name)
    if package is None:
        raise ConfigError(
            f"the archive has no package {name}",
            "set INNKEEPER_MIRROR to a complete mirror of Debian that carries riscv64",
        )
    return package


def resolve(index: PackageIndex, names: Iterable[str], excluded: Iterable[str] = ()) -> list[Package]:
    """Return `names` and all that they depend on, each once; Recommends are not followed.

    `excluded` names packages that must not be installed although something depends on them. Raises
    ConfigError if a package or what it needs is not in the archive.
    """
    resolution = _Resolution(index, frozenset(excluded))
    for package in [find(index, name) for name in names]:
        resolution.add(package)
    return list(resolution.chosen.values())
