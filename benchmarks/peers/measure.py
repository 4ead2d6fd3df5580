"""Code that all benchmarked programs share: reading the job and the data, the clock, and the line of results.

A program is started as `python PROGRAM JOB.json` in its environment, and prints one JSON object to standard output;
everything else goes to standard error. Only numpy and torch may be imported here, since every environment has them.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

PAD, UNKNOWN, BOS, EOS = 0, 1, 2, 3
MASK = 4  # in vocabularies with a mask token

Result = TypeVar("Result")


def start() -> tuple[dict[str, Any], int]:
    """Read the job named on the command line and set the threads.

    Returns:
        The job, and a file descriptor of standard output. All that a peer prints later goes to standard error, so that
        standard output contains only the results.
    """
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    output = os.dup(1)
    os.dup2(2, 1)
    torch.set_num_threads(job["threads"])
    torch.manual_seed(job["seed"])
    return job, output


def report(output: int, result: dict[str, Any]) -> None:
    """Print the line of results."""
    with os.fdopen(output, "w", encoding="utf-8") as stream:
        stream.write(json.dumps(result) + "\n")


def gemm_gflops(seconds: float = 0.6, size: int = 1024) -> float:
    """Return the median GFLOP/s of square float32 matrix products, which shows the current speed of the machine."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    torch.mm(a, b)
    rates, begin = [], time.perf_counter()
    while time.perf_counter() - begin < seconds:
        before = time.perf_counter()
        torch.mm(a, b)
        rates.append(2 * size**3 / (time.perf_counter() - before) / 1e9)
    return round(statistics.median(rates), 1)


@dataclass
class Pairs:
    """Sentence pairs as token ids without special tokens, in flat arrays with offsets."""

    source_ids: np.ndarray
    source_offsets: np.ndarray
    target_ids: np.ndarray
    target_offsets: np.ndarray

    @classmethod
    def load(cls, path: str, split: str) -> Pairs:
        """Read one split ("train" or "test") of the file that `prepare.py` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            names = ("source_ids", "source_offsets", "target_ids", "target_offsets")
            return cls(*(arrays[f"{split}_{name}"] for name in names))

    def __len__(self) -> int:
        return len(self.source_offsets) - 1

    def source(self, index: int) -> list[int]:
        """Return the source ids of a pair, without EOS."""
        return self.source_ids[self.source_offsets[index] : self.source_offsets[index + 1]].tolist()

    def target(self, index: int) -> list[int]:
        """Return the target ids of a pair, without BOS and EOS."""
        return self.target_ids[self.target_offsets[index] : self.target_offsets[index + 1]].tolist()


@dataclass
class Texts:
    """Texts as token ids without special tokens, in a flat array with offsets.

    Attributes:
        ids: ids of all texts.
        offsets: beginning of each text, (N + 1,).
        labels: label of each text, (N,); None: there are none.
    """

    ids: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray | None

    @classmethod
    def load(cls, job: dict[str, Any]) -> Texts:
        """Read the output of `prepare_text.py` for `job["rows"]`, documents or sentences."""
        rows = job["rows"]
        with np.load(job["data"], allow_pickle=False) as arrays:
            return cls(arrays[f"{rows}_ids"], arrays[f"{rows}_offsets"], arrays.get(f"{rows}_labels"))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def text(self, index: int) -> list[int]:
        """Return the ids of a text."""
        return self.ids[self.offsets[index] : self.offsets[index + 1]].tolist()

    def blocks(self, size: int) -> list[list[int]]:
        """Return blocks of the concatenated texts, each followed by EOS, without an incomplete last block."""
        stream = np.insert(self.ids, self.offsets[1:], EOS)
        return stream[: len(stream) // size * size].reshape(-1, size).tolist()


@dataclass
class Pictures:
    """Images with labels.

    Attributes:
        pixels: (N, 3, S, S), uint8.
        labels: (N,), int64.
        outputs: number of labels in training.
    """

    pixels: np.ndarray
    labels: np.ndarray
    outputs: int

    @classmethod
    def load(cls, job: dict[str, Any], split: str) -> Pictures:
        """Read the output of `prepare_images.py` for `job["rows"]`, of a split."""
        name = f"{job['rows']}_{split}"
        with np.load(job["data"], allow_pickle=False) as arrays:
            outputs = int(arrays[f"{job['rows']}_train_labels"].max()) + 1
            return cls(arrays[f"{name}_pixels"], arrays[f"{name}_labels"], outputs)

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return pixels and labels as tensors, which share their memory."""
        return torch.from_numpy(self.pixels), torch.from_numpy(self.labels)


