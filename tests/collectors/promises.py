"""A collector's `readiness.yaml`: what it keeps, and the test that shows each line."""

from __future__ import annotations

from pathlib import Path

import yaml


def without_a_test(folder: Path, tests: Path) -> list[str]:
    """Promises of a collector's folder whose test is not there. Raises AssertionError where it promises nothing."""
    promises = yaml.safe_load((folder / "readiness.yaml").read_text(encoding="utf-8"))
    assert promises
    missing = []
    for promise, shown_by in promises.items():
        file, name = shown_by.split("::")
        text = (tests / file).read_text(encoding="utf-8")
        if f"def {name}(" not in text and f"class {name}(" not in text:
            missing.append(promise)
    return missing
