"""Which source tokens an output's tokens were written from: cross-attention of a finished output, by teacher forcing.

Shapes: B sentences, S source tokens, T output tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tformer_cli.nn.taps import tapped


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
    """Soft alignments, in one pass over all outputs.

    Row t is the attention of the position that predicts token t, averaged over the heads of one layer. The last but
    one aligns best in trained Transformers (Garg et al. 2019, section 4.1).

    Args:
        model: called as `model(source, source_lengths, target_inputs)`, with layers of cross-attention whose names end
            in `cross`, which see all tokens at once or one after the other; in evaluation mode.
        source: tokens, (B, S), padded at the end.
        source_lengths: (B,), int64.
        outputs: tokens of each sentence's output, without <s> and </s>.
        bos_id: <s>.
        layer: which cross-attention, counted like a list's index; the first if there are fewer.

    Returns:
        For each sentence (T + 1, S): its tokens and </s>, by its source tokens; each row sums to 1.
    """
    longest = max(map(len, outputs), default=0)
    inputs = torch.full((len(outputs), longest + 1), bos_id, dtype=torch.int64)
    for row, tokens in zip(inputs, outputs, strict=True):
        row[1 : len(tokens) + 1] = torch.tensor(tokens, dtype=torch.int64)
    with tapped(model, {"weights"}) as records:
        model(source, source_lengths, inputs.to(source.device))
    layers = [tensors["weights"] for name, tensors in records.items() if name.endswith("cross")]
    calls = layers[max(layer, -len(layers))]  # one, or one for each token of a decoder that makes steps
    weights = torch.cat(calls, dim=2)[:, :, -inputs.shape[1] :].float().mean(1)  # (B, T + 1, S)
    sizes = zip(outputs, source_lengths.tolist(), strict=True)
    return [weights[i, : len(tokens) + 1, :length] for i, (tokens, length) in enumerate(sizes)]


def links(alignment: Tensor) -> list[tuple[int, int]]:
    """Hard links (source, output) of a soft alignment (T, S): each output token with its most attended source token."""
    return [(source, output) for output, source in enumerate(alignment.argmax(-1).tolist())]
