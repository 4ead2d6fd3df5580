"""Fine-tuned scores of BERT with and without segment embeddings, on pairs of sentences."""

from collections.abc import Sequence

from laboratory.experiment import Cell, Experiment, Outcome, Table
from laboratory.runs import Runs, Spread, bars
from laboratory.small_bert import DATA, FILE, QUICK, TINY, TUNING, WORDS, common_words, trainings

NAMES = {"segments": "with segments", "none": "without"}
STEPS = 1200


def measure(runs: Runs) -> Outcome:
    """Score the fine-tuned models, and the pre-trained ones on next sentences."""
    spearman = {name: runs.spread(name, "spearman") for name in NAMES}
    rows: list[Sequence[Cell]] = [
        (shown, spearman[name].text(3), runs.spread(name, "pearson").text(3),
         *(runs.spread(f"{name}-base", f"{task}_accuracy", "validation").text() for task in ("mlm", "nsp")))
        for name, shown in NAMES.items()
    ]  # fmt: skip
    words = common_words(runs.predictions(runs.groups["segments"][0]))
    rows.append((WORDS, f"{words['spearman']:.3f}", f"{words['pearson']:.3f}", None, None))
    named = {NAMES[name]: spread for name, spread in spearman.items()} | {WORDS: Spread([words["spearman"]])}
    picture = bars(named, "Relatedness of sentences", "Spearman correlation")
    return Outcome([Table(("BERT", "Spearman", "Pearson", "masked tokens, %", "next sentences, %"), rows)], picture)


EXPERIMENT = Experiment(
    title="BERT with and without segment embeddings",
    claim="segment embeddings help with pairs of texts, beside the separator",
    source="Devlin et al. 2019, section 3; RoBERTa's release has none (Liu et al. 2019); talks on BERT",
    budget=f"{STEPS:,} steps of up to 2,048 tokens of pre-training with next sentences, and {TUNING:,} of fine-tuning",
    corpus="2,000 film reviews (Pang and Lee 2004), then pairs of sentences (SICK)",
    data=DATA,
    file=FILE,
    trainings=trainings(
        {"segments": ("bert.nsp=true", "model.segments=2"), "none": ("bert.nsp=true", "model.segments=0")},
        STEPS,
        (1, 2, 3, 4, 5, 6),
    ),
    measure=measure,
    quick=QUICK,
    tiny=TINY,
)
