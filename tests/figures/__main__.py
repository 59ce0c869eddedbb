"""`python -m tests.figures [--check]`: draw how the definitions behave, into docs/images/figures/.

`--check` draws nothing and exits with 1 where a file differs from what would be drawn.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.figures.drawings import FIGURES

FOLDER = Path(__file__).parents[2] / "docs" / "images" / "figures"


def main(arguments: list[str]) -> int:
    """Draw or check every figure. Returns the exit code."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    stale = []
    for name, draw in FIGURES.items():
        path, drawn = FOLDER / f"{name}.svg", draw()
        if not path.exists() or path.read_text(encoding="utf-8") != drawn:
            stale.append(name)
            if not arguments:
                FOLDER.mkdir(parents=True, exist_ok=True)
                path.write_text(drawn, encoding="utf-8")
    if arguments and stale:
        print(f"out of date, run make figures: {', '.join(stale)}")
        return 1
    print(f"figures: {len(FIGURES)} up to date" if not stale else f"figures: drew {', '.join(stale)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
