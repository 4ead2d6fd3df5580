"""All schemes of positions on sentences of the trained lengths and on longer ones."""

from collections.abc import Sequence
from typing import Any

from laboratory.experiment import AT_THE_END, Experiment, Outcome, Table, Training, seeded
from laboratory.runs import Runs, Spread, line
from tformer_cli.draw import Chart
from tformer_cli.evaluators.base import Row

LONGEST = 16
SETTINGS = ("data.size=80000", f"data.max_length={LONGEST}", "trainer.steps=1200", "decode.beam=1", *AT_THE_END)
SCHEMES = (
    "none", "index", "index-concatenated", "sinusoidal", "learned", "learnable_sinusoidal", "rotary", "t5", "shaw",
    "transformer_xl",
)  # fmt: skip
"""Schemes of `model.positions`; numbers are also concatenated, since pre-norm removes added ones."""
GROUPS = (f"up to {LONGEST} tokens", "longer")


def measure(runs: Runs) -> Outcome:
    """Compare exact match within the trained lengths and beyond them."""
    table, lines = [], {group: [] for group in GROUPS}
    counts: dict[str, str] = {}
    for scheme, paths in runs.groups.items():
        divided = [_divided(runs.predictions(path), runs.open(path).tokenizer) for path in paths]
        spreads = {group: Spread([_exact(parts[group]) for parts in divided]) for group in GROUPS}
        counts = {group: Spread([len(parts[group]) for parts in divided]).text(0) for group in GROUPS}
        loss = runs.spread(scheme, "loss")
        table.append((scheme, *(spreads[group].text() for group in GROUPS), loss.text(3)))
        for group in GROUPS:
            lines[group].append(spreads[group])
    header = ("positions", *(f"exact match, {group}" for group in GROUPS), "test loss")
    title = "Exact match in percent; mean of three seeds (lowest to highest), which differ in their sentences, too."
    series = [line(group, spreads) for group, spreads in lines.items()]
    return Outcome(
        [Table(header, [*table, ("sentences", *counts.values(), None)], title)],
        Chart("Exact match by length", [_short(name) for name in SCHEMES], series, "", "exact match, %"),
    )


def _divided(rows: Sequence[Row], tokenizer: Any) -> dict[str, list[Row]]:
    """Divide predictions by whether source and target have at most as many tokens as those of training."""
    sources = tokenizer.encode_batch([row["source"] for row in rows], "en")
    targets = tokenizer.encode_batch([row["reference"] for row in rows], "ja")
    groups: dict[str, list[Row]] = {group: [] for group in GROUPS}
    for row, source, target in zip(rows, sources, targets, strict=True):
        groups[GROUPS[max(len(source), len(target)) > LONGEST]].append(row)
    return groups


def _exact(rows: Sequence[Row]) -> float:
    """Return the share of predictions that are equal to the reference, in percent."""
    return 100 * sum(row["prediction"] == row["reference"] for row in rows) / max(1, len(rows))


def _scheme(name: str) -> tuple[str, ...]:
    """Return the settings of a scheme."""
    scheme, _, concatenated = name.partition("-")
    return (f"model.positions={scheme}", *(["model.combine=concatenate"] if concatenated else []))


def _short(name: str) -> str:
    """Return a name that fits below its values."""
    short = {"sinusoidal": "sin", "learnable_sinusoidal": "learn. sin", "transformer_xl": "XL"}
    return short.get(name, name.replace("-concatenated", ", cat"))


EXPERIMENT = Experiment(
    title="Schemes of positions within the trained lengths and beyond them",
    claim="without positions order is invisible; numbers as positions hurt; relative schemes carry to greater lengths",
    source="Vaswani et al. 2017, table 3 (E); Shaw et al. 2018; Dai et al. 2019; Raffel et al. 2020; Su et al. 2021",
    budget="1,200 steps, and the same parameters but for the positions",
    trainings=seeded(
        [Training(scheme, "quickstart/translation", (*SETTINGS, *_scheme(scheme))) for scheme in SCHEMES],
        (1, 2, 3),
    ),
    measure=measure,
    quick=("trainer.steps=5", "data.size=1000"),
    tiny=("trainer.steps=2", "data.size=400"),
)
