"""The generated parts of the documents, and whether their links lead somewhere.

A generated part stands between `<!-- generated: NAME -->` and `<!-- end of NAME -->`.

    python -m tests.documents --check | --write
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.documents.parts import PARTS

ROOT = Path(__file__).parents[2]
PART = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end of \2 -->)", re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


def documents() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def filled(text: str) -> str:
    """The text with every generated part made anew. Raises KeyError for a part nobody makes."""
    return PART.sub(lambda m: f"{m[1]}{PARTS[m[2]]().strip()}\n{m[3]}", text)


def dead_links(path: Path, text: str) -> list[str]:
    targets = (target for target in LINK.findall(text) if "://" not in target and not target.startswith("mailto:"))
    return [
        f"{path.relative_to(ROOT)}: no such file: {target}" for target in targets if not (path.parent / target).exists()
    ]


def main() -> int:
    write = sys.argv[1:] == ["--write"]
    if not write and sys.argv[1:] != ["--check"]:
        print(__doc__, file=sys.stderr)
        return 2
    faults: list[str] = []
    seen: set[str] = set()
    for path in documents():
        text = path.read_text(encoding="utf-8")
        seen |= {match[2] for match in PART.finditer(text)}
        fresh = filled(text)
        if fresh != text:
            if write:
                path.write_text(fresh, encoding="utf-8")
            else:
                faults.append(f"{path.relative_to(ROOT)}: a generated part is out of date; run make docs")
        faults += dead_links(path, fresh)
    faults += [f"the part {name} stands in no document" for name in sorted(PARTS.keys() - seen)]
    print("\n".join(faults) or f"documents: {len(documents())} up to date, links lead somewhere")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
