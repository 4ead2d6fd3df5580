"""Phrases of sentences from frozen features of a recurrent language model and of BERT, beside fine-tuning."""

from laboratory.experiment import Experiment, Outcome
from laboratory.runs import Runs
from laboratory.small_taggers import (
    CORPUS,
    DATA,
    FILE,
    FROZEN,
    QUICK,
    STEPS,
    TINY,
    TRANSFORMER,
    TUNED,
    TUNING,
    scored,
    trainings,
)

TAGGERS = {
    "LSTM-frozen": ("LSTM", FROZEN),
    "BERT-frozen": ("BERT", FROZEN),
    "LSTM-tuned": ("LSTM", TUNED),
    "BERT-tuned": ("BERT", TUNED),
    "random-frozen": ("BERT", ("model=bert_mini", "model.norm=pre", *TRANSFORMER, *FROZEN)),
    "random-BERT": ("BERT", ("model=bert_mini", "model.norm=pre", *TRANSFORMER, *TUNED)),
}


def measure(runs: Runs) -> Outcome:
    """Score the taggers."""
    return scored(runs, list(TAGGERS))


EXPERIMENT = Experiment(
    title="Features of language models beside fine-tuning",
    claim="frozen contextual vectors are good features, and fine-tuning is better still",
    source="Peters et al. 2018; Devlin et al. 2019, section 5.3; Peters et al. 2019; talks on features",
    budget=f"{STEPS:,} steps of 2,048 tokens of Wikipedia, and {TUNING} of tagging, for every model",
    corpus=CORPUS,
    data=DATA,
    file=FILE,
    trainings=trainings(("LSTM", "BERT"), TAGGERS, (1, 2)),
    measure=measure,
    quick=QUICK,
    tiny=TINY,
)
