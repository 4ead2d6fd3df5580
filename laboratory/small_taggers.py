"""Small models that are pre-trained on Wikipedia and fine-tuned on the phrases of sentences (CoNLL-2000)."""

from collections.abc import Mapping, Sequence

from laboratory.experiment import Outcome, Table, Training, seeded
from laboratory.runs import Runs, bars
from laboratory.small_bert import CONTEXT

DATA, FILE = ".", "wikitext2/test.txt"
"""The folder of all data, and a file that must be in it; fine-tuning reads `conll2000`."""
CORPUS = "WikiText-2's test text, read five to six times, then CoNLL-2000"
TAGGING = "text/conll2000"
TRANSFORMER = (
    "model.depth=2", "model.dim=128", "model.heads=4", "model.ffn_dim=512", "model.max_length=128",
    "model.positions=t5", "model.attention_dropout=0",
)  # fmt: skip
LSTM = ("model=recurrent_lm", "model.depth=2", "model.dim=128", "model.max_length=128")
PRETRAIN = {
    "BERT": ("bert/files", (*TRANSFORMER, *CONTEXT)),
    "GPT": ("gpt/files", ("model.dropout=0", "optim.warmup_steps=100", *TRANSFORMER)),
    "LSTM": ("gpt/files", ("optim.warmup_steps=100", *LSTM)),
}
"""The recipe and the model of each kind of pre-training."""
FAMILIES = {
    "BERT": ("model.attention_dropout=0",),
    "GPT": ("model.family=gpt", "model.attention_dropout=0"),
    "LSTM": ("model.family=recurrent_lm",),
}
"""Settings with which a tagger is fine-tuned from each."""
STEPS, TUNING = 1000, 600
TEXT = (
    "data.path={data}/wikitext2/test.txt", "data.validation_share=0.05", "data.batch_tokens=2048", "trainer.minutes=0",
    "trainer.evaluate_every=0", "trainer.checkpoint_every=500", "trainer.samples=0",
)  # fmt: skip
TAGS = (
    "data.path={data}/conll2000", "data.batch_tokens=1024", "optim.warmup_steps=50", f"trainer.steps={TUNING}",
    "trainer.evaluate_every=200", "trainer.checkpoint_every=200", "trainer.samples=0",
)  # fmt: skip
TUNED, FROZEN = ("optim.lr=0.001", "model.dropout=0.1"), ("head.frozen=true", "optim.lr=0.01")
"""Settings of a tagger whose weights are all trained, and of one whose output layer alone is."""
SHARED = "tokenizer.path={vocabulary}"
QUICK = ("trainer.steps=20", "data.batch_tokens=512", "optim.warmup_steps=5", "trainer.evaluate_every=0")
TINY = ("trainer.steps=2",)


def trainings(
    bases: Sequence[str], taggers: Mapping[str, tuple[str, tuple[str, ...]]], seeds: Sequence[int]
) -> list[Training]:
    """Return pre-trainings and taggers with some seeds, after the training of their common vocabulary.

    Args:
        bases: the kinds of pre-training.
        taggers: the kind of pre-training and the settings of each tagger, by name; those whose settings have `model=`
            start from random weights.
        seeds: the seeds.
    """
    first = Training(
        "vocabulary", "bert/files",
        (*TEXT, *TRANSFORMER, "tokenizer.vocab_size=4000", "tokenizer.lines=20000", "trainer.steps=1"),
    )  # fmt: skip
    trained = [
        Training(f"{base}-base", PRETRAIN[base][0], (*PRETRAIN[base][1], *TEXT, SHARED, f"trainer.steps={STEPS}"))
        for base in bases
    ]
    for name, (base, settings) in taggers.items():
        if any(setting.startswith("model=") for setting in settings):
            trained.append(Training(name, TAGGING, (*settings, *TAGS, SHARED)))
        else:
            trained.append(Training(name, TAGGING, (*FAMILIES[base], *settings, *TAGS), start=f"{base}-base"))
    return [first, *seeded(trained, seeds)]


def scored(runs: Runs, names: Sequence[str]) -> Outcome:
    """Score taggers on the test split, and count the parameters that each trains.

    Args:
        runs: the runs of the experiment.
        names: names of the taggers; those of frozen models contain "frozen".
    """
    scores = {name: runs.spread(name, "f1") for name in names}
    rows = [
        (name, score.text(1), runs.spread(name, "tag_accuracy").text(1), _trained(runs, name))
        for name, score in scores.items()
    ]
    picture = bars(scores, "F1 of phrases (CoNLL-2000)", "F1 in percent", name_pixels=170)
    return Outcome([Table(("tagger", "F1", "accuracy", "trained parameters"), rows)], picture)


def _trained(runs: Runs, name: str) -> int:
    """Return the number of trained parameters of a tagger: all, or those outside the encoder of a frozen one."""
    weights = runs.open(runs.groups[name][0]).model.named_parameters()
    return sum(weight.numel() for key, weight in weights if "frozen" not in name or not key.startswith("encoder."))
