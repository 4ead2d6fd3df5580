"""Alignments of output tokens with source tokens, from the cross-attention of complete outputs with teacher forcing.

Shapes: B sentences, S source tokens, T output tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tformer_cli.nn.taps import tapped, weights_of_calls


@torch.inference_mode()
def alignments(
    model: nn.Module,
    source: Tensor,
    source_lengths: Tensor,
    outputs: Sequence[Sequence[int]],
    *,
    bos_id: int,
    layer: int = -2,
) -> list[Tensor]:
    """Return soft alignments of outputs, computed in one pass.

    Row t is the attention of the position that predicts token t, averaged over the heads of one layer. The penultimate
    layer aligns best in trained Transformers (Garg et al. 2019, section 4.1).

    Args:
        model: called as `model(source, source_lengths, target_inputs)`, in evaluation mode. The names of its
            cross-attention modules end in `cross`; they are called once for all tokens, or once for each token.
        source: tokens, (B, S), padded at the end.
        source_lengths: (B,), int64.
        outputs: tokens of each sentence's output, without <s> and </s>.
        bos_id: id of <s>.
        layer: index of the layer, negative from the end; the first layer if the model has fewer.

    Returns:
        For each sentence weights (T + 1, S) of its source tokens for each output token and </s>; rows sum to 1.

    Raises:
        ValueError: if the model has no cross-attention.
    """
    longest = max(map(len, outputs), default=0)
    inputs = torch.full((len(outputs), longest + 1), bos_id, dtype=torch.int64)
    for row, tokens in zip(inputs, outputs, strict=True):
        row[1 : len(tokens) + 1] = torch.tensor(tokens, dtype=torch.int64)
    with tapped(model, {"weights"}) as records:
        model(source, source_lengths, inputs.to(source.device))
    cross = {name: tensors for name, tensors in records.items() if name.endswith("cross")}
    if not (layers := [*weights_of_calls(cross).values()]):
        raise ValueError("the model has no cross-attention")
    weights = layers[max(layer, -len(layers))][:, :, -inputs.shape[1] :].float().mean(1)  # (B, T + 1, S)
    sizes = zip(outputs, source_lengths.tolist(), strict=True)
    return [weights[i, : len(tokens) + 1, :length] for i, (tokens, length) in enumerate(sizes)]


def links(alignment: Tensor) -> list[tuple[int, int]]:
    """Return the hard links (source, output) of a soft alignment (T, S): the source token of each row's maximum."""
    return [(source, output) for output, source in enumerate(alignment.argmax(-1).tolist())]
