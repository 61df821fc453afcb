"""Runs a program in a folder of its own, with the modules of a checkout of fastlm under their former names too."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.repro.verdict import Run

FORMER_NAMES = Path(__file__).parent / "former_names"
SHARED_HELPERS = "common"
TIMEOUT = 400


def programs(folder: Path) -> dict[str, Path]:
    """Name, as "model/a01", -> file, of the programs in the folders of a folder."""
    files = sorted(path for path in folder.glob("*/*.py") if path.stem != SHARED_HELPERS)
    return {f"{path.parent.name}/{path.stem.split('_')[0]}": path for path in files}


def run(program: Path, root: Path, arguments: Sequence[str] = ()) -> Run:
    """Runs a program on a copy of its folder. It finds real texts in `../../data` and in `../shared/data`.

    Args:
        program: The program, two folders below the one that has `data` next to it.
        root: The checkout of fastlm.
        arguments: Arguments of the program.
    """
    folder = program.parent.parent
    with tempfile.TemporaryDirectory(prefix="repro-") as temporary:
        shared, work = Path(temporary) / "shared", Path(temporary) / "work"
        shutil.copytree(folder, shared / "repro")
        (shared / "data").symlink_to(folder.parent / "data")
        work.mkdir()
        environment = {
            **os.environ,
            "PYTHONPATH": f"{FORMER_NAMES}{os.pathsep}{root}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": temporary,
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        command = [sys.executable, str(shared / "repro" / program.relative_to(folder)), *arguments]
        process = subprocess.Popen(
            command,
            cwd=work,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            umask=0o022,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=TIMEOUT)
            return Run(out, err, process.returncode, root)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            return Run(out, err, None, root)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
