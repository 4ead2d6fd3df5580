"""BLEU by length of the source: one vector, a vector at every step, attention, only attention."""

from laboratory.experiment import Experiment, Outcome, Table, Training
from laboratory.runs import Runs
from tformer_cli.draw import Chart, Series

RECURRENT, TRANSFORMER = "translation/multi30k_en_de_recurrent", "translation/multi30k_en_de"
BUDGET = ("data.path={data}", "trainer.steps=0", "trainer.minutes=45")


def measure(runs: Runs) -> Outcome:
    """Compare the models on the test split, as `tformer compare --by length` does."""
    comparison = runs.compare(by="length")
    names = list(runs.groups)
    total = [
        (name, f"{entry.score:.1f}", f"{entry.resampled.low:.1f} to {entry.resampled.high:.1f}", entry.parameters)
        for name, entry in zip(names, comparison.runs, strict=True)
        if entry.resampled
    ]
    bands = [(group.name, group.examples, *(f"{score:.1f}" for score in group.scores)) for group in comparison.groups]
    lines = [
        Series(
            name,
            [group.scores[number] for group in comparison.groups],
            [group.intervals[number] for group in comparison.groups],
        )
        for number, name in enumerate(names)
    ]
    return Outcome(
        [
            Table(("model", "BLEU", "95 % interval", "parameters"), total),
            Table(("words of the source", "sentences", *names), bands),
        ],
        Chart(
            "BLEU by length of the source",
            [group.name for group in comparison.groups],
            lines,
            "words",
            "BLEU",
            connected=True,
        ),
    )


EXPERIMENT = Experiment(
    title="Translation by length of the source: one vector, a peek at every step, attention, only attention",
    claim="a single vector is a bottleneck, most of all for long sentences, and attention removes it",
    source="Cho et al. 2014 (arXiv:1409.1259), section 4; Bahdanau et al. 2015, figure 2",
    budget="45 minutes on one core each, and 2.1 to 2.2 million parameters",
    data="multi30k",
    file="train.en",
    trainings=(
        Training("fixed", RECURRENT, ("model=recurrent_fixed", *BUDGET)),
        Training("peeky", RECURRENT, ("model=recurrent_peeky", *BUDGET)),
        Training("bahdanau", RECURRENT, BUDGET),
        Training("luong", RECURRENT, ("model=recurrent_luong_general", *BUDGET)),
        Training("transformer", TRANSFORMER, BUDGET),
    ),
    measure=measure,
    quick=("trainer.minutes=1.5",),
    tiny=("trainer.minutes=0", "trainer.steps=2"),
)
