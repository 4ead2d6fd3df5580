"""The size of a batch and the learning rate, for a Transformer and a recurrent model with attention."""

from collections.abc import Sequence

from laboratory.experiment import AT_THE_END, Cell, Experiment, Outcome, Table, Training
from laboratory.runs import Runs
from laboratory.small_translators import BAHDANAU, TRANSFORMER
from tformer_cli.draw import Chart, Series

SETTINGS = (
    "data.size=40000", "trainer.minutes=0", "trainer.steps=0", "trainer.epochs=1", "optim.method=adamw",
    "optim.schedule=linear", "optim.warmup_steps=20", *AT_THE_END,
)  # fmt: skip
MODELS = {"Transformer": TRANSFORMER, "GRU": BAHDANAU}
BATCHES, RATES = {"512": 512, "2,048": 2048, "8,192": 8192}, ("0.001", "0.003", "0.01")


def measure(runs: Runs) -> Outcome:
    """Compare the loss on the test split, and its range over the learning rates."""
    loss = {name: runs.loss(paths[0]) for name, paths in runs.groups.items()}
    rows: list[Sequence[Cell]] = []
    lines = []
    for model in MODELS:
        for batch, size in BATCHES.items():
            values = [loss[f"{model}-{size}-{rate}"] for rate in RATES]
            rows.append((model, batch, *(f"{value:.3f}" for value in values), f"{max(values) - min(values):.3f}"))
            lines.append(Series(f"{model}, {batch}", values))
    header = ("model", "tokens in a batch", *(f"learning rate {rate}" for rate in RATES), "range")
    return Outcome(
        [Table(header, rows, "Test loss.")],
        Chart("Test loss by batch and learning rate", RATES, lines, "learning rate", "loss", connected=True),
    )


EXPERIMENT = Experiment(
    title="Batch size and learning rate of a Transformer and of a recurrent model",
    claim="Transformers want large batches and careful settings; recurrent models are less sensitive",
    source="Popel and Bojar 2018, sections 4.5 and 4.6, on Transformers; talks on recurrent models",
    budget="40,000 examples, once, in as many steps as the batch needs; about a million parameters, one seed, and "
    "a warm-up of 20 steps",
    trainings=[
        Training(
            f"{model}-{size}-{rate}",
            "quickstart/lineage",
            (*settings, *SETTINGS, f"data.batch_tokens={size}", f"optim.lr={rate}"),
        )
        for model, settings in MODELS.items()
        for size in BATCHES.values()
        for rate in RATES
    ],
    measure=measure,
    quick=("data.size=600",),
    tiny=("data.size=400", "trainer.epochs=0", "trainer.steps=2"),
)
