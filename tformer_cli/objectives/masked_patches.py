"""Masked patch prediction (Dosovitskiy et al. 2021, B.1.2): an encoder learns from images alone.

By default half of the patches are predicted. Of these, 80 % are replaced by a mask, 10 % by another patch of the image,
and 10 % are unchanged. The target of a patch is its mean colour, by default in 3 bits for each channel; the loss is the
cross-entropy.

Shapes: B images, N patches of an image, M patches to predict, C channels, S x S `image_size`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tformer_cli.config.schema import AttentionKind
from tformer_cli.data.core.device import to_device
from tformer_cli.data.image.augment import denormalise, uniforms
from tformer_cli.data.image.inputs import ImageBatch
from tformer_cli.models.patch_head import MaskedPatchModel
from tformer_cli.objectives.base import Lengths, Loss, Objective, with_settings

MASKING_STREAM = 65
"""Stream of the random numbers that select masked patches."""


@dataclass
class PatchPredictions:
    """The predictions for masked patches, and their targets.

    Attributes:
        scores: logits of colours, (M, colours), float32.
        targets: numbers of the colours, (M,), int64.
        indices: indices of the patches in all patches of the batch, (M,), int64, from 0 to B * N - 1.
    """

    scores: Tensor
    targets: Tensor
    indices: Tensor


class MaskedPatches(Objective[MaskedPatchModel, ImageBatch]):
    """Cross-entropy of the colours of masked patches; settings are read from the data's configuration."""

    def measure(self) -> str:
        """Return what the loss measures, see `Objective`."""
        config = self.data.config
        size = f"{config.model.patch_size} of {config.data.image_size} pixels"
        return with_settings(f"cross-entropy of the colours of masked patches, {size}", "patches", config.patches)

    def outputs(self, model: MaskedPatchModel, batch: ImageBatch) -> PatchPredictions:
        """Return the predictions for the patches that `masks` selects."""
        (images,) = self.data.inputs(batch, training=model.training)
        colours = self.colours(images)
        masked, sources, indices = (to_device(part, images.device) for part in self.masks(batch, colours.shape[1]))
        scores = model(images, masked, sources, indices).float()
        return PatchPredictions(scores, colours.flatten()[indices], indices)

    def loss(self, model: MaskedPatchModel, outputs: PatchPredictions, batch: ImageBatch) -> Loss:
        """Return the loss of the predictions, with the number of correct ones."""
        scores, targets = outputs.scores, outputs.targets
        total = functional.cross_entropy(scores, targets, reduction="sum", label_smoothing=self.smoothing(model))
        correct = (scores.argmax(1) == targets).sum()
        return Loss(total, torch.full((), len(targets), device=scores.device), {"right": correct})

    def lengths(self, outputs: PatchPredictions, batch: ImageBatch) -> Lengths:
        """Return None for the encoder, since all patches are real; there is no decoder."""
        return {AttentionKind.encoder: None}

    def example_counts(self, outputs: PatchPredictions, batch: ImageBatch) -> Tensor:
        """Return the number of patches to predict of each image, which is the same for all."""
        return torch.full_like(batch.sample_ids, len(outputs.targets) // len(batch.sample_ids))

    def masks(self, batch: ImageBatch, patches: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw the patches to predict from (seed, epoch, sample).

        Args:
            batch: the images.
            patches: number of patches N.

        Returns:
            Whether the mask replaces each patch, (B, N), bool; the index of the patch of the same image to use at each
            position, (B, N), int64; and the indices of the patches to predict among all B * N patches, (M,), int64.
        """
        shares = self.data.config.patches
        draws = uniforms(self.data.config.seed, batch.epoch, batch.sample_ids, 3 * patches, MASKING_STREAM)
        order, treatment, source = draws.chunk(3, dim=1)
        number = max(1, round(shares.share * patches))
        chosen = torch.zeros_like(order, dtype=torch.bool).scatter_(1, order.argsort(1)[:, :number], True)
        masked = chosen & (treatment < shares.mask)
        moved = chosen & ~masked & (treatment < shares.mask + shares.random)
        positions = torch.arange(patches, device=order.device).expand_as(order)
        sources = torch.where(moved, (source * patches).long(), positions)
        return masked, sources, chosen.flatten().nonzero()[:, 0]

    def colours(self, images: Tensor) -> Tensor:
        """Return each patch's mean colour in `patches.bits` for each channel, as one number.

        Args:
            images: (B, C, S, S), float32, normalised.

        Returns:
            (B, N), int64.
        """
        config = self.data.config
        bits = config.patches.bits
        mean = functional.avg_pool2d(denormalise(images, config.data), config.model.patch_size).flatten(2)  # (B, C, N)
        levels = (mean * 2**bits).long().clamp(0, 2**bits - 1)
        weights = 2 ** (bits * torch.arange(levels.shape[1], device=images.device).flip(0))
        return (levels * weights[:, None]).sum(1)
