"""Autoencoders of sentences: reconstruction by length through one vector, with a peek, and with attention."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from laboratory.experiment import AT_THE_END, Experiment, Outcome, Table, Training
from laboratory.measures import band_means, band_names, by_length
from laboratory.runs import Runs
from laboratory.small_translators import BAHDANAU, FIXED, TRANSFORMER
from tformer_cli.evaluators.base import Row

SETTINGS = ("trainer.steps=900", *AT_THE_END)
MODELS = {
    "one vector": FIXED,
    "peeky": ("model=recurrent_fixed", "model.peeky=true", "model.dim=136"),
    "attention": BAHDANAU,
    "Transformer": TRANSFORMER,
}
STARTS = (0, 6, 7, 8, 10)
"""Number of words, less one, at which each band of lengths starts."""


def words_in_place(rows: Sequence[Row]) -> list[float]:
    """Return the share of the words of the references that predictions have in the same place, by length, in percent.

    The share of whole sentences falls with their length even if each word is as often right. This share does not.
    """
    lengths, shares = [], []
    for row in rows:
        words, outputs = row["reference"].split(), row["prediction"].split()
        lengths.append(len(words) - 1)
        shares.append(sum(word == output for word, output in zip(words, outputs, strict=False)) / len(words))
    return [100 * share for share in band_means(np.array(lengths), np.array(shares), STARTS)]


def measure(runs: Runs) -> Outcome:
    """Compare the share of sentences that are repeated exactly, and that of the words, by length."""
    total, bands, chart = by_length(runs, "exact_match")
    words = {name: words_in_place(runs.predictions(paths[0])) for name, paths in runs.groups.items()}
    in_place = [
        (band, *(f"{share:.1f}" for share in shares))
        for band, *shares in zip(band_names(STARTS), *words.values(), strict=True)
    ]
    return Outcome(
        [
            Table(("model", "exact match, %", "95 % interval", "parameters"), total),
            Table(("words", "sentences", *runs.groups), bands, "Exact match by length, in percent."),
            Table(("words", *runs.groups), in_place, "Words in their place, by length, in percent."),
        ],
        replace(chart, title="Sentences repeated exactly, by length", y_title="%"),
    )


EXPERIMENT = Experiment(
    title="Autoencoders: sentences through one vector, with a peek, with attention",
    claim="one vector holds short sentences alone; with attention length does not matter",
    source="Cho et al. 2014 (arXiv:1409.1259); Bahdanau et al. 2015; talks that introduce encoder and decoder by it",
    budget="900 steps and about a million parameters each",
    corpus="built-in sentences in English",
    trainings=[
        Training(name.replace(" ", "-"), "lineage/autoencoder", (*settings, *SETTINGS), group=name)
        for name, settings in MODELS.items()
    ],
    measure=measure,
    quick=("trainer.steps=20", "data.size=2000", "tokenizer.vocab_size=300"),
    tiny=("trainer.steps=2", "data.size=400", "tokenizer.vocab_size=200"),
)
