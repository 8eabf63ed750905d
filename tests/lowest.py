"""Fails unless what is installed are the lower bounds of pyproject.toml: ``python tests/lowest.py [EXTRA ...]``.

Without extras, those of the base and of the tests. With extras, theirs: what they need may raise the others.

A resolver that takes newer versions would make ``make test-lowest`` test nothing of its own.
"""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

SETTINGS = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))


def differences(extras: list[str]) -> list[str]:
    """What is installed and what was wanted, for each requirement that is not at its lower bound."""
    wanted = [line for extra in extras for line in SETTINGS["project"]["optional-dependencies"][extra]]
    found = []
    for requirement in map(
        Requirement, wanted or SETTINGS["project"]["dependencies"] + SETTINGS["dependency-groups"]["test"]
    ):
        bounds = [Version(bound.version) for bound in requirement.specifier if bound.operator in {">=", "=="}]
        installed = Version(version(requirement.name))
        if bounds != [installed]:
            found.append(f"{requirement.name}: {installed} is installed, {requirement} was wanted at its lower bound")
    return found


def main() -> int:
    found = differences(sys.argv[1:])
    print(*found, sep="\n", end="\n" if found else "", file=sys.stderr)  # noqa: T201  (a script)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
