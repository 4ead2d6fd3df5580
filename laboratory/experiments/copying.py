"""Autoencoders of sentences: reconstruction by length through one vector, with a peek, and with attention."""

from dataclasses import replace

from laboratory.experiment import AT_THE_END, Experiment, Outcome, Table, Training
from laboratory.measures import by_length
from laboratory.runs import Runs
from laboratory.small_translators import BAHDANAU, FIXED, PEEKY, TRANSFORMER

SETTINGS = ("trainer.steps=900", *AT_THE_END)
MODELS = {"one vector": FIXED, "peeky": PEEKY, "attention": BAHDANAU, "Transformer": TRANSFORMER}


def measure(runs: Runs) -> Outcome:
    """Compare the share of sentences that are repeated exactly, by their length."""
    total, bands, chart = by_length(runs, "exact_match")
    return Outcome(
        [
            Table(("model", "exact match, %", "95 % interval", "parameters"), total),
            Table(("words", "sentences", *runs.groups), bands, "Exact match by length, in percent."),
        ],
        replace(chart, title="Sentences repeated exactly, by length", y_title="%"),
    )


EXPERIMENT = Experiment(
    title="Autoencoders: sentences through one vector, with a peek, with attention",
    claim="one vector holds short sentences alone; with attention length does not matter",
    source="Cho et al. 2014 (arXiv:1409.1259); Bahdanau et al. 2015; talks that introduce encoder and decoder by it",
    budget="900 steps and about a million parameters each",
    trainings=[
        Training(name.replace(" ", "-"), "lineage/autoencoder", (*settings, *SETTINGS), group=name)
        for name, settings in MODELS.items()
    ],
    measure=measure,
    quick=("trainer.steps=20", "data.size=2000", "tokenizer.vocab_size=300"),
    tiny=("trainer.steps=2", "data.size=400", "tokenizer.vocab_size=200"),
)
