"""Adversarial losses: a generator against a discriminator (Goodfellow et al. 2014), with hinge losses.

    L_D = E_x[max(0, 1 - D(x, y))] + E_z[max(0, 1 + D(G(z, y'), y'))]
    L_G = -E_z[D(G(z, y'), y')]                                                       (Zhang et al. 2019, eq. 4)

Noise z and labels y' depend only on (seed, epoch, sample), as all random numbers do. A step is therefore the same for
any division into micro-batches and ranks. Evaluation has noise of its own, which the networks do not see in training.

Shapes: B images, C channels, H and W their height and width, Z width of the noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tformer_cli.data.core.uniforms import normals, uniforms
from tformer_cli.data.image.dataset import LabelledImageBatch
from tformer_cli.data.image.inputs import ImageBatch
from tformer_cli.models.interfaces import Adversaries
from tformer_cli.objectives.base import Loss, Objective

NOISE_STREAM, LABEL_STREAM, EVALUATION_STREAM = 65, 66, 67
"""Streams of the random numbers of noise in training, of labels, and of noise in evaluation."""

Pictures = ImageBatch | LabelledImageBatch


@dataclass(frozen=True)
class Scores:
    """The discriminator's scores of real and generated images, (B,) each, float32."""

    real: Tensor
    generated: Tensor


def noise_of(model: Adversaries, seed: int, epoch: int, samples: Tensor, stream: int = NOISE_STREAM) -> Tensor:
    """Return the noise of samples (B,), (B, Z): normally distributed, and the same in any batch."""
    return normals(seed, epoch, samples, model.generator.noise_dim, stream)


def labels_of(model: Adversaries, seed: int, epoch: int, samples: Tensor) -> Tensor | None:
    """Return uniformly drawn labels of samples (B,), (B,) int64; None: the model has no labels."""
    if not model.labels:
        return None
    return (uniforms(seed, epoch, samples, 1, LABEL_STREAM)[:, 0].double() * model.labels).long()


class AdversarialObjective(Objective[Any, Pictures]):
    """An objective of one of the two networks; it generates one image for each real image of the batch."""

    def measure(self) -> str:
        """Return "": each model is scored by its own discriminator."""
        return ""

    def generated(self, model: Adversaries, batch: Pictures) -> tuple[Tensor, Tensor | None]:
        """Return generated images, (B, C, H, W), and their labels, (B,), if the model has labels."""
        images = batch.images if isinstance(batch, LabelledImageBatch) else batch
        drawn = (self.data.config.seed, images.epoch, images.draws)
        labels = labels_of(model, *drawn)
        noise = noise_of(model, *drawn, NOISE_STREAM if model.training else EVALUATION_STREAM)
        return model.generator(noise, labels), labels


class DiscriminatorHinge(AdversarialObjective):
    """The hinge loss of the discriminator L_D; its parts are the mean scores of real and of generated images."""

    def outputs(self, model: Adversaries, batch: Pictures) -> Scores:
        """Return the scores of real and generated images; the generator gets no gradient."""
        (real,) = self.data.inputs(batch, training=model.training)  # pyright: ignore[reportAttributeAccessIssue]
        with torch.no_grad():
            generated, labels = self.generated(model, batch)
        if labels is not None and isinstance(batch, LabelledImageBatch):
            labels = torch.cat((batch.targets, labels))
        # Both in one pass, which is faster: nothing in the discriminator depends on the batch.
        return Scores(*model.discriminator(torch.cat((real, generated)), labels).chunk(2))

    def loss(self, model: Adversaries, outputs: Scores, batch: Pictures) -> Loss:
        """Return L_D, summed over the batch."""
        total = F.relu(1 - outputs.real).sum() + F.relu(1 + outputs.generated).sum()
        count = torch.full((), len(outputs.real), device=total.device)
        return Loss(total, count, {"real": outputs.real.sum(), "generated": outputs.generated.sum()})


class GeneratorHinge(AdversarialObjective):
    """The hinge loss of the generator L_G."""

    def outputs(self, model: Adversaries, batch: Pictures) -> Tensor:
        """Return the scores of generated images, (B,)."""
        return model.discriminator(*self.generated(model, batch))

    def loss(self, model: Adversaries, outputs: Tensor, batch: Pictures) -> Loss:
        """Return L_G, summed over the batch."""
        return Loss(-outputs.sum(), torch.full((), len(outputs), device=outputs.device))
