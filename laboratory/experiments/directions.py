"""Phrases of sentences from a bidirectional and from a left-to-right Transformer."""

from laboratory.experiment import Experiment, Outcome
from laboratory.runs import Runs
from laboratory.small_taggers import (
    CORPUS,
    DATA,
    FILE,
    QUICK,
    STEPS,
    TINY,
    TRANSFORMER,
    TUNED,
    TUNING,
    scored,
    trainings,
)

SINUSOIDS = "model.positions=sinusoidal"
"""Relative positions start at zero, so that a bidirectional encoder with random weights sees no order at first."""
TAGGERS = {
    "BERT": ("BERT", TUNED),
    "GPT": ("GPT", TUNED),
    "random-BERT": ("BERT", ("model=bert_mini", "model.norm=pre", *TRANSFORMER, *TUNED)),
    "random-GPT": ("GPT", ("model=gpt_mini", *TRANSFORMER, *TUNED)),
    "random-BERT-sinusoids": ("BERT", ("model=bert_mini", "model.norm=pre", *TRANSFORMER, SINUSOIDS, *TUNED)),
    "random-GPT-sinusoids": ("GPT", ("model=gpt_mini", *TRANSFORMER, SINUSOIDS, *TUNED)),
}


def measure(runs: Runs) -> Outcome:
    """Score the taggers."""
    return scored(runs, list(TAGGERS))


EXPERIMENT = Experiment(
    title="Both directions, or left to right",
    claim="a bidirectional encoder understands better than a left-to-right one",
    source="Devlin et al. 2019, section 5.1; Radford et al. 2018; talks on BERT",
    budget=f"the same size; {STEPS:,} steps of 2,048 tokens of Wikipedia, of which BERT predicts 25 % (at a "
    "learning rate of 0.006) and GPT all (0.004); "
    f"{TUNING} steps of tagging",
    corpus=CORPUS,
    data=DATA,
    file=FILE,
    trainings=trainings(("BERT", "GPT"), TAGGERS, (1, 2, 3)),
    measure=measure,
    quick=QUICK,
    tiny=TINY,
)
