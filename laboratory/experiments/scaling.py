"""Scaled scores of attention, numbers of heads at equal width, and residual connections at several depths."""

from laboratory.experiment import AT_THE_END, Experiment, Outcome, Table, Training, seeded
from laboratory.runs import Runs, line
from tformer_cli.draw import Chart

RECIPE = "quickstart/translation"
SETTINGS = ("data.size=20000", "trainer.steps=450", *AT_THE_END)
HEADS, DEPTHS = (1, 2, 4, 8), (1, 2, 4)
SIDES = ("encoder", "decoder")
SCALED = {"scaled": "true", "not scaled": "false"}
CONNECTED = {"residual connections": "true", "none": "false"}


def measure(runs: Runs) -> Outcome:
    """Compare the loss on the test split by heads and by depth."""
    loss = {name: runs.losses(name) for name in runs.groups}
    heads = [(name, *(loss[f"{count} heads, {value}"] for count in HEADS)) for name, value in SCALED.items()]
    depths = [(name, *(loss[f"{depth} blocks, {value}"] for depth in DEPTHS)) for name, value in CONNECTED.items()]
    lines = [line(name, values) for name, *values in depths]
    return Outcome(
        [
            Table(
                ("scores", *(f"{count} head{'s'[: count > 1]}" for count in HEADS)),
                _rounded(heads),
                "Test loss by heads.",
            ),
            Table(
                ("connections", *(f"{depth} + {depth} blocks" for depth in DEPTHS)),
                _rounded(depths),
                "Test loss by depth.",
            ),
        ],
        Chart("Test loss by depth", list(map(str, DEPTHS)), lines, "blocks on each side", "loss", connected=True),
    )


def _rounded(rows: list) -> list[tuple[str, ...]]:
    """Return rows with their losses as texts."""
    return [(name, *(value.text(3) for value in values)) for name, *values in rows]


def _trainings() -> list[Training]:
    """Return the trainings by heads, at width 128, and those by depth, at width 64."""
    heads = [
        Training(
            f"heads-{count}-{value}",
            RECIPE,
            (*SETTINGS, "model.positions=sinusoidal", f"model.heads={count}", f"model.scale_attention={value}"),
            group=f"{count} heads, {value}",
        )
        for value in SCALED.values()
        for count in HEADS
    ]
    small = ("model.dim=64", "model.ffn_dim=256", "model.positions=sinusoidal")
    depths = [
        Training(
            f"depth-{depth}-{value}",
            RECIPE,
            (*SETTINGS, *small, *(f"model.{side}_depth={depth}" for side in SIDES), f"model.residual={value}"),
            group=f"{depth} blocks, {value}",
        )
        for value in CONNECTED.values()
        for depth in DEPTHS
    ]
    return heads + depths


EXPERIMENT = Experiment(
    title="Scaled scores, heads and residual connections",
    claim="1/sqrt(d) keeps the softmax from saturating; several heads are better than one; residuals enable depth",
    source="Vaswani et al. 2017, sections 3.2.1 and 3.2.2 and table 3; He et al. 2016; talks on Transformers",
    budget="450 steps, two seeds, and the same parameters among models of a depth",
    trainings=seeded(_trainings(), (1, 2)),
    measure=measure,
    quick=("trainer.steps=10", "data.size=1000"),
    tiny=("trainer.steps=2", "data.size=400"),
)
