"""Phrases of sentences from frozen features of a recurrent language model and of BERT, beside fine-tuning."""

from laboratory.experiment import Cell, Experiment, Outcome, Table
from laboratory.runs import Runs, bars
from laboratory.small_taggers import DATA, FILE, FROZEN, QUICK, STEPS, TINY, TRANSFORMER, TUNED, TUNING, trainings

TAGGERS = {
    "LSTM-frozen": ("LSTM", FROZEN),
    "BERT-frozen": ("BERT", FROZEN),
    "LSTM-tuned": ("LSTM", TUNED),
    "BERT-tuned": ("BERT", TUNED),
    "random-frozen": ("BERT", ("model=bert_mini", "model.norm=pre", *TRANSFORMER, *FROZEN)),
    "random-BERT": ("BERT", ("model=bert_mini", "model.norm=pre", *TRANSFORMER, *TUNED)),
}


def measure(runs: Runs) -> Outcome:
    """Score the taggers, and count what is trained."""
    scores = {name: runs.spread(name, "f1") for name in TAGGERS}
    rows: list[list[Cell]] = []
    for name, score in scores.items():
        model = runs.open(runs.groups[name][0]).model
        head = sum(weight.numel() for name, weight in model.named_parameters() if not name.startswith("encoder."))
        total = sum(weight.numel() for weight in model.parameters())
        rows.append([name, score.text(1), runs.spread(name, "tag_accuracy").text(1),
                     head if "frozen" in name else total])  # fmt: skip
    picture = bars(scores, "F1 of phrases (CoNLL-2000)", "F1 in percent")
    return Outcome([Table(("tagger", "F1", "accuracy", "trained parameters"), rows)], picture)


EXPERIMENT = Experiment(
    title="Features of language models beside fine-tuning",
    claim="frozen contextual vectors are good features, and fine-tuning is better still",
    source="Peters et al. 2018; Devlin et al. 2019, section 5.3; Peters et al. 2019; talk 004, on features",
    budget=f"{STEPS:,} steps of 2,048 tokens of Wikipedia, and {TUNING} of tagging, for every model",
    data=DATA,
    file=FILE,
    trainings=trainings(("LSTM", "BERT"), TAGGERS, (1, 2)),
    measure=measure,
    quick=QUICK,
    tiny=TINY,
)
