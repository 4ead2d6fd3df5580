"""BLEU by length of the source: one vector, a vector at every step, attention, only attention."""

from dataclasses import replace

from laboratory.experiment import Experiment, Outcome, Table, Training
from laboratory.measures import by_length
from laboratory.runs import Runs

RECURRENT, TRANSFORMER = "translation/multi30k_en_de_recurrent", "translation/multi30k_en_de"
BUDGET = ("data.path={data}", "trainer.steps=0", "trainer.minutes=45")


def measure(runs: Runs) -> Outcome:
    """Compare the models on the test split, as `tformer compare --by length` does."""
    total, bands, chart = by_length(runs)
    return Outcome(
        [
            Table(("model", "BLEU", "95 % interval", "parameters"), total),
            Table(("words of the source", "sentences", *runs.groups), bands, "BLEU by length."),
        ],
        replace(chart, title="BLEU by length of the source", y_title="BLEU"),
    )


EXPERIMENT = Experiment(
    title="Translation by length of the source: one vector, a peek at every step, attention, only attention",
    claim="a single vector is a bottleneck, most of all for long sentences, and attention removes it",
    source="Cho et al. 2014 (arXiv:1409.1259), section 4; Bahdanau et al. 2015, figure 2",
    budget="45 minutes on one core each, and 2.1 to 2.2 million parameters; GRUs of one layer, Luong's an LSTM",
    data="multi30k",
    file="train.en",
    trainings=(
        Training("fixed", RECURRENT, ("model=recurrent_peeky", "model.peeky=false", "model.dim=244", *BUDGET)),
        Training("peeky", RECURRENT, ("model=recurrent_peeky", "model.dim=204", *BUDGET)),
        Training("bahdanau", RECURRENT, BUDGET),
        Training("luong", RECURRENT, ("model=recurrent_luong_general", *BUDGET)),
        Training("transformer", TRANSFORMER, BUDGET),
    ),
    measure=measure,
    quick=("trainer.minutes=1.5",),
    tiny=("trainer.minutes=0", "trainer.steps=2"),
)
