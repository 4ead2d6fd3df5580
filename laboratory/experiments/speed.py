"""Speed in training and in decoding: a Transformer and recurrent models with about the same parameters."""

import json
import statistics
import time
from typing import Any, cast

import numpy as np
import torch

from laboratory.experiment import AT_THE_END, Experiment, Outcome, Scale, Table, Training
from laboratory.runs import Runs
from laboratory.small_translators import BAHDANAU, FIXED, LUONG, TRANSFORMER
from tformer_cli.api import Run
from tformer_cli.config.schema import DecodeConfig
from tformer_cli.decode.search import search
from tformer_cli.draw import Chart, Series

SETTINGS = ("data.size=40000", "trainer.minutes=0", "trainer.steps=250", "trainer.log_every=10", *AT_THE_END)
MODELS = {"Transformer": TRANSFORMER, "Bahdanau GRU": BAHDANAU, "Luong LSTM": LUONG, "fixed LSTM": FIXED}
LENGTHS, SENTENCES, SOURCE_TOKENS, REPEATS = (8, 16, 32, 64, 128), (1, 32), 16, 5


def measure(runs: Runs) -> Outcome:
    """Measure the time of greedy decoding for outputs of fixed lengths, models in turns; collect speeds of training."""
    models = {name: runs.open(paths[0]) for name, paths in runs.groups.items()}
    lengths = LENGTHS if runs.scale is Scale.full else LENGTHS[:2]
    times: dict[tuple[str, int, int], list[float]] = {}
    for _ in range(REPEATS):
        for sentences in SENTENCES:
            for length in lengths:
                for name, run in models.items():
                    seconds = _decode(run, sentences, length)
                    times.setdefault((name, sentences, length), []).append(seconds)
    training = []
    for name, paths in runs.groups.items():
        low, rate, high = _training_rates((paths[0] / "performance.jsonl").read_text(encoding="utf-8"))
        training.append((name, runs.parameters(name), f"{rate:,.0f} ({low:,.0f} to {high:,.0f})"))

    def per_token(name: str, sentences: int, length: int) -> float:
        """Return the median time of an output token of a sentence, in milliseconds."""
        return 1000 * statistics.median(times[name, sentences, length]) / length / sentences

    decoding = [
        (name, sentences, *(f"{per_token(name, sentences, length):.3f}" for length in lengths))
        for sentences in SENTENCES
        for name in models
    ]
    lines = [Series(name, [per_token(name, 1, length) for length in lengths]) for name in models]
    return Outcome(
        [
            Table(("model", "parameters", "tokens of both sides/s"), training, "Training: median (quartiles)."),
            Table(
                ("model", "sentences", *(f"{length} tokens" for length in lengths)),
                decoding,
                f"Greedy decoding: milliseconds for an output token, by output length; median of {REPEATS}.",
            ),
        ],
        Chart("Decoding one sentence", list(map(str, lengths)), lines, "output tokens", "ms per token", connected=True),
    )


def _training_rates(performance: str) -> tuple[float, float, float]:
    """Return lower quartile, median and upper quartile of the tokens per second in lines of `performance.jsonl`."""
    rates = [json.loads(line)["perf/tokens_per_second"] for line in performance.splitlines()]
    low, median, high = np.percentile(rates, (25, 50, 75)).tolist()
    return low, median, high


@torch.inference_mode()
def _decode(run: Run, sentences: int, length: int) -> float:
    """Return the seconds in which greedy search makes outputs of exactly `length` tokens from random sources."""
    model, tokenizer = cast(Any, run.model), cast(Any, run.tokenizer)
    random = torch.Generator().manual_seed(1)
    source = torch.randint(10, tokenizer.vocab_size, (sentences, SOURCE_TOKENS), generator=random)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        begin = time.perf_counter()
        memory = model.encode(source, torch.full((sentences,), SOURCE_TOKENS))
        search(
            model, model.start(memory, 1, length), config=DecodeConfig(beam=1), bos_id=tokenizer.bos_id,
            eos_id=tokenizer.eos_id, max_lengths=torch.full((sentences,), length),
            forbidden=(tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id),
        )  # fmt: skip
        return time.perf_counter() - begin
    finally:
        torch.set_num_threads(threads)


EXPERIMENT = Experiment(
    title="Speed of training and of decoding",
    claim="Transformers train faster, since no step waits for another; recurrent decoders decode faster",
    source="Vaswani et al. 2017, table 1; Kasai et al. 2021 (arXiv:2103.13076); talks on Transformers",
    budget="250 steps without dropout, about a million parameters, one core",
    trainings=[
        Training(name.replace(" ", "-"), "quickstart/lineage", (*settings, *SETTINGS), group=name)
        for name, settings in MODELS.items()
    ],
    measure=measure,
    quick=("trainer.steps=30", "data.size=4000"),
    tiny=("trainer.steps=2", "trainer.log_every=1", "data.size=400"),
)
