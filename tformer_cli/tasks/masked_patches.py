"""Masked patch prediction: a Vision Transformer that learns from pictures alone (Dosovitskiy et al. 2021, B.1.2).

Half of the patches are to be predicted; of these 80 % become the mask, 10 % another patch of the picture, 10 % stay.
What is predicted is the patch's mean colour in 3 bits a channel.

Shapes: B pictures, N patches a picture, M patches to predict, S `image_size`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tformer_cli.data.image.augment import denormalise, uniforms
from tformer_cli.errors import ConfigError
from tformer_cli.evaluators.base import spread
from tformer_cli.models.vit.model import ViTForMaskedPatches
from tformer_cli.tasks.base import Evaluation, Gallery, Loss, Prediction, Sample, Scoring, summed_loss
from tformer_cli.tasks.images import ImageBatch, ImageTask
from tformer_cli.tasks.registry import MaskedPatchesExperiment

MASKING_STREAM = 65
"""Of random numbers: which patches are hidden, and how."""
SHOWN = 6
"""Pictures that are shown with their gaps filled in."""


class MaskedPatches(ImageTask[ViTForMaskedPatches, ImageBatch]):
    """The adapter between pictures and an encoder that guesses the colours of hidden patches."""

    labelled = False
    scores_examples = False
    metric = "accuracy"
    lower_is_better = frozenset({"loss", "perplexity"})
    config: MaskedPatchesExperiment

    def collate(self, split: str, epoch: int, rows: np.ndarray) -> ImageBatch:
        """A batch of the given rows."""
        rows = np.asarray(rows, np.int64)
        return ImageBatch(torch.from_numpy(rows), *self._pixels(split, rows), epoch, None)

    def model(self) -> ViTForMaskedPatches:
        """A new encoder and head."""
        config, channels = self.config, self.config.data.channels
        return ViTForMaskedPatches(
            config.model, config.data.image_size, channels, 2 ** (config.patches.bits * channels)
        )

    def _hidden(self, batch: ImageBatch, patches: int) -> tuple[Tensor, Tensor, Tensor]:
        """What is hidden in each picture, in evaluation always the same.

        Returns:
            Which patches become the mask, (B, N) bool; which patch stands at each place, (B, N) int64; and the places
            to predict, in the flat (B * N), (M,) int64.
        """
        shares = self.config.patches
        draws = uniforms(self.config.seed, batch.epoch, batch.sample_ids, 3 * patches, MASKING_STREAM)
        order, kind, other = draws.chunk(3, dim=1)
        number = max(1, round(shares.share * patches))
        chosen = torch.zeros_like(order, dtype=torch.bool).scatter_(1, order.argsort(1)[:, :number], True)
        masked = chosen & (kind < shares.mask)
        moved = chosen & ~masked & (kind < shares.mask + shares.random)
        here = torch.arange(patches, device=order.device).expand_as(order)
        shown = torch.where(moved, (other * patches).long(), here)
        return masked, shown, chosen.flatten().nonzero()[:, 0]

    def colours(self, images: Tensor) -> Tensor:
        """Each patch's mean colour in `bits` a channel, as one number, (B, channels, S, S) to (B, N) int64."""
        bits, patch = self.config.patches.bits, self.config.model.patch_size
        mean = functional.avg_pool2d(denormalise(images, self.config.data), patch).flatten(2)  # (B, channels, N)
        levels = (mean * 2**bits).long().clamp(0, 2**bits - 1)
        weights = 2 ** (bits * torch.arange(levels.shape[1], device=images.device).flip(0))
        return (levels * weights[:, None]).sum(1)

    def _guess(self, model: ViTForMaskedPatches, images: Tensor, batch: ImageBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Scores of colours (M, colours), the right ones (M,), and the places (M,)."""
        colours = self.colours(images)
        masked, shown, places = (part.to(images.device) for part in self._hidden(batch, colours.shape[1]))
        return model(images, masked, shown, places).float(), colours.flatten()[places], places

    def loss(self, model: ViTForMaskedPatches, batch: ImageBatch) -> Loss:
        """Cross-entropy of the colours to predict; summed."""
        scores, targets, _ = self._guess(model, self._inputs(model, batch), batch)
        total = functional.cross_entropy(scores, targets, reduction="sum", label_smoothing=self._smoothing(model))
        right = (scores.argmax(1) == targets).sum()
        return Loss(total, torch.tensor(len(targets), device=scores.device), {"right": right})

    def evaluate(self, model: ViTForMaskedPatches, split: str, scoring: Scoring) -> Evaluation:
        """Share of the colours that are guessed, and perplexity."""
        sums, count = summed_loss(self, model, split)
        loss = sums["loss"] / count
        scores = {"loss": loss, "perplexity": math.exp(min(loss, 100)), "accuracy": 100 * sums["right"] / count}
        images = self._split(split)
        evaluation = Evaluation(scores, data_sha256=images.hash, notes=list(images.notes))
        if scoring.samples:
            evaluation.pictures["patches"] = self._filled(model, split)
        for row in spread(len(images), scoring.samples):
            batch = self.collate(split, 0, np.array([row])).to(next(model.parameters()).device)
            guessed, right, _ = self._guess(model, self._centers(batch.pixels, batch.shapes), batch)
            num_correct = int((guessed.argmax(1) == right).sum())
            evaluation.samples.append(Sample(images.names[row], f"{len(right)} hidden patches", f"{num_correct} right"))
        return evaluation

    def predict(self, model: ViTForMaskedPatches, inputs: Iterable[Any]) -> Iterator[Prediction]:
        """There is nothing to say of a picture.

        Raises:
            ConfigError: always, if there is an input.
        """
        for _ in inputs:
            raise ConfigError(
                "a model of masked patches has no answer to a picture",
                "fine-tune it: tformer finetune vit/folder --from RUN",
            )
        yield from ()

    def _filled(self, model: ViTForMaskedPatches, split: str) -> Gallery:
        """Pictures, the same with what is hidden in grey, and with the guessed colours there."""
        rows = np.array(spread(len(self._split(split)), SHOWN), np.int64)
        batch = self.collate(split, 0, rows).to(next(model.parameters()).device)
        images = self._centers(batch.pixels, batch.shapes)
        scores, _, places = self._guess(model, images, batch)
        bits, channels, patch = self.config.patches.bits, images.shape[1], self.config.model.patch_size
        rows_of_patches, columns = (side // patch for side in images.shape[2:])
        guessed = scores.argmax(1)
        shifts = bits * torch.arange(channels, device=guessed.device).flip(0)
        levels = (guessed[:, None] >> shifts) & (2**bits - 1)  # (M, channels)
        tiles = np.stack(self._visible(images)).reshape(len(rows), rows_of_patches, patch, columns, patch, channels)
        hidden, filled = (tiles.swapaxes(2, 3).reshape(-1, patch, patch, channels).copy() for _ in range(2))
        at = places.cpu().numpy()
        hidden[at] = 128
        filled[at] = (((levels.float() + 0.5) * 255 / 2**bits).cpu().numpy()[:, None, None, :]).astype(np.uint8)
        shown = []
        for part in (tiles.swapaxes(2, 3), hidden, filled):
            whole = part.reshape(len(rows), rows_of_patches, columns, patch, patch, channels).swapaxes(2, 3)
            shown.append(whole.reshape(len(rows), *images.shape[2:], channels))
        images_shown = [part[row] for row in range(len(rows)) for part in shown]
        captions = ["picture", "hidden", "guessed"] * len(rows)
        return Gallery(images_shown, captions, [None] * len(images_shown), columns=6)
