"""Nearest neighbours of a word in three senses, by contextual vectors of each layer and by static vectors."""

import importlib.util
import statistics
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from laboratory.experiment import Experiment, Outcome, Scale, Table, Training, seeded
from laboratory.runs import Runs, Spread, line
from laboratory.small_bert import DATA, FILE, PRETRAIN, QUICK, REVIEWS, TINY
from tformer_cli.analysis.vectors import neighbours
from tformer_cli.api import Run
from tformer_cli.draw import Chart, Series
from tformer_cli.figures.base import Subject
from tformer_cli.figures.lens import layer_names
from tformer_cli.figures.vectors import occurrences

WORD, NEAREST, DIM = "left", 3, 128
DIRECTION = """
the car turns left at the corner .|he hurts his left hand in the fight .|a scar runs down his left cheek .
she sits on the left side of the bed .|look at the top left corner of the screen .|his left eye is made of glass .
a stranger stands to the left of the door .|she wears the ring on her left hand .|the road to the left leads home .
he was shot in the left leg .|on the far left of the frame stands the killer .|he limps on his left foot ."""
DEPARTED = """
she left him for another man .|he left the city years ago .|my wife left the theater before the end .
his father left when he was a child .|we left the house in the rain .|the crew left the ship at night .
she left her job and moved to paris .|half of the audience left early .|he left his family behind .
they left town without a word .|the killer left the scene in a hurry .|her husband left her last summer ."""
REMAINING = """
there is nothing left to say .|they have only two days left to live .|there is no hope left for the hero .
he has no money left .|with ten minutes left , the film falls apart .|there are few surprises left in this story .
she is the only one left alive .|is there anything left to tell ?|not much is left of the original plot .
there was no time left for a real ending .|he has one bullet left .|what is left of the town burns ."""
TEXTS = [[line for part in sense.strip().split("\n") for line in part.split("|")]
         for sense in (DIRECTION, DEPARTED, REMAINING)]  # fmt: skip
SENSES = np.repeat(np.arange(len(TEXTS)), [len(texts) for texts in TEXTS])
CHANCE = float(np.mean([(sense == SENSES).sum() - 1 for sense in SENSES]) / (len(SENSES) - 1))


def purity(vectors: np.ndarray) -> float:
    """Return the share of the three nearest occurrences that have the same sense, on average; vectors are (N, D)."""
    nearest = [neighbours(vector, vectors, NEAREST, exclude=[row]).indices for row, vector in enumerate(vectors)]
    return float(np.mean([SENSES[indices] == sense for indices, sense in zip(nearest, SENSES, strict=True)]))


def contextual(run: Run) -> list[float]:
    """Return the purity of the vectors after each block; before the first they are those of the word alone."""
    inspector = run.opened.task.inspector
    place = inspector.token_vectors(run.model)
    assert place is not None
    states = [
        vector
        for texts in TEXTS
        for vector in occurrences(Subject(run.model, inspector, [], texts=texts), place, WORD).vectors
    ]
    return [purity(np.stack([vectors[layer] for vectors in states])) for layer in range(1, len(states[0]))]


def means(vector_of: Callable[[str], np.ndarray | None]) -> np.ndarray:
    """Return the mean of the static vectors of the other words of each text, (N, D)."""
    rows = []
    for text in (text for texts in TEXTS for text in texts):
        vectors = [vector_of(word) for word in text.split() if word != WORD]
        rows.append(np.mean([vector for vector in vectors if vector is not None], 0))
    return np.stack(rows)


def embeddings(run: Run) -> Callable[[str], np.ndarray]:
    """Return the function from a word to the mean of the rows of its pieces in the embedding of a model."""
    model, tokenizer = cast(Any, run.model), cast(Any, run.tokenizer)
    table = model.encoder.embedding.weight.detach().numpy()
    return lambda word: table[tokenizer.encode(word)].mean(0)


def word2vec(run: Run, epochs: int) -> Callable[[str], np.ndarray | None]:
    """Train word2vec on the text of a model, and return the function from a word to its vector."""
    from gensim.models import Word2Vec  # pyright: ignore[reportMissingImports]

    lines = [line.split() for text in run.opened.task.data.split("train").documents for line in text.split("\n")]
    vectors = Word2Vec(lines, vector_size=DIM, sg=1, epochs=epochs, workers=1, seed=1).wv
    return lambda word: vectors[word] if word in vectors.key_to_index else None


def measure(runs: Runs) -> Outcome:
    """Compare contextual vectors, those of an untrained model, and static vectors of the other words of a text."""
    opened = {name: [runs.open(path) for path in runs.groups[name]] for name in ("BERT", "untrained")}
    layers = {name: [Spread(values) for values in zip(*map(contextual, each), strict=True)]
              for name, each in opened.items()}  # fmt: skip
    first = opened["BERT"][0]
    fixed = {"other words, embedding": statistics.fmean(purity(means(embeddings(run))) for run in opened["BERT"])}
    if importlib.util.find_spec("gensim"):
        epochs = 5 if runs.scale is Scale.full else 1
        fixed["other words, word2vec"] = purity(means(word2vec(first, epochs)))
    else:
        runs.say("word2vec is left out, as gensim is not installed: pip install 'tformer-cli[lineage]'")
    fixed["chance"] = CHANCE
    names = layer_names(1 + len(layers["BERT"]))[1:]
    rows = [(name, *(each[number].text(2) for each in layers.values())) for number, name in enumerate(names)]
    statics = [(f"static: {name}", f"{value:.2f}", None) for name, value in fixed.items()]
    lines = [line(name, spreads) for name, spreads in layers.items()]
    lines += [Series(name, [value] * len(names)) for name, value in fixed.items()]
    chart = Chart(f"Neighbours of '{WORD}' in the same sense", names, lines, "layer", "share", connected=True)
    right = [(name, runs.spread(name, "mlm_accuracy", "validation").text()) for name in opened]
    return Outcome(
        [
            Table(
                ("vectors", "BERT", "untrained"),
                [*rows, *statics],
                f"Share of neighbours with the same sense, over {len(SENSES)} occurrences.",
            ),
            Table(("model", "masked tokens, %"), right, "Correct on the validation documents"),
        ],
        chart,
    )


SETTINGS = (*REVIEWS, "model.depth=4")
EXPERIMENT = Experiment(
    title=f"Senses of '{WORD}' in contextual and static vectors",
    claim="contextual vectors tell the senses of a word apart, static ones cannot",
    source="Peters et al. 2018, section 5.3; Ethayarajh 2019; talks on features of language models",
    budget="the same text: 2,500 steps of a small BERT, five passes of word2vec, both with vectors of 128 numbers",
    corpus="2,000 film reviews (Pang and Lee 2004), and 36 sentences of our own",
    data=DATA,
    file=FILE,
    trainings=seeded(
        [Training("BERT", PRETRAIN, (*SETTINGS, "trainer.steps=2500")),
         Training("untrained", PRETRAIN, (*SETTINGS, "trainer.steps=1", "optim.lr=0"))], (1, 2)),
    measure=measure,
    quick=QUICK,
    tiny=TINY,
)  # fmt: skip
