"""Fine-tuned scores of BERT with and without next-sentence prediction."""

from laboratory.experiment import Cell, Experiment, Outcome, Table
from laboratory.runs import Runs, Spread, bars
from laboratory.small_bert import DATA, FILE, QUICK, TINY, TUNING, WORDS, common_words, trainings

NAMES = {"random": "random weights", "masked": "masked tokens", "next": "masked tokens, next sentence"}
STEPS = 1200


def measure(runs: Runs) -> Outcome:
    """Score the fine-tuned models, and the pre-trained ones on their own tasks."""
    spearman = {name: runs.spread(name, "spearman") for name in NAMES}
    rows: list[list[Cell]] = []
    for name, shown in NAMES.items():
        scores = {"masked": ["mlm_accuracy"], "next": ["mlm_accuracy", "nsp_accuracy"]}.get(name, [])
        right: list[Cell] = [runs.spread(f"{name}-base", score, "validation").text(1) for score in scores]
        right += [None] * (2 - len(right))
        rows.append([shown, spearman[name].text(3), runs.spread(name, "pearson").text(3), *right])
    words = common_words(runs.predictions(runs.groups["next"][0]))
    rows.append([WORDS, f"{words['spearman']:.3f}", f"{words['pearson']:.3f}", None, None])
    header = ("pre-training", "Spearman", "Pearson", "masked tokens, %", "next sentences, %")
    named = {NAMES[name]: spread for name, spread in spearman.items()} | {WORDS: Spread([words["spearman"]])}
    picture = bars(named, "Relatedness of sentences by pre-training", "Spearman correlation")
    return Outcome([Table(header, rows)], picture)


EXPERIMENT = Experiment(
    title="BERT with and without next-sentence prediction",
    claim="next-sentence prediction brings nothing",
    source="Liu et al. 2019 (RoBERTa), section 4.2, against Devlin et al. 2019, section 5.1; talks on BERT",
    budget=f"{STEPS:,} steps of up to 2,048 tokens of pre-training, and {TUNING:,} of fine-tuning; without it, BERT "
    "reads full blocks and with it pairs, as in the papers, so that their masked tokens are not the same",
    corpus="2,000 film reviews (Pang and Lee 2004), then pairs of sentences (SICK)",
    data=DATA,
    file=FILE,
    trainings=trainings({"masked": ("bert.nsp=false",), "next": ("bert.nsp=true",)}, STEPS, (1, 2, 3), untrained=True),
    measure=measure,
    quick=QUICK,
    tiny=TINY,
)
