"""A recurrent encoder of texts: widths, padding and what it refuses."""

from __future__ import annotations

import pytest
import torch

from tformer_cli.config.experiments import experiment
from tformer_cli.config.schema import Pooling
from tformer_cli.errors import ConfigError
from tformer_cli.models.recurrent_encoder import RecurrentEncoderConfig
from tformer_cli.models.recurrent_encoder.model import RecurrentTokenEncoder


def build(**settings) -> RecurrentTokenEncoder:
    return RecurrentTokenEncoder(RecurrentEncoderConfig(**{"dim": 8} | settings), 19).double().eval()


@torch.no_grad()
@pytest.mark.parametrize("bidirectional", [False, True])
def test_vectors_depend_on_the_tokens_that_each_direction_has_read(bidirectional: bool) -> None:
    model, tokens = build(bidirectional=bidirectional, depth=1), torch.randint(19, (2, 5))
    lengths = torch.tensor([5, 3])
    vectors = model(tokens, lengths)
    assert vectors.shape == (2, 5, 8) and model.width == 8
    changed = tokens.clone()
    changed[0, 2] = (changed[0, 2] + 1) % 19
    halves = (model(changed, lengths) - vectors)[0].abs().unflatten(1, (2, 4)).amax(-1) > 0  # (T, halves)
    assert halves[:, 0].tolist() == [False, False, True, True, True]
    assert halves[:, 1].tolist() == ([True, True, True, False, False] if bidirectional else halves[:, 0].tolist())
    alone = model(tokens[1:, :3], lengths[1:])
    torch.testing.assert_close(vectors[1, :3], alone[0])


def test_segments_and_documents_are_refused() -> None:
    tokens, lengths = torch.zeros(1, 3, dtype=torch.int64), torch.tensor([3])
    for more in ({"segments": tokens}, {"documents": tokens}):
        with pytest.raises(ValueError, match="neither segments nor documents"):
            build()(tokens, lengths, **more)


def test_an_odd_width_is_refused_and_texts_are_pooled_by_the_mean() -> None:
    with pytest.raises(ConfigError, match="two directions need an even width, not 7"):
        RecurrentEncoderConfig(dim=7).check()
    RecurrentEncoderConfig(dim=7, bidirectional=False).check()
    assert experiment("text_classification", "recurrent_encoder")().head.pooling is Pooling.mean
    with pytest.raises(ConfigError, match="recurrent_encoder does not go with task masked_language_model"):
        experiment("masked_language_model", "recurrent_encoder")
