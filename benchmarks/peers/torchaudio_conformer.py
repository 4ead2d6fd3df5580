"""The Conformer of torchaudio with CTC, trained in a usual PyTorch loop on log-mel features of each batch.

The library has only the blocks of the encoder. Features, subsampling and output layer are implemented here in PyTorch
with the shapes of tformer: log-mel features like those of Kaldi, 3x3 convolutions with stride 2 that are padded only
over frequency, and a linear layer.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from measure import PAD, TrainingClock, Utterances, gemm_gflops, report, start
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Sampler

PREEMPHASIS, WINDOW_MS, HOP_MS, LOW_HZ = 0.97, 25, 10, 20.0
BLANK = PAD


def conformer_module() -> ModuleType:
    """Import only `torchaudio/models/conformer.py`, since the compiled part of the package needs torch with CUDA."""
    package = importlib.util.find_spec("torchaudio")
    if package is None or package.origin is None:
        raise SystemExit("error: torchaudio is not installed")
    file = Path(package.origin).parent / "models" / "conformer.py"
    spec = importlib.util.spec_from_file_location("torchaudio_conformer_file", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class LogMel(nn.Module):
    """Kaldi's log-mel features without dither, normalised to mean 0 and variance 1 for each bin of an utterance."""

    def __init__(self, sample_rate: int, bins: int) -> None:
        super().__init__()
        self.width, self.hop = sample_rate * WINDOW_MS // 1000, sample_rate * HOP_MS // 1000
        self.size = 2 ** math.ceil(math.log2(self.width))
        self.register_buffer("window", torch.hann_window(self.width, periodic=False).pow(0.85))
        frequencies = torch.arange(self.size // 2, dtype=torch.float64) * sample_rate / self.size
        limits = torch.tensor([LOW_HZ, sample_rate / 2], dtype=torch.float64)
        low, high = (1127 * torch.log1p(limits / 700)).tolist()
        edges = torch.linspace(low, high, bins + 2, dtype=torch.float64)
        mel = 1127 * torch.log1p(frequencies / 700)[:, None]
        up = (mel - edges[:-2]) / (edges[1:-1] - edges[:-2])
        down = (edges[2:] - mel) / (edges[2:] - edges[1:-1])
        self.register_buffer("filters", torch.minimum(up, down).clamp(min=0).float())

    @torch.no_grad()
    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, T, F), 0 in padding, and numbers of frames (B,), for samples (B, N) and lengths (B,)."""
        frames = waves.unfold(1, self.width, self.hop)
        frames = frames - frames.mean(2, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], 2)
        spectrum = torch.fft.rfft((frames - PREEMPHASIS * before) * self.window, self.size)
        power = spectrum.abs().square()[..., : self.size // 2]
        features = (power @ self.filters).clamp(min=torch.finfo(torch.float32).eps).log()
        counts = (lengths - self.width) // self.hop + 1
        valid = (torch.arange(features.shape[1]) < counts[:, None])[..., None]
        mean = features.where(valid, 0).sum(1, keepdim=True) / counts[:, None, None]
        features = (features - mean).where(valid, 0)
        std = (features.square().sum(1, keepdim=True) / counts[:, None, None]).sqrt()
        return features / std.clamp(min=1e-5), counts


class Recogniser(nn.Module):
    """Subsampling by 4, the Conformer of torchaudio, and the output layer of CTC."""

    def __init__(self, shape: dict[str, Any]) -> None:
        super().__init__()
        dim, bins, dropout = shape["dim"], shape["bins"], shape["dropout"]
        self.subsampling = nn.Sequential(
            nn.Conv2d(1, dim, 3, 2, padding=(0, 1)), nn.ReLU(), nn.Conv2d(dim, dim, 3, 2, padding=(0, 1)), nn.ReLU()
        )
        self.project = nn.Linear(dim * math.ceil(math.ceil(bins / 2) / 2), dim)
        self.conformer = conformer_module().Conformer(
            input_dim=dim,
            num_heads=shape["heads"],
            ffn_dim=shape["ffn_dim"],
            num_layers=shape["depth"],
            depthwise_conv_kernel_size=shape["kernel_size"],
            dropout=dropout,
        )
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(dim, shape["vocab_size"])

    def forward(self, features: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, T', V) and numbers of frames (B,), for features (B, T, F) and frames (B,)."""
        x = self.subsampling(features[:, None])
        x = self.dropout(self.project(x.transpose(1, 2).flatten(2)))
        for _ in range(2):
            counts = (counts - 3) // 2 + 1
        x, counts = self.conformer(x, counts)
        return self.output(self.dropout(x)), counts


