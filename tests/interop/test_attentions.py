"""Attention of an exported model in transformers is that which `tformer inspect` draws."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.properties.families import family_named
from tformer_cli.config.schema import AttentionKind
from tformer_cli.figures.base import Subject
from tformer_cli.interop.export import export_run
from tformer_cli.train.launch import launch
from tformer_cli.trained.opening import open_run

transformers = pytest.importorskip("transformers", reason="Hugging Face transformers is not installed")

TOLERANCE = 1e-5
PAGE = Path(__file__).resolve().parents[2] / "docs" / "looking-inside.md"

EXPORTABLE = {
    "bert": ["model.norm=post", "bert.nsp=false"],
    "translation": ["model.norm=post", "model.positions=sinusoidal"],
}
"""Settings with which a family has a counterpart."""


@pytest.fixture
def exported(request, tmp_path):
    """A run of a family, opened, and the folder to which it is exported."""
    settings = ["trainer.steps=2", "optim.lr=0.01", *EXPORTABLE[request.param]]
    launch(family_named(request.param).config(tmp_path, *settings), tmp_path / "run", quiet=True)
    export_run(tmp_path / "run", tmp_path / "out")
    return open_run(tmp_path / "run", device="cpu"), tmp_path / "out"


def subject_of(opened, text: str) -> Subject:
    """Return the model with a text."""
    inspector = opened.task.inspector
    return Subject(opened.model, inspector, inspector.examples(opened.model, [text]))


def tokens_of(module, run) -> list[torch.Tensor]:
    """Return the token ids that an embedding reads, one tensor for each call."""
    calls: list[torch.Tensor] = []
    hook = module.register_forward_pre_hook(lambda _, inputs: calls.append(inputs[0]))
    with torch.inference_mode():
        run()
    hook.remove()
    return calls


def assert_same(subject: Subject, kind: AttentionKind, theirs) -> None:
    """Check that the weights of every layer of a kind equal those of the library."""
    ours = [weights for _, weights in subject.weights(subject.examples[0], kind)]
    assert len(ours) == len(theirs) > 0
    for weights, others in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(weights, others[0].numpy(), atol=TOLERANCE)


@pytest.mark.parametrize("exported", ["bert"], indirect=True)
def test_an_encoder_attends_as_in_transformers(exported):
    opened, out = exported
    subject = subject_of(opened, "The list is empty.")
    model = transformers.AutoModelForMaskedLM.from_pretrained(out, attn_implementation="eager").eval()
    (tokens,) = tokens_of(opened.model.encoder.embedding, subject.examples[0].run)
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    assert tokenizer("The list is empty.")["input_ids"] == tokens[0].tolist()
    with torch.inference_mode():
        outputs = model(input_ids=tokens, output_attentions=True)
    assert_same(subject, AttentionKind.encoder, outputs.attentions)


@pytest.mark.parametrize("exported", ["translation"], indirect=True)
def test_a_translator_attends_as_in_transformers(exported):
    opened, out = exported
    subject = subject_of(opened, "The cat eats.")
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(out, attn_implementation="eager").eval()
    (example,) = subject.examples
    calls = tokens_of(opened.model.source_embedding, example.run)
    if opened.model.target_embedding is not opened.model.source_embedding:
        calls += tokens_of(opened.model.target_embedding, example.run)
    source, target = calls
    with torch.inference_mode():
        outputs = model(input_ids=source, decoder_input_ids=target, output_attentions=True)
    assert_same(subject, AttentionKind.encoder, outputs.encoder_attentions)
    assert_same(subject, AttentionKind.decoder, outputs.decoder_attentions)
    assert_same(subject, AttentionKind.cross, outputs.cross_attentions)


@pytest.mark.parametrize("exported", ["bert"], indirect=True)
def test_bertviz_shows_the_same_with_the_program_of_the_page(exported, monkeypatch):
    """The program is that of docs/looking-inside.md, with the folder `hf`; what it displays has our weights."""
    bertviz = pytest.importorskip("bertviz", reason="bertviz is not installed")
    opened, out = exported
    (program,) = re.findall(r"^```python\n([^`]*bertviz[^`]*)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    text = "The list is empty."
    program, changes = re.subn(r'tokenizer\("[^"]*"', f'tokenizer("{text}"', program)
    assert changes == 1
    displayed, head_view = [], bertviz.head_view
    monkeypatch.setattr(
        bertviz, "head_view", lambda *given: displayed.append(head_view(*given, html_action="return").data)
    )
    monkeypatch.chdir(out.parent)
    out.rename("hf")
    exec(compile(program, str(PAGE), "exec"), {})
    (page,) = displayed
    parameters, _ = json.JSONDecoder().raw_decode(page[page.index('{"attention"') :])
    (shown,) = parameters["attention"]
    subject = subject_of(opened, text)
    assert_same(subject, AttentionKind.encoder, torch.tensor(shown["attn"])[:, None])
    assert len(shown["left_text"]) == len(subject.examples[0].encoder)
