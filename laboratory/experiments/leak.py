"""A language model that sees the tokens that it predicts in training, beside one with the look-ahead mask."""

from laboratory.experiment import AT_THE_END, Experiment, Outcome, Table, Training, seeded
from laboratory.measures import training_losses
from laboratory.runs import Runs
from tformer_cli.draw import Curve, Curves

SETTINGS = ("trainer.steps=180", "trainer.log_every=5", *AT_THE_END)
MASKS = {"with the mask": "false", "without it": "true"}
PROMPT = "Return the"


def measure(runs: Runs) -> Outcome:
    """Compare the course of the training loss, and bits per byte and texts with the mask, which evaluation keeps."""
    rows, curves = [], []
    for name, paths in runs.groups.items():
        steps, losses = training_losses(paths[0])
        curves.append(Curve(name, steps, losses, points=False))
        (text,) = runs.open(paths[0], "decode.max_length=30").predict([PROMPT])
        bits = runs.spread(name, "bits_per_byte")
        rows.append((name, f"{losses[-1]:.3f}", bits.text(2), _line(PROMPT + text.text)))
    header = ("training", "last training loss", "bits per byte, test", f"continuation of `{PROMPT}`")
    title = "Scores and texts with the mask; mean of three seeds (lowest to highest); loss and text of the first."
    return Outcome(
        [Table(header, rows, title)],
        Curves(curves, "Training loss of a language model", "step", "loss", y_limits=(0.0,)),
    )


def _line(text: str) -> str:
    """Return the beginning of a text in one line, as code."""
    return f"`{' '.join(text.replace('`', ' ').split())[:80]}`"


EXPERIMENT = Experiment(
    title="A language model that sees the future in training",
    claim="without the look-ahead mask the training loss falls towards 0, and the model has learnt nothing",
    source="Vaswani et al. 2017, section 3.2.3; talks on Transformers",
    budget="180 steps and the same parameters; `model.leak_future` takes the mask away in training alone",
    corpus="the documentation that comes with Python",
    trainings=seeded(
        [
            Training(f"leak-{value}", "quickstart/gpt", (*SETTINGS, f"model.leak_future={value}"), group=name)
            for name, value in MASKS.items()
        ],
        (1, 2, 3),
    ),
    measure=measure,
    quick=("trainer.steps=15",),
    tiny=("trainer.steps=2", "trainer.log_every=1"),
)
