"""Positions of the patches of an image, which form a grid, and of the [class] token before them.

One-dimensional schemes number the patches in raster order (row by row), after position 0 for [class] if there is one.
Two-dimensional schemes use rows and columns, (T, 2); [class] has row and column -1.

Shapes: B batch, T tokens (queries), S keys, D model width, H heads, K head width, R rows, C columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tformer_cli.config.schema import ABSOLUTE_POSITIONS, Combine, Positions
from tformer_cli.data.core.device import to_device
from tformer_cli.nn.positions import (
    PositionVectors,
    frequencies,
    index_vectors,
    rotate_pairs,
    sinusoidal_table,
    sinusoids,
)

INITIAL_STD = 0.02
"""Initial standard deviation of learned positions (Dosovitskiy et al. 2021, the authors' code)."""


def cells(grid: tuple[int, int], *, class_token: bool) -> Tensor:
    """Return row and column of each patch in raster order, (T, 2), int64; [class] comes first, with -1 and -1."""
    rows, columns = map(torch.arange, grid)
    patches = torch.cartesian_prod(rows, columns).view(-1, 2)
    return F.pad(patches, (0, 0, 1, 0), value=-1) if class_token else patches


class GridPositions(PositionVectors):
    """Absolute positions of patches.

    Learned: a vector for each cell, and one for [class] (Dosovitskiy et al. 2021, eq. 1). Learned_2d: half of the
    vector is learned for the row, half for the column (appendix D.4). Sinusoidal_2d: these halves are sinusoids, and
    the vector of [class] is zero (Chen et al. 2021, "MoCo v3"). Sinusoidal, learnable_sinusoidal, index: sinusoids, or
    the number, of the position in raster order.

    Args:
        scheme: position scheme; with a scheme that is not absolute this module is the identity.
        combine: whether the vectors are added to the embeddings or concatenated with them.
        dim: width D.
        grid: numbers of rows R and columns C.
        class_token: whether the first of all tokens is [class].

    Attributes:
        grid: numbers of rows and columns.
        class_token: whether the first of all tokens is [class].
    """

    def __init__(
        self, scheme: Positions, combine: Combine, dim: int, grid: tuple[int, int], *, class_token: bool
    ) -> None:
        super().__init__(scheme, combine, dim)
        self.grid, self.class_token = grid, class_token
        self.fixed: Tensor
        rows, columns = grid
        if scheme is Positions.learned:
            self.table = nn.Parameter(INITIAL_STD * torch.randn(rows, columns, dim))
        elif scheme is Positions.learned_2d:
            self.rows = nn.Parameter(INITIAL_STD * torch.randn(rows, dim // 2))
            self.columns = nn.Parameter(INITIAL_STD * torch.randn(columns, dim // 2))
        elif scheme is Positions.learnable_sinusoidal:
            self.frequency = nn.Parameter(frequencies(dim))
        elif scheme is Positions.index:
            self.register_buffer(
                "fixed", index_vectors(torch.arange(rows * columns + class_token), dim), persistent=False
            )
        elif scheme is Positions.sinusoidal:
            fixed = sinusoidal_table(rows * columns + class_token, dim)
            self.register_buffer("fixed", fixed, persistent=False)
        elif scheme is Positions.sinusoidal_2d:
            fixed = concatenated(sinusoidal_table(rows, dim // 2), sinusoidal_table(columns, dim // 2))
            self.register_buffer("fixed", F.pad(fixed, (0, 0, int(class_token), 0)), persistent=False)
        self.class_vector = None
        if class_token and scheme in (Positions.learned, Positions.learned_2d):
            self.class_vector = nn.Parameter(INITIAL_STD * torch.randn(dim))

    def vectors(self, length: int) -> Tensor:
        """Return the vectors of all `length` tokens, [class] first, then in raster order: (T, D)."""
        if self.scheme is Positions.learnable_sinusoidal:
            return sinusoids(torch.arange(length, device=self.frequency.device), self.frequency)
        if self.scheme in (Positions.index, Positions.sinusoidal, Positions.sinusoidal_2d):
            return self.fixed
        flat = self.table.flatten(0, 1) if self.scheme is Positions.learned else concatenated(self.rows, self.columns)
        return flat if self.class_vector is None else torch.cat((self.class_vector[None], flat))

    def forward(self, x: Tensor) -> Tensor:
        """Combine the embeddings of [class] and all patches with their positions: (B, T, D) to (B, T, D)."""
        return self.combined(x, self.vectors(x.shape[1])) if self.scheme in ABSOLUTE_POSITIONS else x


def concatenated(rows: Tensor, columns: Tensor) -> Tensor:
    """Concatenate the vectors of row and column of each cell in raster order: (R, E) and (C, E) to (R * C, 2E)."""
    shape = (len(rows), len(columns), -1)
    return torch.cat((rows[:, None].expand(shape), columns[None].expand(shape)), dim=-1).flatten(0, 1)


def rotate_2d(x: Tensor, positions: Tensor, base: float = 100.0) -> Tensor:
    """Apply rotary positions of a grid: half of a head is rotated by the row, half by the column (Heo et al. 2024).

    Args:
        x: queries or keys, (B, H, T, K) with K a multiple of 4.
        positions: rows and columns, (T, 2), int64; [class], with negative ones, is not rotated.
        base: wavelength base; the default is the paper's. Images have fewer rows than texts have tokens.

    Returns:
        (B, H, T, K), same dtype as `x`; computed in float32.

    Raises:
        ValueError: if K is not a multiple of 4.
    """
    if x.shape[-1] % 4:
        raise ValueError(f"rotary positions of a grid need a head width divisible by 4, not {x.shape[-1]}")
    rate = to_device(frequencies(x.shape[-1] // 2, base), x.device)
    angles = (positions.clamp(min=0)[..., None].float() * rate).flatten(-2)  # (T, 2, K / 4) to (T, K / 2)
    return rotate_pairs(x, angles)


class GridBias(nn.Module):
    """A learned bias for each head and difference of rows and columns, shared by a stack (Liu et al. 2021, eq. 4).

    With [class] each head has three more biases, as in the code of BEiT (Bao et al. 2022): from [class] to a patch,
    from a patch to [class], and from [class] to itself.
    """

    def __init__(self, heads: int, grid: tuple[int, int], *, class_token: bool) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(2 * grid[0] - 1, 2 * grid[1] - 1, heads))
        self.class_entries = nn.Parameter(torch.zeros(3, heads)) if class_token else None

    def forward(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        """Return the bias of the scores, (H, T, S), for rows and columns of queries (T, 2) and keys (S, 2)."""
        rows, columns, _ = self.table.shape
        offset = query_positions[:, None] - key_positions[None, :]  # (T, S, 2)
        index = (offset[..., 0] + rows // 2) * columns + offset[..., 1] + columns // 2
        entries = self.table.flatten(0, 1)
        if self.class_entries is not None:
            entries = torch.cat((entries, self.class_entries))
            from_class, to_class = query_positions[:, :1] < 0, key_positions[:, 0] < 0  # (T, 1), (S,)
            kind = from_class * 1 + to_class * 2  # 0: between patches
            index = torch.where(kind > 0, rows * columns + kind - 1, index)
        return entries[index].permute(2, 0, 1)


def resized(table: Tensor, shape: Sequence[int]) -> Tensor:
    """Resize a learned table to another grid by bicubic interpolation (Dosovitskiy et al. 2021, section 3.2).

    Args:
        table: (R, C, W), or (R, W) for one direction.
        shape: new numbers of rows and columns, or of rows alone.

    Returns:
        (*shape, W), of the dtype of `table`; `table` itself if it has that shape.
    """
    if table.shape[:-1] == tuple(shape):
        return table
    image = table.float().movedim(-1, 0)[None]  # (1, W, R[, C])
    if len(shape) == 1:
        return F.interpolate(image[..., None], (*shape, 1), mode="bicubic")[0, ..., 0].movedim(0, -1).to(table.dtype)
    return F.interpolate(image, tuple(shape), mode="bicubic")[0].movedim(0, -1).to(table.dtype)


def fitted(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with tables over grids resized to the grid of a model.

    Args:
        model: model, which may contain `GridPositions` and `GridBias`.
        weights: weights by their names in the model; other names are ignored.
    """
    fitting = dict(weights)
    for part, module in model.named_modules():
        if isinstance(module, (GridPositions, GridBias)):
            for table in ("table", "rows", "columns"):
                name, parameter = f"{part}.{table}", getattr(module, table, None)
                if parameter is not None and name in weights and weights[name].dim() == parameter.dim():
                    fitting[name] = resized(weights[name], parameter.shape[:-1])
    return fitting
