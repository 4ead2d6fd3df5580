"""A source that is read forwards or backwards into a fixed vector."""

from laboratory.experiment import AT_THE_END, Experiment, Outcome, Table, Training, seeded
from laboratory.runs import Runs, bars

RECIPE = "translation/multi30k_en_de_recurrent"
SETTINGS = (
    "model=recurrent_fixed", "model.dim=128", "data.path={data}", "tokenizer.vocab_size=2000", "trainer.steps=1200",
    "trainer.ema=0", *AT_THE_END,
)  # fmt: skip
ORDERS = {"forwards": "false", "backwards": "true"}


def measure(runs: Runs) -> Outcome:
    """Compare perplexity and BLEU on the test split."""
    spreads = {name: [runs.spread(name, metric) for metric in ("perplexity", "bleu")] for name in ORDERS}
    rows = [(name, *(spread.text() for spread in values)) for name, values in spreads.items()]
    bleu = {name: values[1] for name, values in spreads.items()}
    return Outcome(
        [Table(("source read", "perplexity", "BLEU"), rows, "Mean of three seeds (lowest to highest).")],
        bars(bleu, "A fixed vector, by the order of the source", "BLEU", name_pixels=120),
    )


EXPERIMENT = Experiment(
    title="A fixed vector with the source read forwards and backwards",
    claim="reversing the source helps a fixed vector, since it brings the beginnings of both sentences together",
    source="Sutskever et al. 2014, section 3.3: perplexity 5.8 to 4.7, BLEU 25.9 to 30.6",
    budget="1,200 steps and the same parameters",
    corpus="Multi30k, English to German",
    data="multi30k",
    file="train.en",
    trainings=seeded(
        [Training(name, RECIPE, (*SETTINGS, f"model.reverse_source={value}")) for name, value in ORDERS.items()],
        (1, 2, 3),
    ),
    measure=measure,
    quick=("trainer.steps=60",),
    tiny=("trainer.steps=2", "tokenizer.vocab_size=300"),
)
