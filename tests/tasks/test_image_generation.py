"""Image generation: its losses, its two phases, its scores, and the images that a run makes."""

from __future__ import annotations

import copy
import io
import json
import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.properties.families import SMALL, family_named
from tests.properties.test_training import machine
from tformer_cli import load, tasks
from tformer_cli.cli.main import main
from tformer_cli.config.compose import compose
from tformer_cli.console import Console
from tformer_cli.errors import ConfigError, DataError, RunError
from tformer_cli.evaluators.base import Evaluation, Scoring
from tformer_cli.evaluators.image_generation import CLASSIFIER, Classifier
from tformer_cli.models.image_head import ImageClassifier
from tformer_cli.nn.spectral_norm import SpectralNorm
from tformer_cli.objectives.adversarial import EVALUATION_STREAM, GeneratorHinge, Scores, labels_of, noise_of
from tformer_cli.predictors.base import Companion
from tformer_cli.runs.checkpoint import read_state, read_tensors
from tformer_cli.runs.folder import locate
from tformer_cli.train.launch import launch
from tformer_cli.train.learner import seed_step
from tformer_cli.train.loop import Trainer
from tformer_cli.train.parallel import Ranks
from tformer_cli.trained.evaluate import evaluate_run

TINY = ["data.size=60", "data.batch_images=4", "data.validation_share=0.2", "model.noise_dim=8",
        "model.generator=[8,8,8]", "model.discriminator=[8,8,8]", "evaluation.images=20"]  # fmt: skip
STEPS = ["trainer.steps=2", "trainer.evaluate_every=2", "trainer.checkpoint_every=1", "trainer.keep=9"]


def prepared(folder, *more: str):
    task = tasks.build(compose("sagan/digits", [*SMALL, *TINY, f"data.cache={folder}", *more]))
    task.prepare(folder)
    return task


def trainer_of(task, folder) -> Trainer:
    seed_step(1, 0, 0)
    trainer = Trainer(task, task.model(), folder, machine(), Ranks(), Console(quiet=True))
    trainer.model.train()
    trainer.progress.step = 1
    return trainer


def trained(folder, *more: str):
    launch(compose("sagan/digits", [*SMALL, *TINY, *STEPS, f"data.cache={folder}", *more]), folder / "run", quiet=True)
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("gan"))


# --- losses and phases ---


def test_losses_are_hinges(tmp_path):
    task = prepared(tmp_path)
    discriminator, generator = (phase.objective for phase in task.phases)
    scores = Scores(torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.25, 1.0]))
    loss = discriminator.loss(None, scores, None)
    assert float(loss.total) == pytest.approx((0 + 0.5 + 2) + (0 + 1.25 + 2)) and int(loss.count) == 3
    assert {name: float(part) for name, part in loss.parts.items()} == {"real": 1.5, "generated": -1.75}
    loss = generator.loss(None, torch.tensor([-3.0, 0.25, 1.0]), None)
    assert float(loss.total) == pytest.approx(1.75) and int(loss.count) == 3


def test_noise_and_labels_depend_on_the_sample_alone(tmp_path):
    model = prepared(tmp_path).model()
    samples = torch.arange(50)
    noise, labels = noise_of(model, 3, 1, samples), labels_of(model, 3, 1, samples)
    assert torch.equal(noise_of(model, 3, 1, samples[20:21]), noise[20:21]) and labels is not None
    assert set(labels.tolist()) == set(range(10))
    torch.manual_seed(0)
    state = torch.get_rng_state()
    assert not torch.equal(noise_of(model, 3, 2, samples), noise)
    assert torch.equal(torch.get_rng_state(), state)


def test_each_phase_trains_its_net_alone_and_moves_its_spectral_vectors_once(tmp_path):
    task = prepared(tmp_path, "model.spectral_norm=both")
    trainer = trainer_of(task, tmp_path)
    parts = [task.view("train").collate(0, part) for part in np.split(np.arange(12), 3)]
    for number, name in enumerate(("discriminator", "generator")):
        before = copy.deepcopy(trainer.model.state_dict())
        expected = copy.deepcopy(getattr(trainer.model, name))
        task.phases[number].before(expected)
        trainer._update(trainer.phases[number], number, parts)
        other = {"discriminator": "generator", "generator": "discriminator"}[name]
        parameters = dict(trainer.model.named_parameters())
        changed = {key.partition(".")[0] for key, value in parameters.items() if not torch.equal(value, before[key])}
        assert changed == {name}
        assert all(parameter.grad is None for parameter in parameters.values())  # nothing is left for the other phase
        norms = [m for m in getattr(trainer.model, name).modules() if isinstance(m, SpectralNorm)]
        once = [m for m in expected.modules() if isinstance(m, SpectralNorm)]
        assert norms and all(torch.equal(a.left, b.left) for a, b in zip(norms, once, strict=True))
        still = [key for key in before if key.startswith(other) and key.endswith((".left", ".right"))]
        assert still and all(torch.equal(before[key], trainer.model.state_dict()[key]) for key in still)


