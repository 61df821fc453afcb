"""The build backend: setuptools, with Numba among the requirements where the build compiles the merge kernel.

Numba has no wheel for some systems. There FASTLM_KERNELS names a folder of kernels that were compiled elsewhere, and
the build must not try to install Numba. See compile_kernels.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

Settings = Mapping[str, Any] | None


def _kernel_compiler() -> list[str]:
    return [] if os.environ.get("FASTLM_KERNELS") else ["numba>=0.61"]


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """The requirements of setuptools and the compiler of the kernel."""
    return [*build_meta.get_requires_for_build_wheel(config_settings), *_kernel_compiler()]


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    """The requirements of setuptools and the compiler of the kernel."""
    return [*build_meta.get_requires_for_build_editable(config_settings), *_kernel_compiler()]
