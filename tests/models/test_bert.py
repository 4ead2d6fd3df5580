"""BERT: documents of one block that do not see each other."""

from __future__ import annotations

import pytest
import torch

from tformer_cli.config.schema import GRID_POSITIONS, Positions
from tformer_cli.models.bert import BERTConfig
from tformer_cli.models.bert.model import BERT
from tformer_cli.models.token_heads import MaskedLanguageModel

V = 23
LINE = [scheme for scheme in Positions if scheme not in GRID_POSITIONS]


@pytest.mark.parametrize("positions", LINE, ids=lambda scheme: scheme.name)
@torch.no_grad()
def test_a_document_does_not_see_the_others_of_its_block(backend: str, positions: Positions) -> None:
    torch.manual_seed(0)
    config = BERTConfig(dim=16, heads=2, ffn_dim=24, depth=2, max_length=12, dropout=0.0, positions=positions)
    model = MaskedLanguageModel(BERT(config, V), nsp=False).eval().double()
    for value in model.parameters():
        value.add_(0.1 * torch.randn_like(value))
    tokens, lengths = torch.randint(V, (2, 12)), torch.tensor([12, 9])
    documents = torch.tensor([[0] * 4 + [1] * 5 + [2] * 3, [0] * 2 + [1] * 7 + [-1] * 3])
    changed = tokens.clone()
    changed[:, 5] = (changed[:, 5] + 1) % V  # a token of document 1 in both rows

    def hidden(ids: torch.Tensor, numbers: torch.Tensor | None) -> torch.Tensor:
        return model(ids, lengths, None, torch.arange(4), numbers)[1]

    moved = (hidden(tokens, documents) - hidden(changed, documents)).abs().amax(-1)
    assert (moved[documents == 1] > 1e-6).all()
    assert (moved[documents != 1] < 1e-12).all()
    moved = (hidden(tokens, None) - hidden(changed, None)).abs().amax(-1)
    assert (moved[documents >= 0] > 1e-6).all()
    padded = tokens.clone()
    padded[1, 9:] = (padded[1, 9:] + 1) % V
    assert torch.allclose(hidden(tokens, documents)[1, :9], hidden(padded, documents)[1, :9], atol=1e-12)
