"""Decoders without attention, with and without a peek, know more or less of the source at each target position."""

from dataclasses import replace
from typing import Any

from laboratory.experiment import AT_THE_END, Experiment, Outcome, Table, Training, seeded
from laboratory.measures import TokenScores, band_means, band_names, token_scores
from laboratory.runs import Runs, Spread, line
from tformer_cli.draw import Chart

RECIPE = "translation/multi30k_en_de_recurrent"
SETTINGS = (
    "model=recurrent_peeky", "data.path={data}", "tokenizer.vocab_size=2000", "trainer.steps=1200", "trainer.ema=0",
    *AT_THE_END,
)  # fmt: skip
DECODERS = {"fixed": ("model.peeky=false", "model.dim=160"), "peeky": ("model.peeky=true", "model.dim=128")}
STARTS = (0, 2, 4, 6, 8, 12, 16)


def with_another_source(batch: Any) -> Any:
    """Return a batch in which each target has the source of another sentence."""
    return replace(batch, source=batch.source.roll(1, 0), source_lengths=batch.source_lengths.roll(1, 0))


def by_position(scores: TokenScores) -> list[float]:
    """Return the share of correct tokens in each band of positions, in percent."""
    return [100 * share for share in band_means(scores.positions, scores.correct, STARTS)]


def measure(runs: Runs) -> Outcome:
    """Compare accuracy by teacher forcing, with the source and with that of another sentence."""
    names, rows, lines = band_names(STARTS), [], []
    for decoder, paths in runs.groups.items():
        opened = [runs.open(path) for path in paths]
        right = [Spread(values) for values in zip(*(by_position(token_scores(run)) for run in opened), strict=True)]
        other = [by_position(token_scores(run, change=with_another_source)) for run in opened]
        gains = [
            [a - b for a, b in zip(spread.values, values, strict=True)]
            for spread, values in zip(right, zip(*other, strict=True), strict=True)
        ]
        rows.append((decoder, "accuracy, %", *(spread.text() for spread in right)))
        rows.append((decoder, "by the source, %", *(Spread(values).text() for values in gains)))
        spreads = [Spread(values) for values in gains]
        lines.append(line(decoder, spreads))
    title = "Correct next tokens, given those before them. By the source: the right one minus that of another sentence."
    return Outcome(
        [Table(("decoder", "measure", *names), rows, title)],
        Chart("What the source adds to accuracy", names, lines, "position", "%", connected=True),
    )


EXPERIMENT = Experiment(
    title="The source in the decoder's memory, by position in the target: a fixed vector and a peek",
    claim="a vector that only starts the decoder fades while it goes on; a decoder that sees it at each step keeps it",
    source="Cho et al. 2014, section 2.2, and talks on sequence models, which call such a decoder peeky",
    budget="1,200 steps, and about the same parameters in encoder and decoder",
    corpus="Multi30k, English to German",
    data="multi30k",
    file="train.en",
    trainings=seeded([Training(name, RECIPE, (*SETTINGS, *values)) for name, values in DECODERS.items()], (1, 2, 3)),
    measure=measure,
    quick=("trainer.steps=60",),
    tiny=("trainer.steps=2", "tokenizer.vocab_size=300"),
)
