"""BLEU by length of the source: one vector, a vector at every step, attention, only attention."""

from dataclasses import replace

from laboratory.experiment import Experiment, Outcome, Table, Training
from laboratory.measures import by_length
from laboratory.runs import Runs

RECURRENT, TRANSFORMER = "translation/multi30k_en_de_recurrent", "translation/multi30k_en_de"
MODELS = {
    "fixed": (RECURRENT, 10_900, ("model=recurrent_peeky", "model.peeky=false", "model.dim=244")),
    "peeky": (RECURRENT, 9_000, ("model=recurrent_peeky", "model.dim=204")),
    "bahdanau": (RECURRENT, 5_900, ()),
    "luong": (RECURRENT, 12_000, ("model=recurrent_luong_general",)),
    "transformer": (TRANSFORMER, 7_500, ()),
}
"""The recipe of each model, the steps that it takes in 45 minutes, and its settings."""


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
    budget="the steps of 45 minutes on one idle core (10,900 fixed, 9,000 peeky, 5,900 of Bahdanau's, 12,000 of "
    "Luong's, 7,500 of the Transformer), and 2.1 to 2.2 million parameters; GRUs of one layer, Luong's an LSTM; "
    "fixed and peeky read the source forwards, Bahdanau's and Luong's in both directions",
    corpus="Multi30k, English to German",
    data="multi30k",
    file="train.en",
    trainings=[
        Training(name, recipe, (*settings, "data.path={data}", f"trainer.steps={steps}", "trainer.minutes=0"))
        for name, (recipe, steps, settings) in MODELS.items()
    ],
    measure=measure,
    quick=("trainer.steps=60",),
    tiny=("trainer.steps=2",),
)