def test_both_nets_are_told_the_labels_that_the_images_were_made_of(tmp_path):
    task = prepared(tmp_path)
    model, batch = task.model().eval(), task.view("train").collate(0, np.arange(5))
    seen = []
    model.discriminator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    task.phases[0].objective.outputs(model, batch)
    task.phases[1].objective.outputs(model, batch)
    (both, labels), (images, again) = seen
    (real,) = task.data.inputs(batch, training=False)
    assert torch.equal(both[:5], real) and torch.equal(labels[:5], batch.targets)
    torch.testing.assert_close(both[5:], images)
    assert torch.equal(labels[5:], again)
    samples = batch.images.draws
    noise = noise_of(model, task.config.seed, 0, samples, EVALUATION_STREAM)
    drawn = labels_of(model, task.config.seed, 0, samples)
    assert torch.equal(again, drawn)
    torch.testing.assert_close(model.generator(noise, drawn), images)


def test_a_moving_average_covers_the_generator_and_its_statistics(tmp_path):
    run = trained(tmp_path, "trainer.ema=0.5", "model.spectral_norm=both")
    folder = run / "checkpoints" / "step-00000002"
    raw = {name for name in read_tensors(folder / "optimizer.safetensors") if name.startswith("raw.")}
    assert raw and all(name.startswith("raw.generator.") for name in raw)
    assert "raw.generator.norm.running_mean" in raw and "raw.generator.blocks.0.norms.1.running_var" in raw
    weights = read_tensors(folder / "model.safetensors")
    values = read_tensors(folder / "optimizer.safetensors")["raw.generator.norm.running_mean"]
    assert not torch.equal(weights["generator.norm.running_mean"], values)


@pytest.mark.parametrize(
    ("setting", "rate", "checkpoint", "nets"),
    [
        ("trainer.average=last", 0.05, "averaged", {"generator", "discriminator"}),
        ("trainer.ema=0.9", 0.005, "step-00000006", {"generator"}),
    ],
)
def test_an_average_has_the_spectral_norms_of_its_weights(tmp_path, setting, rate, checkpoint, nets):
    rates = [f"optim.lr={rate}", f"generator_optim.lr={rate}"]  # averaged weights far from those of the last step
    run = trained(tmp_path, *rates, "trainer.steps=6", setting, "model.spectral_norm=both")
    weights = read_tensors(run / "checkpoints" / checkpoint / "model.safetensors")
    names = [name.removesuffix("original") for name in weights if name.endswith("weight.original")]
    assert {name.partition(".")[0] for name in names} == {"generator", "discriminator"}
    for name in (name for name in names if name.partition(".")[0] in nets):
        left, right = weights[f"{name}0.left"].double(), weights[f"{name}0.right"].double()
        matrix = weights[f"{name}original"].double().flatten(1)
        assert [float(left.norm()), float(right.norm())] == pytest.approx([1, 1], abs=1e-5)
        assert float(torch.linalg.svdvals(matrix)[0] / (left @ matrix @ right)) == pytest.approx(1, abs=0.002)


@pytest.mark.parametrize("more", [[], ["data.labelled=false", "model.attention=false"]])
def test_a_resumed_run_ends_with_the_same_bytes(tmp_path, more):
    """With batch normalisation, an average, accumulation, and labels or none."""
    more = ["trainer.ema=0.5", "trainer.accumulate=2", "model.spectral_norm=both", *more]
    config = compose("sagan/digits", [*SMALL, *TINY, *STEPS, f"data.cache={tmp_path}", *more])
    for name, steps in (("whole", (2,)), ("parts", (1, 2))):
        for step in steps:
            config.trainer.steps = step
            launch(config, tmp_path / name, resume=step == 2 and name == "parts", quiet=True)
    for name in ("model.safetensors", "optimizer.safetensors"):
        first, second = (tmp_path / part / "checkpoints" / "step-00000002" / name for part in ("whole", "parts"))
        assert first.read_bytes() == second.read_bytes()


