"""Autoencoders of sentences: reconstruction by length through one vector, with a peek, and with attention."""

from laboratory.experiment import AT_THE_END, Experiment, Outcome, Table, Training
from laboratory.runs import Runs
from tformer_cli.draw import Chart, Series

SETTINGS = ("trainer.steps=900", *AT_THE_END)
MODELS = {
    "one vector": ("model=recurrent_fixed", "model.dim=168"),
    "peeky": ("model=recurrent_peeky", "model.dim=192"),
    "attention": ("model=recurrent_bahdanau", "model.dim=160"),
    "Transformer": ("model=transformer_tiny", "model.encoder_depth=2", "model.decoder_depth=2", "model.ffn_dim=512",
                    "model.positions=rotary"),
}  # fmt: skip


def measure(runs: Runs) -> Outcome:
    """Compare the share of sentences that are repeated exactly, by their length."""
    comparison = runs.compare(metric="exact_match", by="length")
    total = [
        (name, f"{entry.score:.1f}", f"{entry.resampled.low:.1f} to {entry.resampled.high:.1f}", entry.parameters)
        for name, entry in zip(runs.groups, comparison.runs, strict=True)
        if entry.resampled
    ]
    bands = [(group.name, group.examples, *(f"{score:.1f}" for score in group.scores)) for group in comparison.groups]
    names = [group.name for group in comparison.groups]
    lines = [
        Series(
            name,
            [group.scores[number] for group in comparison.groups],
            [group.intervals[number] for group in comparison.groups],
        )
        for number, name in enumerate(runs.groups)
    ]
    return Outcome(
        [
            Table(("model", "exact match, %", "95 % interval", "parameters"), total),
            Table(("words", "sentences", *runs.groups), bands, "Exact match by length, in percent."),
        ],
        Chart("Sentences repeated exactly, by length", names, lines, "words", "%", connected=True),
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
