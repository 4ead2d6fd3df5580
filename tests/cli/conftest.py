"""Stand-ins for what the verbs call: no training, no model."""

import sys
import types
from functools import partial
from types import SimpleNamespace

import pytest

from tformer_cli.config.compose import compose, override
from tformer_cli.predictors.base import SEARCH, Prediction
from tformer_cli.predictors.inputs import OnLong


class Shouting:
    """A task that answers in capitals, reading ahead three lines at a time as a batched search does."""

    reads = "text"
    streams = False
    options = SEARCH | {"batch", "workers"}
    translates = True
    on_long = OnLong.error
    input_columns = ("en",)

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.config = None
        self.predictor = self.data = self

    def unused(self, name):
        return ""

    def predict(self, model, lines):
        batch = []
        for line in lines:
            self.asked.append(line)
            batch.append(line)
            if len(batch) == 3:
                yield from (self.answer(line) for line in batch)
                batch = []
        yield from (self.answer(line) for line in batch)

    def answer(self, line):
        decode = self.config.decode
        details = {"score": -1.5}
        if not line.strip():
            return Prediction("")
        if decode.n_best > 1:
            details["hypotheses"] = [{"text": f"{line.upper()} {n}", "score": -n} for n in range(min(2, decode.n_best))]
        return Prediction(line.upper(), details)


@pytest.fixture
def stand_ins(monkeypatch, tmp_path):
    """`tformer_cli.train.{launch,restore,evaluate}` and `interop.export`, which record how they were called."""
    monkeypatch.chdir(tmp_path)
    calls = SimpleNamespace(launch=[], open_run=[], evaluate=[], export=[], task=Shouting(), tmp=tmp_path)

    def launch(config, run, *, resume, initial, processes, quiet, fit_vocabulary=False):
        run.mkdir(parents=True, exist_ok=True)
        calls.launch.append(
            SimpleNamespace(
                config=config, run=run, resume=resume, initial=initial, processes=processes, fit=fit_vocabulary
            )
        )

    def open_run(path, *, checkpoint="", device="auto", overrides=(), check=None):
        calls.open_run.append(SimpleNamespace(path=path, checkpoint=checkpoint, device=device, overrides=overrides))
        config = override(compose("quickstart/translation", []), overrides)
        calls.task.config = config
        return SimpleNamespace(
            config=config, task=calls.task, model=None, checkpoint=path, predict=partial(calls.task.predict, None)
        )

    def evaluate_run(run, split, overrides=(), checkpoint="", device="auto", *, predictions=False, check=None):
        calls.evaluate.append(SimpleNamespace(run=run, split=split, overrides=overrides, checkpoint=checkpoint))
        tables = [("by length", ("words", "bleu"), [("1-10", 40.0), ("11-20", 35.125)])]
        scores = {"bleu": 39.5, "loss": 1.25}
        evaluation = SimpleNamespace(
            scores=scores, signatures={"bleu": "nrefs:1|[x]"}, tables=tables, notes=[], predictions=[]
        )
        return SimpleNamespace(evaluation=evaluation, path=run / "e.json", pictures=[], unsaved="", failed=False)

    modules = {
        "tformer_cli.train.launch": {"launch": launch},
        "tformer_cli.trained.opening": {"open_run": open_run},
        "tformer_cli.trained.evaluate": {"evaluate_run": evaluate_run},
        "tformer_cli.interop.export": {
            "export_run": lambda run, output, to="huggingface", say=None: calls.export.append((run, output))
        },
    }
    for name, content in modules.items():
        module = types.ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return calls
