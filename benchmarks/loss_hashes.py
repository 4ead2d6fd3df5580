"""Hashes of a short seeded run of each family. A refactoring must not change them on the same machine.

    make bench-loss
    python benchmarks/loss_hashes.py [--output FILE] [--compare FILE] [NAME ...]

Each family of `tests/properties/families.py` trains for six steps on one CPU thread in float32, and is evaluated twice.
A line shows the last loss and shortened SHA-256 hashes of five results:

- the last weights, tensor by tensor under their names;
- the weights in use (the best or averaged);
- the optimiser's state;
- `metrics.jsonl`;
- predictions for a few inputs.

`two ranks` trains one family in two processes. Rounding differs between processors, so compare a stored file on the
machine that wrote it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: E402

from tests.properties.families import FAMILIES, REGULARISED, VARIANTS, Family  # noqa: E402
from tformer_cli import machine  # noqa: E402
from tformer_cli.runs.checkpoint import read_tensors  # noqa: E402
from tformer_cli.train.launch import launch  # noqa: E402
from tformer_cli.trained.opening import open_run  # noqa: E402

SETTINGS = [
    "trainer.steps=6", "trainer.log_every=2", "trainer.evaluate_every=3", "trainer.checkpoint_every=3",
    "trainer.evaluate_limit=4", "trainer.samples=1",
]  # fmt: skip


@dataclass(frozen=True)
class Hashes:
    """The results of a seeded run: the last training loss (of the last phase), and SHA-256 of its files."""

    loss: float
    weights: str
    used: str
    optimizer: str
    metrics: str
    predictions: str


def tensors_hash(path: Path) -> str:
    """Return the SHA-256 of the names, types, shapes and bytes of a file's tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(read_tensors(path).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def run_hashes(family: Family, folder: Path, processes: int = 1) -> Hashes:
    """Train a family in a folder, and hash its results."""
    run = folder / "run"
    launch(family.config(folder / "cache", *SETTINGS), run, processes=processes, quiet=True)
    newest = run / "checkpoints" / "step-00000006"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    entries = [entry for line in lines for entry in line.items()]
    losses = [value for name, value in entries if name.startswith("train/") and name.endswith("/loss")]
    opened = open_run(run, device="cpu")
    texts = [prediction.text for prediction in opened.predict(family.inputs)]
    return Hashes(
        losses[-1],
        tensors_hash(newest / "model.safetensors"),
        tensors_hash(opened.checkpoint / "model.safetensors"),
        tensors_hash(newest / "optimizer.safetensors"),
        hashlib.sha256((run / "metrics.jsonl").read_bytes()).hexdigest(),
        hashlib.sha256(json.dumps(texts).encode()).hexdigest(),
    )


def all_hashes(names: list[str]) -> dict[str, Hashes]:
    """Return the hashes by the name of the family, and print each when it is known; without names, of all families."""
    jobs = [(family.name, family, 1) for family in (*FAMILIES, *VARIANTS, *REGULARISED)]
    jobs.append(("two ranks", FAMILIES[0], 2))
    results = {}
    for name, family, processes in jobs:
        if names and name not in names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            hashes = run_hashes(family, Path(folder), processes)
        results[name] = hashes
        parts = "  ".join(f"{part} {value[:12]}" for part, value in asdict(hashes).items() if part != "loss")
        print(f"{name:24} loss {hashes.loss:<10.6g} {parts}", flush=True)
    return results


def main() -> None:
    """Print the hashes; with `--compare`, exit with status 1 if a hash differs from the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", help="families; without any: all")
    parser.add_argument("--output", type=Path, help="also write the hashes to this JSON file")
    parser.add_argument("--compare", type=Path, help="a file that --output has written on this machine")
    options = parser.parse_args()
    machine.product_rate = lambda *_, **__: 1e9  # not measured, since no hash depends on it
    results = {name: asdict(hashes) for name, hashes in all_hashes(options.names).items()}
    if options.output:
        options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if options.compare:
        before = json.loads(options.compare.read_text(encoding="utf-8"))
        changed = [name for name, hashes in results.items() if before.get(name) != hashes]
        print("changed: " + ", ".join(changed) if changed else "all hashes are equal")
        sys.exit(bool(changed))


if __name__ == "__main__":
    main()