class SimilarLengths(Sampler[list[int]]):
    """Batches of utterances of similar lengths in random order; their size with padding is at most the budget."""

    def __init__(self, lengths: np.ndarray, budget: float) -> None:
        self.batches: list[list[int]] = []
        for row in np.argsort(-lengths, kind="stable").tolist():
            if not self.batches or lengths[self.batches[-1][0]] * (len(self.batches[-1]) + 1) > budget:
                self.batches.append([])
            self.batches[-1].append(row)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return (self.batches[index] for index in torch.randperm(len(self)).tolist())


def collate(rows: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return waveforms (B, N), their lengths (B,), concatenated targets (U,) and their lengths (B,)."""
    waves, targets = zip(*rows, strict=True)
    lengths, target_lengths = (torch.tensor([len(row) for row in part]) for part in (waves, targets))
    padded = nn.utils.rnn.pad_sequence(list(waves), batch_first=True)
    return padded.float() / 2**15, lengths, torch.cat(targets), target_lengths


def loader_of(job: dict[str, Any], utterances: Utterances) -> DataLoader:
    """Return batches of similar lengths within the job's seconds, or of random utterances."""
    rows = [utterances.row(index) for index in range(len(utterances))]
    if job["grouped"]:
        batches = SimilarLengths(utterances.lengths, job["batch_seconds"] * utterances.sample_rate)
        return DataLoader(rows, batch_sampler=batches, collate_fn=collate)
    return DataLoader(rows, job["batch_utterances"], shuffle=True, drop_last=True, collate_fn=collate)


def train(job: dict[str, Any]) -> dict[str, Any]:
    """Train until the time of the clock is over."""
    utterances = Utterances.load(job)
    front = LogMel(utterances.sample_rate, job["shape"]["bins"])
    model = Recogniser(job["shape"]).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=job["learning_rate"], weight_decay=0.0, fused=True)
    clock, over = TrainingClock(job), False
    loader = loader_of(job, utterances)
    while not over:
        for waves, lengths, targets, target_lengths in loader:
            features, counts = front(waves, lengths)
            with torch.autocast("cpu", torch.bfloat16, enabled=job["precision"] == "bf16"):
                logits, counts = model(features, counts)
            scores = logits.float().log_softmax(2).transpose(0, 1)
            total = functional.ctc_loss(scores, targets, counts, target_lengths, BLANK, reduction="sum")
            loss = total / (len(targets) + len(target_lengths))  # with an end for each transcript, as in tformer
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            seconds = (float(samples) / utterances.sample_rate for samples in (lengths.sum(), waves.numel()))
            over = clock.tick(*seconds, loss.detach())
            if over:
                break
    return clock.result() | {"parameters": sum(p.numel() for p in model.parameters() if p.requires_grad)}


def main() -> None:
    """Run `python torchaudio_conformer.py JOB.json`."""
    job, output = start()
    before = gemm_gflops()
    result = train(job)
    versions = {"torchaudio": importlib.metadata.version("torchaudio"), "torch": torch.__version__}
    facts = {"precision": job["precision"], "versions": versions}
    report(output, result | facts | {"gemm_gflops": [before, gemm_gflops()]})


if __name__ == "__main__":
    main()
