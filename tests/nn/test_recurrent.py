"""Recurrent layers are those of torch, on packed sequences, and padding is never read."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tformer_cli.config.schema import Cell
from tformer_cli.nn.recurrent import (
    RecurrentEncoderStack,
    RecurrentLayer,
    RecurrentStack,
    flipped,
    full_precision,
    parts_of,
)

INPUTS, DIM, DEPTH = 5, 4, 2
LENGTHS = torch.tensor([6, 1, 4])
DTYPES = {torch.float64: 1e-12, torch.float32: 2e-6}
"""Tolerance by type; a CPU computes LSTMs of float32 by another library."""


def torch_layers(cell: Cell, **settings) -> nn.LSTM | nn.GRU:
    return (nn.LSTM if cell is Cell.lstm else nn.GRU)(INPUTS, DIM, DEPTH, batch_first=True, **settings)


def copy_layer(layer: RecurrentLayer, module: nn.Module, suffix: str) -> None:
    """Copy the weights of a layer of torch, which names them by a suffix."""
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        getattr(layer.rnn, f"{name}_l0").data.copy_(getattr(module, name + suffix).data)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cell", Cell)
def test_a_stack_equals_torchs_layers_and_its_steps(cell: Cell, dtype: torch.dtype) -> None:
    reference, stack = torch_layers(cell).to(dtype), RecurrentStack(cell, INPUTS, DIM, DEPTH, 0.0).to(dtype)
    for number, layer in enumerate(stack.blocks):
        copy_layer(layer, reference, f"_l{number}")
    x = torch.randn(3, 6, INPUTS, dtype=dtype)
    first = [tuple(torch.randn(3, DIM, dtype=dtype) for _ in range(parts_of(cell))) for _ in range(DEPTH)]
    stacked = tuple(torch.stack(parts) for parts in zip(*first, strict=True))
    expected, _ = reference(x, stacked if cell is Cell.lstm else stacked[0])
    atol = DTYPES[dtype]
    outputs, after = stack(x, first)
    torch.testing.assert_close(outputs, expected, atol=atol, rtol=atol)
    states = [tuple(part[:, None] for part in layer) for layer in first]
    for step in range(6):
        states = stack.step(x[:, step : step + 1], states)
        torch.testing.assert_close(states[-1][0][:, 0], expected[:, step], atol=atol, rtol=atol)
    for state, end in zip(states, after, strict=True):
        torch.testing.assert_close(tuple(part[:, 0] for part in state), end, atol=atol, rtol=atol)


def packed(module: nn.LSTM | nn.GRU, x: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs (B, T, M) of torch's layers on packed sequences, and final states (B, L, P, M)."""
    sequences = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    outputs, final = module(sequences)
    outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=x.shape[1])
    parts = final if isinstance(final, tuple) else (final,)
    rows = [part.unflatten(0, (DEPTH, -1)).permute(2, 0, 1, 3).flatten(2) for part in parts]
    return outputs, torch.stack(rows, 2)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", Cell)
def test_an_encoder_equals_torchs_layers_on_packed_sequences(
    cell: Cell, bidirectional: bool, dtype: torch.dtype
) -> None:
    """Outputs, final states h and c of both directions, and gradients; what stands in the padding is large."""
    reference = torch_layers(cell, bidirectional=bidirectional).to(dtype)
    encoder = RecurrentEncoderStack(cell, INPUTS, DIM, DEPTH, bidirectional=bidirectional, dropout=0.0).to(dtype)
    for number, block in enumerate(encoder.blocks):
        copy_layer(block.forward_layer, reference, f"_l{number}")
        if bidirectional:
            copy_layer(block.backward_layer, reference, f"_l{number}_reverse")
    real = (torch.arange(7) < LENGTHS[:, None])[:, :, None]
    x = torch.randn(3, 7, INPUTS, dtype=dtype)
    noisy = torch.where(real, x, 100 * torch.randn_like(x)).requires_grad_()
    plain = x.clone().requires_grad_()
    outputs, final = encoder(noisy, LENGTHS)
    expected, expected_final = packed(reference, plain)
    atol = DTYPES[dtype]
    torch.testing.assert_close(outputs * real, expected, atol=atol, rtol=atol)
    torch.testing.assert_close(final, expected_final, atol=atol, rtol=atol)
    weights = torch.randn_like(expected)
    for value, states in ((outputs * real, final), (expected, expected_final)):
        ((value * weights).sum() + states.square().sum()).backward()
    torch.testing.assert_close(noisy.grad, plain.grad, atol=10 * atol, rtol=10 * atol)
    torch.testing.assert_close(
        encoder.blocks[0].forward_layer.rnn.weight_ih_l0.grad,
        reference.weight_ih_l0.grad,
        atol=10 * atol,
        rtol=10 * atol,
    )
    assert not noisy.grad[1, 1:].any()


