"""Figures of calibration: their numbers beside plain counts and scikit-learn, and which mistakes are drawn."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix
from torch import nn

from tests.figures.models import figures_of
from tests.properties.families import family_named
from tformer_cli.draw import Gallery, svg
from tformer_cli.errors import DataError
from tformer_cli.figures import calibration

LABELS = ["bad", "fine", "good"]


def table(count=200):
    random = np.random.default_rng(0)
    rows = []
    for number in range(count):
        probabilities = random.dirichlet(np.ones(3))
        best, reference = LABELS[int(probabilities.argmax())], LABELS[random.integers(3)]
        rows.append({
            "text": f"text {number}", "reference": reference, "prediction": best, "probability": probabilities.max(),
            "probabilities": dict(zip(LABELS, probabilities, strict=True)),
        })  # fmt: skip
    return rows


def figures(rows, labels=LABELS, images=None):
    pictures = (lambda split, numbers: [images[number] for number in numbers]) if images else lambda *_: []
    inspector = SimpleNamespace(labels=labels, images=pictures)
    return figures_of(calibration.KIND, nn.Linear(1, 1), inspector=inspector, rows=lambda: rows)


def test_the_reliability_curve_and_its_error():
    rows = table()
    numbers = figures(rows)["calibration-reliability"].numbers
    confidence = np.array([row["probability"] for row in rows])
    correct = np.array([row["prediction"] == row["reference"] for row in rows])
    error = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        assert numbers["counts"][low] == inside.sum()
        if inside.any():
            assert numbers["accuracy"][low] == pytest.approx(correct[inside].mean())
            error += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert numbers["expected_calibration_error"] == pytest.approx(error)


def test_the_confusion_matrix_is_that_of_scikit_learn():
    rows = table()
    numbers = figures(rows)["calibration-confusion"].numbers
    references, predictions = ([row[name] for row in rows] for name in ("reference", "prediction"))
    expected = confusion_matrix(references, predictions, labels=LABELS, normalize="true")
    assert numbers["labels"] == LABELS
    np.testing.assert_allclose(numbers["shares"], expected)


def test_labels_without_examples_are_not_in_the_confusion_matrix():
    labels = [*LABELS, *(f"absent {number}" for number in range(calibration.MOST_LABELS))]
    rows = [{**row, "probabilities": dict.fromkeys(labels, 0.0) | row["probabilities"]} for row in table()]
    rows[0] |= {"prediction": "absent 1", "probabilities": dict.fromkeys(labels, 0.0) | {"absent 1": 1.0}}
    figure = figures(rows, labels)["calibration-confusion"]
    references = [row["reference"] for row in rows]
    predictions = ["absent 1", *(row["prediction"] for row in rows[1:])]
    expected = confusion_matrix(references, predictions, labels=labels)[:3]
    assert figure.numbers["labels"] == LABELS
    np.testing.assert_allclose(figure.numbers["shares"], (expected / expected.sum(1, keepdims=True))[:, :3])
    assert f"{calibration.MOST_LABELS} labels without examples are left out" in figure.caption
    assert "lowest recall" not in figure.caption


def test_the_most_confident_mistakes_of_texts():
    rows = table()
    figure = figures(rows)["calibration-mistakes"]
    wrong = sorted((row for row in rows if row["prediction"] != row["reference"]), key=lambda row: -row["probability"])
    assert figure.numbers["inputs"] == [row["text"] for row in wrong[:20]]
    assert figure.numbers["probability"] == [row["probability"] for row in wrong[:20]]
    assert [rows[number - 1]["text"] for number in figure.numbers["rows"]] == figure.numbers["inputs"]
    assert figure.picture.names[0] == f"{wrong[0]['prediction']} for {wrong[0]['reference']}: {wrong[0]['text']}"


def test_the_most_confident_mistakes_of_images():
    rows = table(30)
    images = [np.full((4, 4, 1), number, np.uint8) for number in range(30)]
    figure = figures(rows, images=images)["calibration-mistakes"]
    assert isinstance(figure.picture, Gallery)
    drawn = [int(image[0, 0, 0]) + 1 for image in figure.picture.images]
    assert drawn == figure.numbers["rows"] and len(drawn) > 1


def test_a_prediction_of_which_another_label_has_the_same_rounded_probability_is_not_a_mistake():
    rows = [
        {"text": label, "reference": label, "prediction": label, "probability": 0.5, "probabilities": probabilities}
        for label in LABELS[:2]
        for probabilities in [{LABELS[0]: 0.5, LABELS[1]: 0.5, LABELS[2]: 0.0}]
    ]
    drawn = figures(rows)
    assert "calibration-mistakes" not in drawn
    assert np.nanmax(drawn["calibration-reliability"].numbers["accuracy"]) == 1
    np.testing.assert_array_equal(drawn["calibration-confusion"].numbers["shares"], np.eye(2))


def test_a_model_without_mistakes_has_no_gallery():
    rows = [{**row, "reference": row["prediction"]} for row in table(20)]
    assert set(figures(rows)) == {"calibration-reliability", "calibration-confusion"}


def test_reasons_why_there_are_none():
    with pytest.raises(LookupError, match="does not choose one of several labels"):
        figures(table(), labels=())
    with pytest.raises(LookupError, match="no predictions of the validation split"):
        figures([])

    def gone():
        raise DataError("data.csv: no such file")

    inspector = SimpleNamespace(labels=LABELS)
    with pytest.raises(LookupError, match="cannot be predicted: data.csv: no such file"):
        figures_of(calibration.KIND, nn.Linear(1, 1), inspector=inspector, rows=gone)


@pytest.mark.parametrize("name", ["text classification", "vit"])
def test_labels_and_images_of_a_task_are_those_of_its_table_of_predictions(name, tmp_path):
    from tformer_cli.evaluators.base import Scoring

    task = family_named(name).task(tmp_path)
    model = task.model().eval()
    with torch.inference_mode():
        rows = task.evaluator.evaluate(model, task.view("validation"), Scoring(predictions=True)).predictions
    drawn = figures_of(calibration.KIND, model, inspector=task.inspector, rows=lambda: rows)
    probabilities, _, targets = calibration.arrays(rows, task.inspector.labels)
    assert probabilities.sum(1) == pytest.approx(1, abs=1e-4)
    assert targets.tolist() == task.data.targets("validation").tolist()
    mistakes = drawn["calibration-mistakes"]
    if name == "vit":
        images = task.inspector.of_split(model, "validation", len(rows))
        chosen = mistakes.numbers["rows"][0] - 1
        np.testing.assert_array_equal(mistakes.picture.images[0], images[chosen].image)
    assert svg(mistakes.picture).startswith("<svg")
