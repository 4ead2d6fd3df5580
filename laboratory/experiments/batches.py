"""The size of a batch and the learning rate, for a Transformer and a recurrent model with attention."""

from laboratory.experiment import AT_THE_END, Experiment, Outcome, Table, Training
from laboratory.runs import Runs
from tformer_cli.draw import Chart, Series

SETTINGS = (
    "data.size=16000", "trainer.minutes=0", "trainer.steps=0", "trainer.epochs=1", "optim.method=adamw",
    "optim.schedule=linear", "optim.warmup_steps=20", *AT_THE_END,
)  # fmt: skip
MODELS = {
    "Transformer": ("model=transformer_tiny", "model.encoder_depth=2", "model.decoder_depth=2", "model.ffn_dim=512"),
    "GRU": ("model=recurrent_bahdanau", "model.dim=160"),
}
BATCHES, RATES = {"256": 256, "1,024": 1024, "4,096": 4096}, ("0.001", "0.003", "0.01")


def measure(runs: Runs) -> Outcome:
    """Compare the loss on the test split."""
    loss = {name: runs.loss(paths[0]) for name, paths in runs.groups.items()}
    rows = [
        (model, batch, *(f"{loss[f'{model}-{size}-{rate}']:.3f}" for rate in RATES))
        for model in MODELS
        for batch, size in BATCHES.items()
    ]
    lines = [Series(f"{row[0]}, {row[1]}", [float(value) for value in row[2:]]) for row in rows]
    return Outcome(
        [Table(("model", "tokens in a batch", *(f"learning rate {rate}" for rate in RATES)), rows, "Test loss.")],
        Chart("Test loss by batch and learning rate", RATES, lines, "learning rate", "loss", connected=True),
    )


EXPERIMENT = Experiment(
    title="Batch size and learning rate of a Transformer and of a recurrent model",
    claim="Transformers want large batches and careful settings; recurrent models are less sensitive",
    source="Popel and Bojar 2018, sections 4.5 and 4.6; talks on Transformers",
    budget="16,000 examples each, once, in as many steps as the batch needs, and about the same parameters",
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
