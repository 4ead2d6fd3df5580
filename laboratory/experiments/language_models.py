"""Bits per byte of n-grams, a recurrent network and a Transformer, by the number of characters that they have read."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from laboratory.experiment import Experiment, Outcome, Table, Training, seeded
from laboratory.kneser_ney import kneser_ney
from laboratory.runs import Runs, Spread
from tformer_cli.api import Run
from tformer_cli.data.text.packed import CausalBatch
from tformer_cli.decode.ngram import Ngrams
from tformer_cli.draw import Chart, Series

ORDERS, DRAWN = 7, (2, 4, 6)
BANDS = (1, 2, 3, 5, 9, 17, 33, 65, 129)
"""First number of read characters in each band; a block has 128."""
TRANSFORMER, RECURRENT = "Transformer", "LSTM"


def block_bits(run: Run, losses: Callable[[CausalBatch], Tensor]) -> np.ndarray:
    """Return the bits of each token of the validation split, (blocks, 128), NaN after the end of the last block.

    Args:
        run: a run with the split.
        losses: function of a batch that returns the negative log-probabilities of its targets, (B, T).
    """
    view, rows = run.opened.task.data.view("validation", training=False), []
    for index in range(view.num_batches):
        batch = view.batch(0, index)
        bits = losses(batch).double().numpy() / math.log(2)
        bits[np.arange(bits.shape[1]) >= batch.target_lengths.numpy()[:, None]] = np.nan
        rows.append(np.pad(bits, ((0, 0), (0, BANDS[-1] - 1 - bits.shape[1])), constant_values=np.nan))
    return np.concatenate(rows)


def network_losses(run: Run) -> Callable[[CausalBatch], Tensor]:
    """Return the function of a batch that returns the losses of a network."""
    model: Any = run.model

    def losses(batch: CausalBatch) -> Tensor:
        with torch.inference_mode():
            logits = model.logits(model(batch.inputs, batch.documents)).float()
            return torch.nn.functional.cross_entropy(logits.transpose(1, 2), batch.targets, reduction="none")

    return losses


def ngram_losses(models: Sequence[Ngrams]) -> Callable[[CausalBatch], Tensor]:
    """Return the function of a batch that returns the losses of the last of some models of orders 1, 2, ...

    A block begins without context. Its first tokens are scored by the models of lower orders: the lower orders within a
    model with Kneser-Ney smoothing are for contexts that have not been seen, and not for short ones.
    """

    def losses(batch: CausalBatch) -> Tensor:
        rows = torch.zeros(batch.targets.shape)
        for row, tokens in enumerate(torch.cat([batch.inputs[:, :1], batch.targets], 1).tolist()):
            for place, token in enumerate(tokens[1:], start=1):
                model = models[min(place, len(models) - 1)]
                context = tuple(tokens[max(0, place - model.order + 1) : place])
                rows[row, place - 1] = -model.score(context, str(token))[0]
        return rows

    return losses


def measure(runs: Runs) -> Outcome:
    """Score all models on the same blocks of text."""
    network = {name: [runs.open(path) for path in paths] for name, paths in runs.groups.items()}
    some = network[RECURRENT][0]
    data: Any = some.opened.task.data
    text = data.tokens.of("train").values.tolist()
    ngrams = [kneser_ney(text, order, data.tokenizer.vocab_size) for order in range(1, ORDERS + 1)]
    bits = {f"{n}-gram": [block_bits(some, ngram_losses(ngrams[:n]))] for n in range(1, ORDERS + 1)}
    bits |= {name: [block_bits(run, network_losses(run)) for run in opened] for name, opened in network.items()}
    size = data.split("validation").bytes
    rows, lines = [], []
    sizes = {f"{model.order}-gram": len(model.entries) for model in ngrams}
    sizes |= {name: sum(weight.numel() for weight in opened[0].model.parameters()) for name, opened in network.items()}
    for name, seeds in bits.items():
        bands = [
            Spread([float(np.nanmean(each[:, low - 1 : high - 1])) for each in seeds])
            for low, high in zip(BANDS, BANDS[1:], strict=False)
        ]
        rows.append((name, Spread([float(np.nansum(each)) / size for each in seeds]).text(3), sizes[name]))
        if name in network or name in {f"{order}-gram" for order in DRAWN}:
            lines.append(Series(name, [band.mean for band in bands]))
    names = [f"{low}-{high - 1}" if high - low > 1 else str(low) for low, high in zip(BANDS, BANDS[1:], strict=False)]
    chart = Chart(
        "Bits per character by characters read", names, lines, "characters read", "bits per character", connected=True
    )
    return Outcome([Table(("model", "bits per byte", "n-grams or parameters"), rows)], chart)


EXPERIMENT = Experiment(
    title="Language models: n-grams, a recurrent network, a Transformer",
    claim="networks are better language models than n-grams, and use contexts that these cannot have",
    source="Mikolov et al. 2010; Sundermeyer et al. 2012; Radford et al. 2018; talks on language models",
    budget="the same million characters, all but the last tenth; networks of 0.8 million parameters read them four "
    "times (2,000 steps of 2,048 characters), and the n-grams (interpolated Kneser-Ney) count them once",
    corpus="the plays of Shakespeare, 1.1 million characters",
    data="tinyshakespeare",
    file="input.txt",
    trainings=seeded(
        [
            Training(
                name, "gpt/shakespeare", (*settings, "data.path={data}", "trainer.steps=2000", "trainer.samples=0")
            )
            for name, settings in {
                RECURRENT: ("model=recurrent_lm", "model.dim=218", "model.dropout=0.1"),
                TRANSFORMER: (),
            }.items()
        ],
        (1, 2),
    ),
    measure=measure,
    quick=("trainer.steps=150", "data.batch_tokens=1024", "optim.warmup_steps=20"),
    tiny=("trainer.steps=2", "data.validation_share=0.01"),
)
