"""Losses by position in the target, where few training sentences have late positions: learned beside relative."""

from typing import Any

import numpy as np

from laboratory.experiment import AT_THE_END, Experiment, Outcome, Table, Training, seeded
from laboratory.measures import band_means, band_names, token_scores
from laboratory.runs import Runs, Spread, line
from tformer_cli.draw import Chart

SETTINGS = (
    "data.path={data}", "tokenizer.vocab_size=2000", "model.encoder_depth=2", "model.decoder_depth=2",
    "model.dropout=0.1", "trainer.steps=500", "trainer.ema=0", "trainer.average=none", "optim.warmup_steps=100",
    *AT_THE_END,
)  # fmt: skip
RELATIVE = "relative (T5)"
SCHEMES = {"learned": "learned", "sinusoidal": "sinusoidal", RELATIVE: "t5"}
STARTS = (0, 5, 10, 15, 20, 25, 30)


def measure(runs: Runs) -> Outcome:
    """Compare the loss by teacher forcing on the test split, and count the training tokens, in bands of positions."""
    names, lines = band_names(STARTS), []
    losses, tokens = {}, []
    for name, paths in runs.groups.items():
        scores = [token_scores(runs.open(path)) for path in paths]
        values = [band_means(each.positions, each.losses, STARTS) for each in scores]
        losses[name] = [Spread(band) for band in zip(*values, strict=True)]
        tokens = np.bincount(np.searchsorted(STARTS, scores[0].positions, side="right") - 1).tolist()
    rows = [(name, *(spread.text(2) for spread in spreads)) for name, spreads in losses.items()]
    for name, spreads in losses.items():
        if name != RELATIVE:
            lines.append(line(name, [one.minus(other) for one, other in zip(spreads, losses[RELATIVE], strict=True)]))
    rows.append(("training tokens, %", *(f"{100 * share:.1f}" for share in _shares(runs))))
    rows.append(("test tokens", *(f"{count:,}" for count in tokens)))
    title = "Loss per token, mean of three seeds (lowest to highest)."
    chart = Chart(
        f"Loss minus that of {RELATIVE} positions", names, lines, "position", "loss per token", connected=True
    )
    return Outcome([Table(("positions", *names), rows, title)], chart)


def _shares(runs: Runs) -> np.ndarray:
    """Return the share of the training tokens in each band of positions."""
    data: Any = runs.open(next(iter(runs.groups.values()))[0]).opened.task.data
    lengths = data.tokens("train").lengths[:, 1] + 1  # with </s>
    positions = np.concatenate([np.arange(length) for length in lengths])
    bands = np.bincount(np.searchsorted(STARTS, positions, side="right") - 1, minlength=len(STARTS))
    return bands / bands.sum()


EXPERIMENT = Experiment(
    title="Late positions, which few training examples have",
    claim="learned vectors of late positions are poorly trained, since few examples are so long; relative ones are not",
    source="Jurafsky and Martin, Speech and Language Processing, chapter on Transformers, section on positions",
    budget="500 steps, and the same parameters but for the positions",
    corpus="Multi30k, English to German",
    data="multi30k",
    file="train.en",
    trainings=seeded(
        [
            Training(scheme, "translation/multi30k_en_de", (*SETTINGS, f"model.positions={scheme}"), group=name)
            for name, scheme in SCHEMES.items()
        ],
        (1, 2, 3),
    ),
    measure=measure,
    quick=("trainer.steps=40",),
    tiny=("trainer.steps=2", "tokenizer.vocab_size=300"),
)
