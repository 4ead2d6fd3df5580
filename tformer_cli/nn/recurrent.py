"""Recurrent layers over padded sequences: LSTM (Hochreiter and Schmidhuber 1997) and GRU (Cho et al. 2014).

Padding never changes a result. The forward direction reads it last. The backward direction reads each sequence reversed
within its length, so that it reads padding last too. Packed sequences are not used on a CPU, since torch then computes
each step on its own, which took 1.3 to 1.9 times as long (docs/recurrent.md).

Autocast is off in recurrent layers (`full_precision`): states are float32 in every precision of a run, because rounding
errors add up over the steps. On a GPU, products of float32 may use TF32, as in the rest of the program.

Shapes: B sequences, T steps, I inputs, D units of a layer, M outputs of an encoder layer (D, or 2D if it is
bidirectional), L layers, R rows (hypotheses) of a sequence, P parts of a layer's state: h and c of an LSTM, h of a GRU.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tformer_cli.config.schema import Cell
from tformer_cli.nn.dropout import Dropout

LayerState = tuple[Tensor, ...]
"""The state of a layer: h, and c of an LSTM; (..., D) each."""
States = list[LayerState]
"""The states of all layers."""

SATURATING_INPUT = 1e4
"""Size of a gate's input at which the gate is exactly 0 or 1 in float32."""


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Return a context without autocast on the device of `x`, so that float32 stays float32."""
    return torch.autocast(x.device.type, enabled=False)


def parts_of(cell: Cell) -> int:
    """Return the number of parts P of a layer's state."""
    return 2 if cell is Cell.lstm else 1


def flipped(lengths: Tensor, size: int) -> Tensor:
    """Return the indices that flip each sequence and leave its padding in place.

    Args:
        lengths: number of real steps of each sequence, (B,).
        size: number of steps T.

    Returns:
        (B, T), int64; they are their own inverse.
    """
    steps = torch.arange(size, device=lengths.device)
    return torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)


def gather_steps(x: Tensor, indices: Tensor) -> Tensor:
    """Return the steps `indices` (B, T) of x (B, S, I) as (B, T, I)."""
    return x.gather(1, indices[:, :, None].expand(-1, -1, x.shape[2]))


