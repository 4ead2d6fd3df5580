"""Vision Transformer (Dosovitskiy et al. 2021): a Transformer encoder over the patches of an image.

    z_0  = [x_class; x_1 E; x_2 E; ...; x_N E] + E_pos              (eq. 1)
    z'_l = MSA(LN(z_{l-1})) + z_{l-1},         l = 1 ... L          (eq. 2)
    z_l  = MLP(LN(z'_l)) + z'_l,               l = 1 ... L          (eq. 3)
    y    = LN(z_L^0)                                                (eq. 4)

Shapes: B images; C channels; S height and width in pixels (they may differ); P height and width of a patch. N patches;
    T tokens (N, and 1 for [class]); D model width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from tformer_cli.config.family import Sizes
from tformer_cli.config.schema import GRID_POSITIONS, Pooling, Positions, height_width
from tformer_cli.errors import RunError
from tformer_cli.models.decoding import Memory
from tformer_cli.models.image_head import lecun_normal
from tformer_cli.models.interfaces import PixelFilters
from tformer_cli.models.resnet import BatchOrGroup
from tformer_cli.models.resnet.model import Convolution, ResNet
from tformer_cli.models.vit import Stem, ViTConfig
from tformer_cli.nn.attention import EVERYTHING, Attention
from tformer_cli.nn.block import Stack
from tformer_cli.nn.dropout import Dropout
from tformer_cli.nn.feedforward import FeedForward
from tformer_cli.nn.grid import GridBias, GridPositions, cells, fitted

BIAS_STD = 1e-6
"""Standard deviation of initial biases of feed-forward layers (the authors' code)."""


def initialise(module: nn.Module) -> None:
    """Initialise a module as the authors' code does.

    Projections are Glorot-uniform; query, key and value projections are initialised separately. Biases are zero in
    attention layers and very small in feed-forward layers.
    """
    if isinstance(module, Attention):
        layers = {module.project_qkv: 3, module.project_out: 1}
    elif isinstance(module, FeedForward):
        layers = {module.project_in: 2 if module.gated else 1, module.project_out: 1}
    else:
        return
    for layer, parts in layers.items():
        for weight in layer.weight.chunk(parts):
            nn.init.xavier_uniform_(weight)
        if layer.bias is not None:
            nn.init.normal_(layer.bias, std=BIAS_STD if isinstance(module, FeedForward) else 0.0)


class ConvolutionalStem(nn.Sequential):
    """3x3 convolutions with stride 2 (Xiao et al. 2021, section 4); the last 1x1 convolution is `Patches`.

    Args:
        channels: channels C of the images.
        dim: channels of the first convolution; each of the others has twice as many as the one before it.
        patch_size: size P of a patch, a power of 2.

    Attributes:
        width: output channels.
    """

    def __init__(self, channels: int, dim: int, patch_size: int) -> None:
        super().__init__()
        self.width = channels
        for number in range(patch_size.bit_length() - 1):
            self.append(Convolution(self.width, dim * 2**number, 3, BatchOrGroup.batch, stride=2))
            self.append(nn.ReLU())
            self.width = dim * 2**number


class Patches(nn.Module):
    """The linear embedding x_p E of the patches of an image or of a feature map (section 3.1).

    Args:
        channels: channels C.
        size: height and width P of a patch, in pixels or in cells of the map.
        dim: width D of an embedding.
    """

    def __init__(self, channels: int, size: int, dim: int) -> None:
        super().__init__()
        self.size = size
        self.project = nn.Linear(channels * size * size, dim)
        lecun_normal(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Embed the patches of images, (B, C, rows * P, columns * P) to (B, N, D), row by row."""
        patches = images.unflatten(3, (-1, self.size)).unflatten(2, (-1, self.size))  # (B, C, rows, P, columns, P)
        return self.project(patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2))


class ViT(nn.Module):
    """The encoder of a Vision Transformer.

    Args:
        config: settings of the model.
        image_size: size of an image in pixels: the side of a square, or height and width.
        channels: channels C of an image.

    Attributes:
        stack_inputs: submodules that count as the layer below the blocks (`train.layers.layer_scales`).
        grid: numbers of rows and columns of patches.
    """

    stack_inputs: ClassVar[dict[str, tuple[str, ...]]] = dict.fromkeys(
        ("class_token", "positions", "stem", "patches"), ("stack",)
    )

    def __init__(self, config: ViTConfig, image_size: int | Sequence[int], channels: int) -> None:
        super().__init__()
        self.config = config
        height, width = height_width(image_size)
        self.grid = (height // config.patch_pixels, width // config.patch_pixels)
        self.class_token = nn.Parameter(torch.zeros(config.dim)) if config.class_token else None
        self.positions = GridPositions(
            config.positions, config.combine, config.dim, self.grid, class_token=config.class_token
        )
        self.stem = nn.Identity()
        size = config.patch_size
        if config.stem is Stem.convolutions:
            self.stem = ConvolutionalStem(channels, config.stem_dim, config.patch_size)
            channels, size = self.stem.width, 1
        elif config.stem is Stem.resnet:
            self.stem = ResNet(config.resnet, channels)
            channels = self.stem.width
        self.patches = Patches(channels, size, config.dim)
        self.dropout = Dropout(config.dropout)
        relative = config.positions is Positions.relative_2d
        bias = GridBias(config.heads, self.grid, class_token=config.class_token) if relative else None
        self.stack = Stack(config, config.depth, bias=bias)
        self.apply(initialise)
        indices = cells(self.grid, class_token=config.class_token)
        if config.positions not in GRID_POSITIONS:
            indices = torch.arange(len(indices))
        self.indices: Tensor
        self.register_buffer("indices", indices, persistent=False)

    def embed(self, images: Tensor) -> Tensor:
        """Return the embeddings of patches, (B, N, D), for images (B, C, S, S), float32."""
        return self.patches(self.stem(images))

    def transform(self, patches: Tensor, first: int | None = None) -> Tensor:
        """Return the hidden states of all tokens, or of the `first` ones.

        Args:
            patches: outputs of `embed`, some of which may have been replaced, (B, N, D).
            first: number of first tokens to return hidden states of; None: all.

        Returns:
            (B, T, D), [class] first, or (B, first, D).
        """
        x = patches
        if self.class_token is not None:
            x = torch.cat((self.class_token.to(x.dtype).expand(len(x), 1, -1), x), dim=1)
        return self.stack(self.dropout(self.positions(x)), positions=(self.indices, self.indices), first=first)

    def forward(self, images: Tensor, first: int | None = None) -> Tensor:
        """Return hidden states for images (B, C, S, S), float32; see `transform`."""
        return self.transform(self.embed(images), first)

    @property
    def width(self) -> int:
        """The width D of the hidden states."""
        return self.config.dim

    def encode(self, images: Tensor) -> Memory:
        """Encode images, (B, C, S, S), float32: the memory is the states of all tokens (B, T, D), [class] first."""
        states = self(images)
        return Memory(states, EVERYTHING, torch.full(states.shape[:1], states.shape[1], device=states.device))

    def vector(self, images: Tensor, pooling: Pooling) -> Tensor:
        """Return the vector of [class], or the mean of all patches (section 3.1, appendix D.3).

        Args:
            images: (B, C, S, S), float32.
            pooling: whether the [class] token or the mean of the patches is used.

        Returns:
            (B, D).
        """
        if pooling is Pooling.cls:
            return self(images, first=1)[:, 0]
        return self(images)[:, -math.prod(self.grid) :].mean(1)

    def pixel_filters(self) -> PixelFilters:
        """Return the filters of the patch embedding, or of the first convolution of the stem if there is one."""
        if isinstance(self.stem, ResNet):
            return self.stem.pixel_filters()
        for layer in self.stem.modules():
            if isinstance(layer, nn.Conv2d):
                return PixelFilters(layer.weight, of_patches=False)
        weights, size = self.patches.project.weight, self.patches.size
        return PixelFilters(weights.view(len(weights), -1, size, size), of_patches=True)

    @staticmethod
    def fit(model: nn.Module, checkpoint: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of a checkpoint for a model at another resolution.

        Learned positions are resized (section 3.2). For a model without a [class] token, the token's weights are left
        out.

        Args:
            model: the new model; its `encoder` is a Vision Transformer.
            checkpoint: weights by name.

        Raises:
            RunError: if the new model has a [class] token and the checkpoint has none.
        """
        weights, parameters = fitted(model, checkpoint), model.state_dict()
        of_class = {f"encoder.{name}" for name in ("class_token", "positions.class_vector", "stack.bias.class_entries")}
        if "encoder.class_token" in parameters and "encoder.class_token" not in checkpoint:
            raise RunError("the model to start from has no [class] token", "model.class_token=false head.pooling=mean")
        return {name: value for name, value in weights.items() if name in parameters or name not in of_class}


def build(config: ViTConfig, sizes: Sizes) -> ViT:
    """Return an encoder for images of the size of the data."""
    return ViT(config, sizes.image_size, sizes.channels)
