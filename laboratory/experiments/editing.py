"""The speed of editing in parallel beside search token by token, at about equal quality."""

import statistics
import time
from typing import Any, cast

from laboratory.experiment import AT_THE_END, Experiment, Outcome, Table, Training
from laboratory.runs import Runs
from tformer_cli.draw import Bars

DATA = ("data.size=20000", "data.batch_tokens=1024")
LANGUAGES = ("data.source_language=en", "data.target_language=ja")
WAYS = {
    "greedy search": ("teacher", ("decode.beam=1",)),
    "beam of 5": ("teacher", ("decode.beam=5",)),
    "greedy search, 300 steps": ("early", ("decode.beam=1",)),
    "editing": ("editor", ()),
}
REPEATS, SENTENCES = 5, {1: 100, 64: 500}


def measure(runs: Runs) -> Outcome:
    """Compare scores on the test split, and measure the time of a sentence alone and in batches, ways in turns."""
    scores = {way: runs.scores(runs.path(run), settings=settings) for way, (run, settings) in WAYS.items()}
    predictions = runs.predictions(runs.path("editor"))
    sources = [row["source"] for row in predictions]
    tokenizer = cast(Any, runs.open(runs.path("editor")).tokenizer)
    tokens = statistics.fmean(len(tokenizer.encode(row["reference"], "ja")) for row in predictions)
    times: dict[tuple[str, int], list[float]] = {}
    for batch, count in SENTENCES.items():
        opened = {
            way: runs.open(runs.path(run), *settings, f"decode.batch={batch}", "trainer.precision=fp32")
            for way, (run, settings) in WAYS.items()
        }
        for _ in range(REPEATS):
            for way, run in opened.items():
                begin = time.perf_counter()
                run.predict(sources[:count])
                times.setdefault((way, batch), []).append(1000 * (time.perf_counter() - begin) / count)
    middle = {key: statistics.median(values) for key, values in times.items()}
    rows = [
        (
            way,
            f"{values['exact_match']:.1f}",
            f"{values['bleu']:.1f}",
            f"{values['rounds']:.2f}" if "rounds" in values else None,
            *(f"{middle[way, batch]:.1f}" for batch in SENTENCES),
        )
        for way, values in scores.items()
    ]
    header = ("way", "exact match, %", "BLEU", "rounds", *(f"ms, batches of {batch}" for batch in SENTENCES))
    title = f"Milliseconds for a sentence of {tokens:.1f} tokens on one core, in float32; the median of {REPEATS}."
    return Outcome(
        [Table(header, rows, title)],
        Bars(
            list(WAYS), [middle[way, 1] for way in WAYS], "Time for a sentence alone", "milliseconds", name_pixels=200
        ),
    )  # fmt: skip


EXPERIMENT = Experiment(
    title="Editing in parallel beside search token by token",
    claim="editing in parallel is faster than search token by token, since it needs few rounds",
    source="no paper claims it for these sizes; Gu et al. 2019, table 1, measure it on a GPU",
    budget="700 steps for the teacher and 2,000, in five times the time, for the editor that learns from it; a model "
    "of 300 steps has about the BLEU of the editor",
    trainings=[
        Training("teacher", "quickstart/translation", (*DATA, "trainer.steps=700", "decode.beam=1", *AT_THE_END)),
        Training("early", "quickstart/translation", (*DATA, "trainer.steps=300", "decode.beam=1", *AT_THE_END)),
        Training(
            "editor",
            "translation/levenshtein",
            (
                *LANGUAGES,
                "data.batch_tokens=1024",
                "tokenizer.path={teacher}",
                "model.dim=128",
                "model.ffn_dim=512",
                "model.encoder_depth=2",
                "model.decoder_depth=2",
                "model.dropout=0",
                "trainer.minutes=0",
                "trainer.steps=2000",
                "trainer.ema=0",
                "optim.label_smoothing=0",
                *AT_THE_END,
            ),
            teacher="teacher",
        ),
    ],
    measure=measure,
    quick=("trainer.steps=30", "data.size=500", "decode.max_length=12"),
    tiny=("trainer.steps=2", "data.size=300", "decode.max_length=4"),
)