class RecurrentLayer(nn.Module):
    """One recurrent layer in one direction, for complete sequences and for single steps with the same weights.

    Args:
        cell: LSTM or GRU, in the parametrisation of torch.
        inputs: number of inputs I.
        dim: number of units D.
    """

    def __init__(self, cell: Cell, inputs: int, dim: int) -> None:
        super().__init__()
        self.rnn = (nn.LSTM if cell is Cell.lstm else nn.GRU)(inputs, dim, batch_first=True)

    @property
    def weights(self) -> Sequence[Tensor]:
        """The weights of inputs (G D, I) and of h (G D, D), and two biases (G D,), for G gates in torch's order."""
        return self.rnn.all_weights[0]

    def initialise(self) -> None:
        """Initialise input weights Glorot-uniform, recurrent weights orthogonal, biases 0; the forget gate's bias is 1.

        Sources: Glorot and Bengio (2010), Saxe et al. (2014), Jozefowicz et al. (2015, section 2.2). The matrix of each
        gate is initialised separately.
        """
        dim, (inputs, recurrent, *biases) = self.rnn.hidden_size, self.weights
        for matrix in inputs.split(dim):
            nn.init.xavier_uniform_(matrix)
        for matrix in recurrent.split(dim):
            nn.init.orthogonal_(matrix)
        for bias in biases:
            nn.init.zeros_(bias)
        if isinstance(self.rnn, nn.LSTM):
            nn.init.ones_(biases[0][dim : 2 * dim])

    def zero_state(self, x: Tensor) -> LayerState:
        """Return the state before the first step, zeros (B, D), in the type of x (B, ...)."""
        zeros = x.new_zeros(len(x), self.rnn.hidden_size)
        return (zeros, zeros) if isinstance(self.rnn, nn.LSTM) else (zeros,)

    def forward(self, x: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """Return h of all steps, (B, T, D), and the state after them, for inputs (B, T, I) and the first state."""
        first = [part[None].contiguous() for part in state]
        outputs, last = self.rnn(x, tuple(first) if len(first) == 2 else first[0])
        return outputs, tuple(part[0] for part in (last if isinstance(last, tuple) else (last,)))

    def padded(self, x: Tensor, lengths: Tensor, host_lengths: Tensor) -> tuple[Tensor, LayerState]:
        """Read sequences from a state of zeros.

        Args:
            x: inputs, (B, T, I), padded at the end.
            lengths: number of real steps of each sequence, (B,).
            host_lengths: the same numbers on the CPU.

        Returns:
            h of all steps, (B, T, D), which is arbitrary on padding; and the state after each sequence's last real
            step, (B, D) each, which is zero for a sequence of length 0.
        """
        if x.device.type != "cpu":
            outputs, last = self._packed(x, host_lengths)
        else:
            outputs, cell = self._with_cell(x, lengths) if isinstance(self.rnn, nn.LSTM) else self._without_cell(x)
            last = (gather_steps(outputs, (lengths - 1).clamp(min=0)[:, None])[:, 0], *cell)
        return outputs, tuple(part * (lengths > 0)[:, None] for part in last)

    def _packed(self, x: Tensor, host_lengths: Tensor) -> tuple[Tensor, LayerState]:
        """Return h of all steps and the final state, from packed sequences; a length of 0 is treated as 1."""
        packed = pack_padded_sequence(x, host_lengths.clamp(min=1), batch_first=True, enforce_sorted=False)
        outputs, last = self.rnn(packed)
        outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=x.shape[1])
        return outputs, tuple(part[0] for part in (last if isinstance(last, tuple) else (last,)))

    def _without_cell(self, x: Tensor) -> tuple[Tensor, LayerState]:
        """Return h of all steps of a GRU, whose state has no other part."""
        return self(x, self.zero_state(x))[0], ()

    def _with_cell(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, LayerState]:
        """Return h of all steps and c after the last real one, (B, D), of an LSTM.

        torch returns c of the last step only. An additional input, which is 1 on padding, closes the input gate and
        opens the forget gate, so that padding leaves c as it is.
        """
        dim, (inputs, *others) = self.rnn.hidden_size, self.weights
        padding = torch.arange(x.shape[1], device=x.device) >= lengths[:, None]
        gates = x.new_zeros(4 * dim, 1)
        gates[:dim], gates[dim : 2 * dim] = -SATURATING_INPUT, SATURATING_INPUT
        zeros = x.new_zeros(1, len(x), dim)
        outputs, _, cell = torch.lstm(
            torch.cat((x, padding[:, :, None].to(x.dtype)), 2), (zeros, zeros),
            (torch.cat((inputs, gates), 1), *others),
            True, 1, 0.0, self.training, False, True,
        )  # fmt: skip
        return outputs, (cell[0],)

    def step(self, x: Tensor, state: LayerState) -> LayerState:
        """Return the state (N, D) after one more input (N, I)."""
        if len(state) == 2:
            return torch.lstm_cell(x, state, *self.weights)
        return (torch.gru_cell(x, state[0], *self.weights),)


class RecurrentStack(nn.Module):
    """Recurrent layers from left to right, for decoders and language models.

    Args:
        cell: LSTM or GRU.
        inputs: number of inputs I of the first layer.
        dim: number of units D of each layer.
        depth: number of layers L.
        dropout: dropout rate of the inputs of all layers but the first.
        context: number of additional inputs C that every layer reads at every step.
    """

    def __init__(self, cell: Cell, inputs: int, dim: int, depth: int, dropout: float, context: int = 0) -> None:
        super().__init__()
        layers = [RecurrentLayer(cell, (dim if number else inputs) + context, dim) for number in range(depth)]
        self.blocks: Sequence[RecurrentLayer] = cast(Any, nn.ModuleList(layers))
        self.dropout = Dropout(dropout)

    def zero_states(self, x: Tensor) -> States:
        """Return states of zeros, (B, D) each, in the type of x (B, ...)."""
        return [block.zero_state(x) for block in self.blocks]

    def forward(self, x: Tensor, states: States, context: Tensor | None = None) -> tuple[Tensor, States]:
        """Take all steps at once.

        Args:
            x: inputs, (B, T, I).
            states: states before the first step, (B, D) each.
            context: additional inputs of every layer at every step, (B, C).

        Returns:
            h of the last layer for all steps, (B, T, D); and the states after the last step.
        """
        after = States()
        for number, (block, state) in enumerate(zip(self.blocks, states, strict=True)):
            x = self.dropout(x) if number else x
            if context is not None:
                x = torch.cat((x, context[:, None].expand(-1, x.shape[1], -1)), 2)
            x, last = block(x, state)
            after.append(last)
        return x, after

    def step(self, x: Tensor, states: States, context: Tensor | None = None) -> States:
        """Return the states after one more input.

        Args:
            x: inputs, (B, R, I).
            states: states, (B, R, D) each.
            context: additional inputs of every layer, (B, C).
        """
        after, shape = States(), x.shape[:2]
        for number, (block, state) in enumerate(zip(self.blocks, states, strict=True)):
            x = self.dropout(x) if number else x
            if context is not None:
                x = torch.cat((x, context[:, None].expand(-1, shape[1], -1)), 2)
            new = block.step(x.flatten(0, 1), tuple(part.flatten(0, 1) for part in state))
            after.append(tuple(part.view(*shape, -1) for part in new))
            x = after[-1][0]
        return after


