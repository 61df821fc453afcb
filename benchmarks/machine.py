"""Facts of the machine that a run was measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version

import fastlm
from benchmarks.tables import number


def processor() -> str:
    import cpuinfo

    name: str = cpuinfo.get_cpu_info()["brand_raw"]
    return name


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
