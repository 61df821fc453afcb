"""Facts of the machine that a run was measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fastlm
from benchmarks.tables import number


def processor() -> str:
    import cpuinfo

    name: str = cpuinfo.get_cpu_info()["brand_raw"]
    return name


# benchmarks write them, so they differ after each run
WRITTEN = (":(exclude)*.md", ":(exclude)*.svg", ":(exclude)benchmarks/history")


def commit() -> dict[str, Any]:
    """The hash of the commit of this checkout, and whether other files than results differ; {} without one."""
    command = ["git", "-C", str(Path(__file__).resolve().parents[1])]
    try:
        found = subprocess.run([*command, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        status = [*command, "status", "--porcelain", "-uno", "--", ":/", *WRITTEN]
        changed = subprocess.run(status, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"id": found.stdout.strip(), "dirty": bool(changed.stdout.strip())}


def facts(device: str, packages: Iterable[str]) -> dict[str, str]:
    """When a run ended, and on what device, with what versions and under what load."""
    versions = {"Python": platform.python_version(), "fastlm": fastlm.__version__}
    versions |= {package: version(package) for package in packages}
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "device": device,
        "versions": ", ".join(f"{name} {found}" for name, found in versions.items()),
        "load average at the end": ", ".join(map(number, os.getloadavg())),
    }
