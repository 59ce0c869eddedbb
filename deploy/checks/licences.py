"""Whether every dependency, Python's and the portal's, has a licence that permits our use of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PERMITTED = {
    *("MIT", "MIT-0", "MIT-CMU", "MIT License", "0BSD", "BSD", "BSD License", "BSD-2-Clause", "BSD-3-Clause"),
    *(
        "3-Clause BSD License",
        "Apache",
        "Apache-2.0",
        "Apache 2.0",
        "Apache License 2.0",
        "Apache License, Version 2.0",
    ),
    *("Apache Software License", "ISC", "ISC License (ISCL)", "BlueOak-1.0.0", "CC0-1.0", "CC-BY-4.0", "Zlib", "zlib"),
    *("PSF-2.0", "Python-2.0", "Python Software Foundation License", "Unlicense", "The Unlicense (Unlicense)"),
    *("MPL-2.0", "Mozilla Public License 2.0 (MPL 2.0)", "EPL-2.0", "WTFPL", "DFSG approved"),
    # Used as unmodified libraries, installed apart and replaceable: asyncua, psycopg.
    *("LGPL-3.0", "LGPL-3.0-only", "LGPL-3.0-or-later", "LGPLv3"),
    "GNU Lesser General Public License v3 (LGPLv3)",
    "GNU Lesser General Public License v3 or later (LGPLv3+)",
}


def permitted(expression: str) -> bool:
    """Whether an SPDX-like expression can be met with permitted licences only."""
    expression = expression.strip()
    if expression in PERMITTED:
        return True
    if expression.startswith("(") and expression.endswith(")") and expression.count("(") == 1:
        return permitted(expression[1:-1])
    # A licence "A OR B" is ours to choose from; "A AND B", "A; B" binds us to both.
    for joiner, judge in ((r"\s+OR\s+|\s*/\s*", any), (r"\s+AND\s+|;\s*|,\s*", all)):
        parts = re.split(joiner, expression)
        if len(parts) > 1:
            return judge(permitted(part) for part in parts)
    return False


def python_licences() -> list[tuple[str, str]]:
    output = subprocess.run(
        [sys.executable, "-m", "piplicenses", "--format=json", "--from=mixed", "--with-system"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [(row["Name"], row["License"]) for row in json.loads(output) if row["Name"] != "plantpulse"]


def npm_licences() -> list[tuple[str, str]]:
    found = []
    for folder in ("api/web", "simulators/nodesets"):
        packages = json.loads((ROOT / folder / "package-lock.json").read_text())["packages"]
        found += [
            (path.rpartition("node_modules/")[2], about.get("license", "none stated"))
            for path, about in packages.items()
            if path
        ]
    return found


def main() -> int:
    every = python_licences() + npm_licences()
    faults = [f"{name}: {licence}" for name, licence in every if not permitted(licence)]
    print("\n".join(faults) or f"licences: all {len(every)} dependencies permit our use")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