# --- scores ---


def test_scores_are_reproduced_and_name_how_they_were_computed(run):
    report = evaluate_run(run, "validation")
    scores, signatures = report.evaluation.scores, report.evaluation.signatures
    state = read_state(locate(run)[1])
    assert (state["metric"], state["best"]) == ("pixel_distance", scores["pixel_distance"])
    assert scores["pixel_distance"] > 0 and scores["generator_loss"] == -scores["generated_score"]
    assert signatures["pixel_distance"] == "pixels:64|images:12|split:validation"
    assert {path.name for path in report.pictures} == {"validation-samples.png"}
    assert not any("fid" in name for name in scores)


class Copies(torch.nn.Module):
    """A generator that copies training images of a label: all of them in turn, or always the first."""

    noise_dim = 8

    def __init__(self, task, *, alike: bool) -> None:
        super().__init__()
        self.alike, targets = alike, task.data.targets("train")
        rows = [np.flatnonzero(targets == label) for label in range(10)]
        batches = [task.data.view("train").collate(0, members) for members in rows]
        self.images = [task.data.inputs(batch, training=False)[0] for batch in batches]
        self.used = [0] * 10

    def forward(self, noise, labels):
        chosen = []
        for label in labels.tolist():
            images = self.images[label]
            chosen.append(images[0 if self.alike else self.used[label] % len(images)])
            self.used[label] += 1
        return torch.stack(chosen)


def test_a_collapse_is_noticed_by_the_spread(tmp_path):
    task = prepared(tmp_path, "evaluation.images=100")
    model = task.model().eval().requires_grad_(False)
    scores = {}
    for alike in (False, True):
        model.generator = Copies(task, alike=alike)
        evaluation = task.evaluator.evaluate(model, task.data.view("train"), Scoring(samples=0))
        scores[alike] = evaluation.scores
    assert scores[False]["lowest_pixel_spread"] == pytest.approx(1, abs=1e-3)
    assert scores[False]["pixel_distance"] == pytest.approx(0, abs=1e-3)
    assert scores[True]["pixel_spread"] < 1e-6 and scores[True]["pixel_distance"] > 0.1
    ((title, header, rows),) = evaluation.tables
    assert header == ["label", "pixel spread"] and [row[0] for row in rows] == [str(digit) for digit in range(10)]


def test_lower_distances_are_better(tmp_path):
    """Checkpoints would be chosen by the highest distance, and `tformer compare` would call it the best."""
    task = prepared(tmp_path)
    model = task.model().eval().requires_grad_(False)
    scores = task.evaluate(model, "validation", Scoring(samples=0)).scores
    distances = {name for name in scores if "distance" in name or name.endswith("loss")}
    assert {"pixel_distance", "pixel_distance_percent"} <= distances <= task.evaluator.lower_is_better
    assert "feature_distance_percent" in task.evaluator.lower_is_better


def test_labels_of_examples_are_read_as_those_of_predictions(tmp_path):
    task = prepared(tmp_path)
    inspector, model = task.evaluator.inspector, task.model().eval().requires_grad_(False)
    names = [example.name for example in inspector.examples(model, ["3", ""])]
    assert names == ["generated image 1: 3", "generated image 2: 1"]  # "" is the label whose turn it is
    with pytest.raises(ConfigError, match="label 'cat': the model has no such label"):
        inspector.examples(model, ["cat"])


def test_the_spread_of_a_label_with_a_single_image_is_a_dash(tmp_path):
    task = prepared(tmp_path)
    model = task.model().eval().requires_grad_(False)
    ((_, _, rows),) = task.evaluate(model, "validation", Scoring(limit=4, samples=0)).tables
    assert sum(cell == "-" for _, cell in rows) >= 8  # two labels at most have two of the four images
    assert all(cell == "-" or float(cell) >= 0 for _, cell in rows)


def test_scores_that_no_image_gives_are_absent_and_a_note_says_so(tmp_path):
    """A spread of 0 is a collapse, and a distance of 0 % is a perfect score."""
    task = prepared(tmp_path)
    model = task.model().eval().requires_grad_(False)
    evaluation = task.evaluate(model, "validation", Scoring(limit=2, samples=0))  # of two labels
    assert "pixel_distance_percent" in evaluation.scores
    assert not any("spread" in name for name in evaluation.scores)
    reason = "each label has fewer than two images, or equal real ones"
    assert evaluation.notes == [f"pixel_spread is unknown: {reason}"]


