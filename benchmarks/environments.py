"""The peers' own environments: made once, outside the project's, with every version pinned."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TORCH = "torch==2.13.0"
PEERS = ("hf", "joeynmt", "timm", "torchaudio")


def python_of(name: str) -> Path:
    """The interpreter of a peer's environment; `ours` is the one that runs this program."""
    if name == "ours":
        return Path(sys.executable)
    scripts = "Scripts" if sys.platform == "win32" else "bin"
    return ROOT / f".benchmark-env-{name}" / scripts / "python"


def install(name: str) -> None:
    """Make a peer's environment, unless it is there and up to date.

    torch goes first: peers that ask for "any torch" then keep the one that all programs use. It comes from
    the ordinary index; set `PIP_EXTRA_INDEX_URL` for another build of it.
    """
    requirements = HERE / f"requirements-{name}.txt"
    wanted = hashlib.sha256(TORCH.encode() + requirements.read_bytes()).hexdigest()
    folder = ROOT / f".benchmark-env-{name}"
    mark = folder / "installed"
    if mark.exists() and mark.read_text(encoding="ascii") == wanted:
        return
    print(f"installing {folder.name} ...", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    pip = [python_of(name), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, TORCH], check=True)
    subprocess.run([*pip, TORCH, "-r", requirements], check=True)
    mark.write_text(wanted, encoding="ascii")
