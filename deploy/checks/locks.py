"""Whether every requirement of pyproject.toml is met by its lock file, with hashes and no address.

Works without a network: it reads, it does not resolve.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCKS = {
    "gateway": ("gateway",),
    "gateway-outputs": ("gateway", "gateway-outputs"),
    "county": ("county",),
    "sim": ("sim",),
    "all": ("gateway", "gateway-outputs", "county", "sim", "build"),
    "dev": ("gateway", "gateway-outputs", "county", "sim", "build", "dev"),
}
PIN = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*])?==([^ ;\\]+)")


def pins(text: str) -> dict[str, list[tuple[Version, int]]]:
    """Pinned versions by canonical name, each with the number of its hashes."""
    found: dict[str, list[tuple[Version, int]]] = {}
    for block in re.split(r"\n(?=[A-Za-z0-9])", text):
        if match := PIN.match(block):
            name, version = canonicalize_name(match[1]), Version(match[2])
            found.setdefault(name, []).append((version, block.count("--hash=sha256:")))
    return found


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    faults: list[str] = []
    of_dev: dict[str, list[tuple[Version, int]]] = {}
    for lock in ("dev", "all", "gateway", "gateway-outputs", "county", "sim"):
        path = ROOT / "deploy" / "locks" / f"{lock}.txt"
        text = path.read_text()
        if re.search(r"https?://", text):
            faults.append(f"{path.name}: names an address; run make locks")
        pinned = pins(text)
        of_dev = of_dev or pinned
        wanted = list(project["dependencies"])
        for extra in LOCKS[lock]:
            wanted += project["optional-dependencies"][extra]
        for line in wanted:
            requirement = Requirement(line)
            versions = pinned.get(canonicalize_name(requirement.name), [])
            if not any(requirement.specifier.contains(version) for version, _ in versions):
                faults.append(f"{path.name}: {line} is not met ({versions or 'absent'}); run make locks")
        for name, versions in pinned.items():
            for version, hashes in versions:
                if not hashes:
                    faults.append(f"{path.name}: {name}=={version} has no hash; run make locks")
                if not any(version == other for other, _ in of_dev.get(name, [])):
                    faults.append(f"{path.name}: {name}=={version} differs from dev.txt; run make locks")
    for folder in ("api/web", "simulators/nodesets"):
        lock_file = ROOT / folder / "package-lock.json"
        if re.search(r'"resolved":\s*"https?://', lock_file.read_text()):
            faults.append(f"{folder}/package-lock.json: names an address; set omit-lockfile-registry-resolved=true")
    print("\n".join(faults) or "locks: every requirement is met, with hashes")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