def test_a_spread_names_the_number_of_its_labels(tmp_path):
    task = prepared(tmp_path)
    model = task.model().eval().requires_grad_(False)
    evaluation = task.evaluate(model, "validation", Scoring(samples=0))
    ((_, _, rows),) = evaluation.tables
    spreads = [float(cell) for _, cell in rows if cell != "-"]
    assert 0 < len(spreads) < 10
    for name, value in (("pixel_spread", np.mean(spreads)), ("lowest_pixel_spread", min(spreads))):
        assert evaluation.scores[name] == pytest.approx(value, abs=1e-3)
        assert evaluation.signatures[name].endswith(f"split:validation|labels:{len(spreads)} of 10")
    (note,) = evaluation.notes
    assert note.startswith(
        f"pixel_spread is that of {len(spreads)} of 10 labels: the others have fewer than two images"
    )


def test_a_percentage_of_no_variance_is_absent(tmp_path, monkeypatch):
    task = prepared(tmp_path)
    model = task.model().eval().requires_grad_(False)
    compared = task.evaluator._compared

    def of_equal_images(*arguments):
        part = compared(*arguments)
        return replace(part, real_pixels=np.full_like(part.real_pixels, 0.1))

    monkeypatch.setattr(task.evaluator, "_compared", of_equal_images)
    evaluation = task.evaluate(model, "validation", Scoring(samples=0))
    assert evaluation.scores["pixel_distance"] > 0 and "pixel_distance_percent" not in evaluation.scores
    assert evaluation.notes[0] == "pixel_distance_percent is unknown: the pixels of all real images are equal"


def test_a_score_of_several_images_may_select_the_best_checkpoint(tmp_path):
    run = trained(tmp_path, "trainer.metric=pixel_distance_percent", "trainer.evaluate_limit=12")
    assert read_state(locate(run)[1])["metric"] == "pixel_distance_percent"


def test_evaluation_has_noise_of_its_own(tmp_path):
    """With the noise of training, the networks would be scored on what they have seen."""
    task = prepared(tmp_path)
    model = task.model()
    noises = []
    model.generator.register_forward_pre_hook(lambda _, inputs: noises.append(inputs[0]))
    for training in (True, False):
        model.train(training)
        for phase in task.phases:
            phase.objective.outputs(model, task.view("validation").collate(0, np.arange(4)))
    task.evaluator._compared(model, task.view("validation"), range(4))
    assert len(noises) == 5 and torch.equal(noises[0], noises[1])
    assert not (noises[2] == noises[0]).any()
    assert torch.equal(noises[2], noises[3]) and torch.equal(noises[2], noises[4])


def test_a_split_of_a_single_image_is_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "train_step", lambda *_: pytest.fail("trained"))
    with pytest.raises(DataError, match="the validation split has 1 image, and scores of generated images need two"):
        trained(tmp_path, "data.size=10", "data.labelled=false", "data.validation_share=0.1")


def classifier_of(folder, *more: str):
    settings = ["data.size=60", "data.batch_images=16", "model.dim=16", "model.heads=2", "model.ffn_dim=32",
                "model.depth=1", "trainer.steps=5", "trainer.evaluate_every=0", "optim.warmup_steps=1"]  # fmt: skip
    config = compose("quickstart/vit", [*SMALL, *settings, f"data.cache={folder}", *more])
    launch(config, folder / "classifier", quiet=True)
    return folder / "classifier"


def test_a_classifier_scores_images_and_is_named_by_its_hash(tmp_path, capsys):
    classifier = classifier_of(tmp_path)
    run = trained(tmp_path, f"{CLASSIFIER}={classifier}")
    assert read_state(locate(run)[1])["metric"] == "feature_distance"
    report = evaluate_run(run, "validation").evaluation
    assert {"accuracy", "distinct_labels", "feature_distance", "feature_distance_percent", "feature_spread",
            "lowest_feature_spread"} <= report.scores.keys()  # fmt: skip
    name = report.signatures["feature_distance"]
    assert name.startswith("classifier:") and "features:16|images:12|split:validation" in name
    assert report.signatures["accuracy"].startswith(name.split("|")[0])
    assert main(["evaluate", str(run), f"{CLASSIFIER}={tmp_path / 'no'}"]) == 2
    assert f"{CLASSIFIER}: there is no run" in capsys.readouterr().err
    os.rename(classifier, tmp_path / "moved")
    assert main(["predict", str(run), "--output", str(tmp_path / "grid.png")]) == 0  # it needs no scores


