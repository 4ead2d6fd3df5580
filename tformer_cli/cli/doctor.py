"""The command `tformer doctor`, which describes this machine."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

PACKAGES = (
    "torch",
    "numpy",
    "typer",
    "hydra-core",
    "omegaconf",
    "sentencepiece",
    "datasets",
    "sacrebleu",
    "safetensors",
    "tensorboard",
    "rich",
)


def doctor() -> None:
    """Print versions, device, threads, the speed of bfloat16 and float32, and free disk space."""
    from importlib import metadata

    from tformer_cli import __version__
    from tformer_cli.cli.output import table

    rows = [
        ("tformer", __version__),
        ("python", platform.python_version()),
        ("platform", platform.platform()),
    ]
    missing = []
    for package in PACKAGES:
        try:
            rows.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            rows.append((package, "missing"))
            missing.append(package)
    if "torch" not in missing:
        rows.extend(_machine())
    free = shutil.disk_usage(Path.cwd()).free
    rows.append(
        (
            "free disk space here",
            f"{free / 1e9:.1f} GB" + (" (a run may need more)" if free < 2e9 else ""),
        )
    )
    table(("item", "value"), rows)
    if missing:
        from tformer_cli.errors import ConfigError

        raise ConfigError(f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")


def _machine() -> list[tuple[str, str]]:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    rows = [
        ("device", f"{device} ({name})"),
        ("threads", f"{torch.get_num_threads()} of {os.cpu_count()} CPUs"),
    ]
    from tformer_cli.machine import product_rate

    full, half = (product_rate(torch.device(device), dtype) / 1e9 for dtype in (torch.float32, torch.bfloat16))
    verdict = f"{half / full:.1f}x float32" if half > full else "slower than float32 here"
    rows.append(("matrix products", f"float32 {full:.0f} GFLOP/s, bfloat16 {half:.0f}: {verdict}"))
    return rows