@dataclass
class Utterances:
    """Recordings with transcripts.

    Attributes:
        sound: samples of all recordings, int16.
        sound_offsets: beginning of each recording, (N + 1,).
        ids: ids of all transcripts, without special tokens.
        offsets: beginning of each transcript, (N + 1,).
        sample_rate: samples per second.
    """

    sound: np.ndarray
    sound_offsets: np.ndarray
    ids: np.ndarray
    offsets: np.ndarray
    sample_rate: int

    @classmethod
    def load(cls, job: dict[str, Any]) -> Utterances:
        """Read the output of `prepare_speech.py` for `job["rows"]`."""
        names = ("sound", "sound_offsets", "ids", "offsets")
        with np.load(job["data"], allow_pickle=False) as arrays:
            return cls(*(arrays[f"{job['rows']}_{name}"] for name in names), int(arrays["sample_rate"]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """The number of samples of each recording, (N,)."""
        return np.diff(self.sound_offsets)

    def row(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the samples (N,), int16, and ids (U,), int64, of a recording."""
        sound = self.sound[self.sound_offsets[index] : self.sound_offsets[index + 1]]
        ids = self.ids[self.offsets[index] : self.offsets[index + 1]]
        return torch.from_numpy(sound), torch.from_numpy(ids.astype(np.int64))


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """Normalise uint8 pixels with mean and standard deviation 0.5 to float32 in [-1, 1], as timm and tformer do."""
    return pixels.float().div_(127.5).sub_(1)


def padded(rows: list[list[int]], fill: int) -> torch.Tensor:
    """Return rows of different lengths as a tensor (B, T), int64, padded at the end with `fill`."""
    out = torch.full((len(rows), max(map(len, rows))), fill, dtype=torch.int64)
    for index, row in enumerate(rows):
        out[index, : len(row)] = torch.tensor(row, dtype=torch.int64)
    return out


@dataclass
class TrainingClock:
    """A clock that measures the steps after a warm-up, until the job's seconds are over.

    A program calls `tick` after each optimiser step. The clock does not synchronise, since a CPU does not need this.
    """

    job: dict[str, Any]
    ticks: list[float] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)
    cells: list[float] = field(default_factory=list)
    losses: list[Any] = field(default_factory=list)

    def tick(self, tokens: float, cells: float, loss: Any) -> bool:
        """Record a step.

        Args:
            tokens: number of counted units (tokens, images or seconds of audio), without padding.
            cells: the same with padding.
            loss: mean loss of a prediction; a number, or a tensor that is read only at the end.

        Returns:
            Whether the time is over.
        """
        self.ticks.append(time.perf_counter())
        self.tokens.append(tokens)
        self.cells.append(cells)
        self.losses.append(loss)
        warm_up = self.job["warm_up"]
        return len(self.ticks) > warm_up and self.ticks[-1] - self.ticks[warm_up - 1] >= self.job["seconds"]

    def result(self, *, points: int = 20) -> dict[str, Any]:
        """Return the rate of real tokens, the padding, the durations of steps, and the loss by trained tokens."""
        warm_up = self.job["warm_up"]
        steps = len(self.ticks) - warm_up
        if steps < 1:
            raise SystemExit(f"only {len(self.ticks)} steps ran, {warm_up} of them as warm-up")
        seconds = self.ticks[-1] - self.ticks[warm_up - 1]
        real, cells = sum(self.tokens[warm_up:]), sum(self.cells[warm_up:])
        durations = np.diff(np.array(self.ticks[warm_up - 1 :]))
        return {
            "unit": f"{self.job['counted']}/s",
            "rate": real / seconds,
            "steps": steps,
            "seconds": seconds,
            "tokens_per_step": real / steps,
            "padding_percent": 100 * (1 - real / cells),
            "step_ms_p50": 1000 * float(np.percentile(durations, 50)),
            "step_ms_p95": 1000 * float(np.percentile(durations, 95)),
            "first_loss": round(float(self.losses[0]), 4),
            "loss_curve": self._curve(points),
        }

    def _curve(self, points: int) -> list[tuple[int, float]]:
        """Return pairs of trained tokens and the mean loss since the previous pair."""
        losses, weights = np.array([float(x) for x in self.losses]), np.array(self.tokens)
        curve, tokens = [], 0
        for part in np.array_split(np.arange(len(losses)), min(points, len(losses))):
            tokens += int(weights[part].sum())
            curve.append((tokens, round(float(np.average(losses[part], weights=weights[part])), 4)))
        return curve


def decoding_batches(job: dict[str, Any]) -> Iterator[tuple[list[int], list[list[int]], int, int]]:
    """Yield the batches of all decoders: sentences sorted by length, longest first.

    Yields:
        Row numbers, source ids without EOS, minimum and maximum length of the output in tokens. With
        `job["forced_length"]` both are the length of the batch's longest source, since searches with random weights do
        not end by themselves. Otherwise the maximum is 1.5 times the longest source + 20 tokens.
    """
    pairs = Pairs.load(job["data"], "test")
    rows = np.random.default_rng(job["seed"]).permutation(len(pairs))[: job["sentences"]]
    rows = sorted(rows.tolist(), key=lambda row: (-len(pairs.source(row)), row))
    for begin in range(0, len(rows), job["batch"]):
        part = rows[begin : begin + job["batch"]]
        sources = [pairs.source(row) for row in part]
        longest = max(map(len, sources))
        if job["forced_length"]:
            yield part, sources, longest, longest
        else:
            yield part, sources, 0, int(1.5 * longest) + 20


def complete_passes(job: dict[str, Any], work: Callable[[], Result]) -> tuple[Result, int, float]:
    """Repeat a pass until `job["seconds"]` are over; return its result, the number of passes, and their seconds."""
    passes, begin = 0, time.perf_counter()
    while True:
        result = work()
        passes += 1
        seconds = time.perf_counter() - begin
        if seconds >= job["seconds"]:
            return result, passes, seconds


def inference_result(job: dict[str, Any], work: Callable[[], int]) -> dict[str, Any]:
    """Return the rate of images over complete passes; a pass to warm up is not counted.

    Args:
        job: the job, with its seconds and the counted unit.
        work: function that makes one pass and returns the number of images.
    """
    work()
    count, passes, seconds = complete_passes(job, work)
    unit = f"{job['counted']}/s"
    return {"unit": unit, "rate": passes * count / seconds, "passes": passes, "seconds": seconds, "images": count}


def decoding_result(job: dict[str, Any], decode: Callable[[], dict[int, list[int]]]) -> dict[str, Any]:
    """Return the rate of sentences over complete passes through the test sentences.

    Args:
        job: the job; if it has `outputs`, the outputs are written to this file, for a comparison of decoders.
        decode: function that makes one pass over all batches and returns the output of each row.
    """
    outputs, passes, seconds = complete_passes(job, decode)
    cleaned = {row: ids[: ids.index(EOS)] if EOS in ids else ids for row, ids in outputs.items()}
    if job.get("outputs"):
        text = json.dumps({str(row): cleaned[row] for row in sorted(cleaned)})
        Path(job["outputs"]).write_text(text, encoding="utf-8")
    return {
        "unit": "sentences/s",
        "rate": passes * len(cleaned) / seconds,
        "passes": passes,
        "seconds": seconds,
        "sentences": len(cleaned),
        "tokens_per_sentence": sum(map(len, cleaned.values())) / len(cleaned),
    }
