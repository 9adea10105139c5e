"""`make audit`: is anything known against what the lock names, and what is in an environment that was made of it.

    build/sbom.cdx.json   every distribution that is installed, as CycloneDX has it
    build/audit.json      what the advisories that pip-audit asks know of each line of the lock

The tools come into an environment of their own, so that none of them is ever beside the server. Both steps need a
network: where nobody can be asked it says so and is no failure, since nothing has been found; `make test` never asks.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
TOOLS = BUILD / "audit"
NEEDED = ("pip-audit==2.10.1", "cyclonedx-bom==7.5.0")
LOCK = ROOT / "requirements.lock"
REPORT, SBOM = BUILD / "audit.json", BUILD / "sbom.cdx.json"
NOBODY = "nobody could be asked, so that nothing is known"


def main() -> int:
    """0 where nothing is known against anything, or nobody could be asked; 1 where something is."""
    BUILD.mkdir(exist_ok=True)
    for old in (REPORT, SBOM):
        old.unlink(missing_ok=True)
    if not (TOOLS / "bin" / "python").exists():
        _run(sys.executable, "-m", "venv", TOOLS)
    why = _run(TOOLS / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", *NEEDED)
    if why and not (TOOLS / "bin" / "pip-audit").exists():
        _say(f"audit: {NOBODY}: the tools cannot be had ({why})")
        return 0
    _listed()
    lock = ("--require-hashes", "--disable-pip", "-r", LOCK)
    why = _run(TOOLS / "bin" / "pip-audit", *lock, "--progress-spinner", "off", "-f", "json", "-o", REPORT)
    code, lines = verdict(json.loads(REPORT.read_bytes()) if REPORT.exists() else None, why)
    _say(*lines)
    return code


def verdict(report: dict[str, Any] | None, why: str) -> tuple[int, list[str]]:
    """The exit code, and what to say, of what pip-audit wrote; None is that it could not, and `why`."""
    if report is None:
        return 0, [f"audit: {NOBODY} ({why})"]
    asked = [one for one in report["dependencies"] if "vulns" in one]
    passed_over = [one["name"] for one in report["dependencies"] if "vulns" not in one]
    bugs = [(one, bug) for one in asked for bug in one["vulns"]]
    said = [
        f"audit: {one['name']} {one['version']}: {bug['id']}, mended in {', '.join(bug['fix_versions']) or 'none yet'}"
        for one, bug in bugs
    ]
    if not asked:
        return 0, [f"audit: {NOBODY} (of {len(passed_over)} distributions none was looked up)"]
    if passed_over:
        said.append(f"audit: passed over were {', '.join(passed_over)}")
    if not bugs:
        said.append(f"audit: nothing is known against any of {len(asked)} distributions")
    return int(bool(bugs)), said


def _listed() -> None:
    python = ROOT / ".venv" / "bin" / "python"
    kind = ("--output-reproducible", "--mc-type", "application", "--pyproject", ROOT / "pyproject.toml")
    why = _run(TOOLS / "bin" / "cyclonedx-py", "environment", *kind, "-o", SBOM, python)
    if why:
        _say(f"sbom: it could not be written ({why})")
        return
    named = json.loads(SBOM.read_bytes()).get("components", ())
    _say(f"sbom: {SBOM.relative_to(ROOT)} names {len(named)} distributions")


def _say(*lines: str) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


def _run(*argv: str | Path) -> str:
    """'' where it went well, or else the last line of what it says."""
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False)  # noqa: S603
    said = (done.stderr or done.stdout).strip().splitlines()
    return "" if done.returncode == 0 else (said[-1] if said else f"it ended with {done.returncode}")


if __name__ == "__main__":
    sys.exit(main())