class EncoderLayer(nn.Module):
    """A recurrent layer over complete sequences, in one direction or in both (Schuster and Paliwal 1997).

    Args:
        cell: LSTM or GRU.
        inputs: number of inputs I.
        dim: number of units D of each direction.
        bidirectional: whether a second layer reads each sequence from its end.
    """

    def __init__(self, cell: Cell, inputs: int, dim: int, *, bidirectional: bool) -> None:
        super().__init__()
        self.forward_layer = RecurrentLayer(cell, inputs, dim)
        self.backward_layer = RecurrentLayer(cell, inputs, dim) if bidirectional else None

    def forward(self, x: Tensor, lengths: Tensor, host_lengths: Tensor, flip: Tensor) -> tuple[Tensor, LayerState]:
        """Read sequences.

        Args:
            x: inputs, (B, T, I), padded at the end.
            lengths: number of real steps of each sequence, (B,).
            host_lengths: the same numbers on the CPU.
            flip: result of `flipped` for the lengths, (B, T).

        Returns:
            h of each step, [forward; backward], (B, T, M); and the final states, [forward; backward], (B, M) each. The
            backward direction ends at the first step.
        """
        outputs, final = self.forward_layer.padded(x, lengths, host_lengths)
        if self.backward_layer is None:
            return outputs, final
        backward, first = self.backward_layer.padded(gather_steps(x, flip), lengths, host_lengths)
        both = torch.cat((outputs, gather_steps(backward, flip)), 2)
        return both, tuple(torch.cat(pair, 1) for pair in zip(final, first, strict=True))


class RecurrentEncoderStack(nn.Module):
    """Recurrent layers over complete sequences, in one direction or in both.

    Args:
        cell: LSTM or GRU.
        inputs: number of inputs I of the first layer.
        dim: number of units D of each direction.
        depth: number of layers L.
        bidirectional: whether each layer reads the sequences from their ends too.
        dropout: dropout rate of the inputs of all layers but the first.
    """

    def __init__(self, cell: Cell, inputs: int, dim: int, depth: int, *, bidirectional: bool, dropout: float) -> None:
        super().__init__()
        self.width = 2 * dim if bidirectional else dim
        widths = [inputs, *[self.width] * (depth - 1)]
        layers = [EncoderLayer(cell, width, dim, bidirectional=bidirectional) for width in widths]
        self.blocks: Sequence[EncoderLayer] = cast(Any, nn.ModuleList(layers))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Read sequences.

        Args:
            x: inputs, (B, T, I), padded at the end.
            lengths: number of real steps of each sequence, (B,).

        Returns:
            h of the last layer, (B, T, M), arbitrary on padding; and the final states of all layers, (B, L, P, M).
        """
        host_lengths = lengths.cpu()  # waits for a GPU, therefore once for all layers
        flip, finals = flipped(lengths, x.shape[1]), []
        for number, block in enumerate(self.blocks):
            x, final = block(self.dropout(x) if number else x, lengths, host_lengths, flip)
            finals.append(torch.stack(final, 1))
        return x, torch.stack(finals, 1)
