"""The environments of the peers, which are separate from the project's and have pinned versions."""

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
    """Return the interpreter of a peer's environment; for `ours`, the interpreter of this program."""
    if name == "ours":
        return Path(sys.executable)
    scripts = "Scripts" if sys.platform == "win32" else "bin"
    return ROOT / f".benchmark-env-{name}" / scripts / "python"


def install(name: str) -> None:
    """Create the environment of a peer, unless it exists and is up to date.

    torch is installed first, so that peers that accept any version use the same one. It comes from the default index;
    set `PIP_EXTRA_INDEX_URL` to install another build.
    """
    requirements = HERE / f"requirements-{name}.txt"
    digest = hashlib.sha256(TORCH.encode() + requirements.read_bytes()).hexdigest()
    folder = ROOT / f".benchmark-env-{name}"
    mark = folder / "installed"
    if mark.exists() and mark.read_text(encoding="ascii") == digest:
        return
    print(f"installing {folder.name} ...", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    pip = [python_of(name), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, TORCH], check=True)
    subprocess.run([*pip, TORCH, "-r", requirements], check=True)
    mark.write_text(digest, encoding="ascii")
