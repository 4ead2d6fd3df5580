"""Speed of trained translation runs on the same sentences, in turns, and of CTranslate2 with one run's weights.

    python benchmarks/translators.py SOURCE RUN[,SETTING]... [--ctranslate2 RUN] [--rounds 5] [--workers 0]

SOURCE is a text file. A program is a run folder with its settings, such as `runs/student,decode.shortlist=auto`. Each
program translates all sentences once to warm up and then once in each round, and the first program is the reference: a
line shows the median of its sentences per second with their range, and the median and range of the ratios to the
reference in the same round. Reading the run, and exporting it for CTranslate2, are not counted.

CTranslate2 runs in an environment of its own, as in `run.py`. It decodes greedily in float32, with `--workers` workers
(0: one for each physical core), batches of the same size, and the maximum output length of tformer's defaults.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.environments import install, python_of  # noqa: E402
from tformer_cli import load  # noqa: E402
from tformer_cli.interop.export import export_run  # noqa: E402
from tformer_cli.machine import physical_cores  # noqa: E402

BATCH = 64
PEER_SECONDS = 3.0
"""Minimum time of a measurement of CTranslate2; it makes complete passes until this time is over."""


def arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("programs", nargs="+", metavar="RUN[,SETTING]")
    parser.add_argument("--ctranslate2", metavar="RUN", default="", help="run whose weights CTranslate2 reads")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: as many as physical cores")
    return parser.parse_args()


def translator(program: str, lines: list[str], workers: int) -> Callable[[], float]:
    """Return a function that translates all lines with a run, and returns the sentences per second."""
    folder, *settings = program.split(",")
    run = load(folder, device="cpu", workers=workers, settings=settings)

    def measure() -> float:
        begin = time.perf_counter()
        count = len(run.predict(lines))
        return count / (time.perf_counter() - begin)

    return measure


def peer(folder: str, lines: list[str], workers: int, work: Path) -> Callable[[], float]:
    """Return a function that translates all lines with CTranslate2, and returns the sentences per second."""
    install("hf")
    export_run(Path(folder), work / "weights", "huggingface")
    data = load(folder, device="cpu").opened.task.data
    ids = [np.asarray(row, np.int64) for row in data.tokenizer.encode_batch(lines, data.source_language)]
    ids = [row for row in ids if len(row)]
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in ids])))
    arrays = {"source_ids": np.concatenate(ids), "source_offsets": offsets}
    arrays |= {"target_ids": arrays["source_ids"], "target_offsets": offsets}  # not read in decoding
    np.savez(work / "data.npz", **{f"test_{name}": value for name, value in arrays.items()})
    processes = workers or physical_cores()
    job: dict[str, Any] = {
        "data": str(work / "data.npz"), "weights": str(work / "weights"), "threads": processes, "workers": processes,
        "beam": 1, "batch": BATCH, "sentences": len(ids), "seed": 0, "seconds": PEER_SECONDS, "precision": "float32",
        "forced_length": False,
    }  # fmt: skip
    (work / "job.json").write_text(json.dumps(job), encoding="utf-8")

    def measure() -> float:
        command = [python_of("hf"), HERE / "peers" / "ct2_decode.py", work / "job.json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        return json.loads(done.stdout)["rate"]

    return measure


def spread(values: list[float], digits: int) -> str:
    """Return the median of values and their range."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def main() -> None:
    """Print a table of all programs."""
    options = arguments()
    lines = options.source.read_text(encoding="utf-8").splitlines()
    with tempfile.TemporaryDirectory() as work:
        programs = {name: translator(name, lines, options.workers) for name in options.programs}
        if options.ctranslate2:
            name = f"{options.ctranslate2}, CTranslate2"
            programs[name] = peer(options.ctranslate2, lines, options.workers, Path(work))
        rates: dict[str, list[float]] = {name: [] for name in programs}
        for number in range(options.rounds + 1):
            for name, measure in programs.items():
                rate = measure()
                rates[name] += [rate] * (number > 0)  # the first pass warms up
    reference = rates[options.programs[0]]
    print(f"{len(lines):,} sentences, {options.rounds} rounds, {options.workers or physical_cores()} CPU processes\n")
    print("| program | sentences/s | ratio to the first |\n| --- | --- | --- |")
    for name, values in rates.items():
        ratios = [value / base for value, base in zip(values, reference, strict=True)]
        print(f"| {name} | {spread(values, 0)} | {spread(ratios, 2)} |")


if __name__ == "__main__":
    main()
