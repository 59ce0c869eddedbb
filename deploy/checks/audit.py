"""Known vulnerabilities of every dependency. Says "not audited" and exits 1 where a database was not reached."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def python_packages() -> tuple[int, list[str], str]:
    """Packages audited, findings, and why not all were audited ('' when they were)."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip_audit",
            "--format=json",
            "--progress-spinner=off",
            "--require-hashes",
            "--disable-pip",
            "-r",
            str(ROOT / "deploy/locks/all.txt"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    try:
        rows = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return 0, [], (done.stderr.strip().splitlines() or ["no answer"])[-1]
    skipped = [row["name"] for row in rows if "skip_reason" in row]
    findings = [
        f"{row['name']} {row['version']}: {v['id']} (mended in {', '.join(v['fix_versions']) or 'no release'})"
        for row in rows
        for v in row.get("vulns", [])
    ]
    # The tool reports success while it skips what it could not look up.
    why = f"{len(skipped)} packages were not looked up" if skipped or not rows else ""
    return len(rows) - len(skipped), findings, why


def npm_packages(folder: str) -> tuple[int, list[str], str]:
    done = subprocess.run(
        ["npm", "audit", "--json", "--prefix", str(ROOT / folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    try:
        answer = json.loads(done.stdout)
        total = answer["metadata"]["dependencies"]["total"]
    except (ValueError, KeyError, TypeError):
        return 0, [], "the database did not answer"
    return total, [f"{name}: {about['severity']}" for name, about in answer["vulnerabilities"].items()], ""


def main() -> int:
    failed = False
    for title, (count, findings, why) in (
        ("python", python_packages()),
        ("api/web", npm_packages("api/web")),
        ("simulators/nodesets", npm_packages("simulators/nodesets")),
    ):
        if why:
            print(f"{title}: not audited: {why}")
        else:
            print(f"{title}: {count} packages audited, {len(findings)} findings")
        print("".join(f"  {finding}\n" for finding in findings), end="")
        failed = failed or bool(why or findings)
    return failed


if __name__ == "__main__":
    sys.exit(main())
