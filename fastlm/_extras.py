"""The packages of each extra, and the command that installs them.

Messages name packages and not the extra, because `pip install 'fastlm[EXTRA]'` is right only where pip finds fastlm
itself: not in a clone, and not for a wheel of a file or an address.
"""

PACKAGES = {
    "regex": ("regex",),
    "model": ("torch", "safetensors", "numba"),
    "data": ("pyarrow", "fsspec", "orjson"),
    "s3": ("s3fs",),
    "gcs": ("gcsfs",),
    "dist": ("ray",),
    "report": ("matplotlib", "jinja2", "tensorboard"),
    "wandb": ("wandb",),
    "trackio": ("trackio",),
    "hub": ("huggingface_hub",),
    "transformers": ("transformers", "jinja2"),
    "chat": ("jinja2",),
}
"""Name of an extra in pyproject.toml -> its packages."""


def install_command(extra: str) -> str:
    """The command that installs the packages of an extra."""
    return f"pip install {' '.join(PACKAGES[extra])}"