def test_labels_are_those_of_the_classifier(tmp_path):
    evaluator, evaluation = prepared(tmp_path).evaluator, Evaluation({})
    evaluator.classifier = SimpleNamespace(numbers=lambda names: np.arange(9, -1, -1))  # has them in another order
    compared = SimpleNamespace(labels=np.array([0, 1, 2, 3]), predictions=np.array([9, 8, 8, 8]))
    evaluator._add_labels(compared, evaluation, "signature")
    assert evaluation.scores == {"distinct_labels": 2, "accuracy": 50}


def test_samples_are_in_tensorboard_at_each_evaluation(tmp_path):
    run = trained(tmp_path, "trainer.evaluate_every=1", "trainer.samples=3")
    events = EventAccumulator(str(run / "validation"), size_guidance={"images": 0}).Reload()
    for tag in ("pictures/samples", "pictures/attention"):
        assert [event.step for event in events.Images(tag)] == [1, 2]


def test_a_classifier_computes_in_float32_whatever_the_precision_of_the_run(tmp_path):
    config = compose("quickstart/vit", [*SMALL, "data.size=60", f"data.cache={tmp_path}"])
    task = tasks.build(config)
    task.prepare(tmp_path)
    model = task.model().eval().requires_grad_(False)
    classifier = Classifier(Companion(tmp_path, "image_classification", model, None, task.data, "f" * 64))
    pixels = torch.randint(256, (5, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    expected, labels = classifier(pixels)
    with torch.autocast("cpu", torch.bfloat16):
        features, same = classifier(pixels)
    assert features.dtype == np.float32 and np.array_equal(features, expected) and np.array_equal(same, labels)


def test_an_unsuitable_classifier_is_refused(tmp_path):
    task = prepared(tmp_path)
    with pytest.raises(ConfigError, match="is a run of language_model"):
        task.suits(tmp_path, compose("quickstart/gpt"))
    for change, words in (("data.image_size=16", "data.image_size=8"), ("data.channels=3", "data.channels=1")):
        other = prepared(tmp_path, change)
        with pytest.raises(ConfigError, match=words):
            other.accept({CLASSIFIER: companion(tmp_path, task)})
            other.evaluator.prepare()


def companion(folder, task) -> Companion:
    encoder = torch.nn.Identity()
    model = ImageClassifier.__new__(ImageClassifier)
    torch.nn.Module.__init__(model)
    model.encoder = encoder
    return Companion(folder, "image_classification", model, None, task.data, "f" * 64)


def test_pictures_show_samples_of_each_label_and_attention(tmp_path):
    task = prepared(tmp_path)
    model = task.model().eval()
    samples = task.evaluate(model, "validation", Scoring(limit=4)).pictures["samples"]
    assert samples.columns == 10 and samples.captions[:10] == [str(digit) for digit in range(10)]
    attention = task.evaluator.pictures(model)["attention"]
    assert len(attention.weights) == len(attention.images) and attention.weights[0].shape == (2, 2)
    assert all(weights.sum() == pytest.approx(1, abs=1e-5) for weights in attention.weights)
    assert attention.captions[:3] == ["row 2, column 3", "row 3, column 3", "row 4, column 3"]  # of 4 x 4 cells
    assert attention.marks[:3] == [(5 / 8, 3 / 8), (5 / 8, 5 / 8), (5 / 8, 7 / 8)]  # of 8 x 8 pixels
    without = prepared(tmp_path, "model.attention=false")
    assert without.evaluator.pictures(without.model().eval()) == {}


# --- images ---


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_predict_writes_a_grid_with_a_column_for_each_label(run, tmp_path, capsys):
    for name in ("a.png", "b.png"):
        assert main(["predict", str(run), "--count", "20", "--output", str(tmp_path / name)]) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert pixels(tmp_path / "a.png").shape == (2 + 2 * 10, 2 + 10 * 10)
    assert "20 images in" in capsys.readouterr().err
    assert main(["predict", str(run), "--count", "20", "--seed", "2", "--output", str(tmp_path / "b.png")]) == 0
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


def test_predict_writes_a_folder_of_images_of_one_label(run, tmp_path, capsys):
    command = ["predict", str(run), "--label", "3", "--count", "3", "--json", "--output", str(tmp_path / "out")]
    assert main(command) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = [f"0000{index}-3.png" for index in range(3)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert [record["file"] for record in records] == [str(tmp_path / "out" / name) for name in names]
    assert all(record["label"] == "3" and record["seed"] == 1 for record in records)
    images = [answer.details["image"] for answer in load(run).predict(["3"] * 3)]
    for name, image in zip(names, images, strict=True):
        assert np.array_equal(pixels(tmp_path / "out" / name), image[..., 0])
    assert main(command) == 1  # the folder already exists
    assert "already exists" in capsys.readouterr().err


def test_predict_writes_to_standard_output(run, capfdbinary):
    assert main(["predict", str(run), "--count", "1", "--label", "0", "-o", "-"]) == 0
    assert np.asarray(Image.open(io.BytesIO(capfdbinary.readouterr().out))).shape == (12, 12)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x.png", "-o", "g.png"], "x.png: a run of image_generation reads no input"),
        ([], "--output images.png, or --output FOLDER"),
        (["-o", "g.jpg"], "images are written as PNG: --output g.png"),
        (["-o", "g.png", "--label", "x"], "label 'x': the model has no such label: one of 0, 1, 2"),
        (
            ["-o", "g.png", "--beam", "2"],
            "--beam has no effect on a run of image_generation (sagan): valid options: --count",
        ),
        (["-o", "g.png", "--column", "x"], "--column has no effect on a run of image_generation"),
        (["-o", "-", "--json"], "both write to standard output"),
        (["-o", "none/g.png"], "there is no folder none"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(run, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", str(run), *arguments]) in (1, 2)
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_labels_and_counts_are_refused_where_they_have_no_meaning(tmp_path, capsys):
    run = trained(tmp_path, "data.labelled=false")
    assert main(["predict", str(run), "--label", "3", "-o", str(tmp_path / "g.png")]) == 2
    assert "--label has no effect: the model was trained on images without labels" in capsys.readouterr().err
    assert main(["predict", str(run), "--count", "5", "-o", str(tmp_path / "g.png")]) == 0
    assert pixels(tmp_path / "g.png").shape == (22, 32)
    assert "accuracy" not in evaluate_run(run, "validation").evaluation.scores
    family = family_named("vit")
    launch(family.config(tmp_path, "trainer.steps=1"), tmp_path / "vit", quiet=True)
    for option in ("--count", "--label", "--seed"):
        assert main(["predict", str(tmp_path / "vit"), family.inputs[0], option, "3"]) == 2
        assert f"{option} has no effect on a run of image_classification" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("data.mean=[0.1]", "data.mean=[0.5]"),
        ("data.std=[1.0]", "data.std=[0.5]"),
        ("augment.mixup=0.5", "augment.mixup=0"),
        ("data.image_size=10", "data.image_size: 10 is not divisible by 4"),
        ("data.labelled=false data.balance=1", "data.balance=0"),
    ],
)
def test_impossible_settings_are_refused(setting, words):
    with pytest.raises(ConfigError) as caught:
        compose("sagan/digits", setting.split())
    assert words in str(caught.value)


def test_after_a_step_that_was_not_finite_the_rate_of_either_net_may_change(tmp_path, monkeypatch):
    config = compose("sagan/digits", [*SMALL, *TINY, *STEPS, f"data.cache={tmp_path}", "trainer.samples=0"])
    loss = GeneratorHinge.loss

    def broken(self, model, outputs, batch):
        return loss(self, model, outputs * float("nan"), batch) if len(steps) > 1 else loss(self, model, outputs, batch)

    steps: list[int] = []
    monkeypatch.setattr(GeneratorHinge, "loss", lambda *arguments: (steps.append(1), broken(*arguments))[1])
    with pytest.raises(RunError, match="step 2: loss or gradient is not finite"):
        launch(config, tmp_path / "run", quiet=True)
    monkeypatch.setattr(GeneratorHinge, "loss", loss)
    config.generator_optim.lr /= 2
    launch(config, tmp_path / "run", resume=True, quiet=True)
    assert (tmp_path / "run" / "checkpoints" / "step-00000002").is_dir()