@pytest.mark.parametrize("cell", Cell)
def test_packed_sequences_give_the_same(cell: Cell) -> None:
    """As on a GPU."""
    layer, x = RecurrentLayer(cell, INPUTS, DIM).double(), torch.randn(3, 7, INPUTS, dtype=torch.float64)
    outputs, final = layer.padded(x, LENGTHS, LENGTHS)
    packed_outputs, packed_final = layer._packed(x, LENGTHS)
    real = (torch.arange(7) < LENGTHS[:, None])[:, :, None]
    torch.testing.assert_close(packed_outputs, outputs * real)
    torch.testing.assert_close(packed_final, final)


@pytest.mark.parametrize("cell", Cell)
def test_an_empty_sequence_has_a_final_state_of_zeros(cell: Cell) -> None:
    encoder = RecurrentEncoderStack(cell, INPUTS, DIM, 1, bidirectional=True, dropout=0.0)
    _, final = encoder(torch.randn(2, 3, INPUTS), torch.tensor([0, 3]))
    assert not final[0].any() and final[1].all()


def test_sequences_are_flipped_by_their_lengths() -> None:
    indices = flipped(torch.tensor([4, 1, 0, 3]), 4)
    assert indices.tolist() == [[3, 2, 1, 0], [0, 1, 2, 3], [0, 1, 2, 3], [2, 1, 0, 3]]
    assert torch.equal(indices.gather(1, indices), torch.arange(4).expand(4, 4))


@pytest.mark.parametrize("cell", Cell)
def test_every_layer_reads_the_context_at_every_step(cell: Cell) -> None:
    stack = RecurrentStack(cell, INPUTS, DIM, DEPTH, 0.0, context=3)
    x, context = torch.randn(2, 5, INPUTS), torch.randn(2, 3)
    outputs, _ = stack(x, stack.zero_states(x), context)
    hidden = x
    for layer in stack.blocks:
        inputs = torch.cat((hidden, context[:, None].expand(-1, 5, -1)), 2)
        hidden, _ = layer.rnn(inputs)
    torch.testing.assert_close(outputs, hidden)
    states = [tuple(part[:, None] for part in layer) for layer in stack.zero_states(x)]
    for step in range(5):
        states = stack.step(x[:, step : step + 1], states, context)
    torch.testing.assert_close(states[-1][0][:, 0], hidden[:, -1])


@pytest.mark.parametrize("cell", Cell)
def test_dropout_lies_between_the_layers(cell: Cell) -> None:
    stack = RecurrentStack(cell, INPUTS, DIM, DEPTH, 0.9)
    x = torch.randn(2, 5, INPUTS)
    states = stack.zero_states(x)
    assert not torch.equal(stack(x, states)[0], stack(x, states)[0])
    assert torch.equal(stack.blocks[0](x, states[0])[0], stack.blocks[0](x, states[0])[0])
    stack.eval()
    assert torch.equal(stack(x, states)[0], stack(x, states)[0])


@pytest.mark.parametrize("cell", Cell)
def test_initial_weights(cell: Cell) -> None:
    layer, dim = RecurrentLayer(cell, 6, 8), 8
    layer.initialise()
    for gate in layer.rnn.weight_hh_l0.split(dim):
        torch.testing.assert_close(gate @ gate.T, torch.eye(dim), atol=1e-5, rtol=0)
    for gate in layer.rnn.weight_ih_l0.split(dim):
        assert 0.7 * (6 / 14) ** 0.5 < gate.abs().max() <= (6 / 14) ** 0.5
    assert not layer.rnn.bias_hh_l0.any()
    expected = torch.zeros_like(layer.rnn.bias_ih_l0)
    if cell is Cell.lstm:
        expected[dim : 2 * dim] = 1  # torch's order of gates: input, forget, cell, output
    assert torch.equal(layer.rnn.bias_ih_l0, expected)


def test_nothing_is_computed_in_bfloat16() -> None:
    layer, x = RecurrentLayer(Cell.gru, INPUTS, DIM), torch.randn(2, 3, INPUTS)
    with torch.autocast("cpu", torch.bfloat16), full_precision(x):
        outputs, _ = layer(x, layer.zero_state(x))
    assert outputs.dtype is torch.float32
    torch.testing.assert_close(outputs, layer.rnn(x)[0])
