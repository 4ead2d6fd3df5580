"""What is compared with what: each measured item, its work, and the programs that do it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

TINY = {"encoder_depth": 4, "decoder_depth": 4, "dim": 128, "heads": 4, "ffn_dim": 256, "dropout": 0.1}
BASE = {"encoder_depth": 6, "decoder_depth": 6, "dim": 512, "heads": 8, "ffn_dim": 2048, "dropout": 0.1}


@dataclass
class Program:
    """One contestant.

    Attributes:
        name: in tables.
        environment: whose interpreter runs it: ours, hf or joeynmt.
        script: relative to `benchmarks/`.
        options: what it adds to the item's job.
        goal: how many times as fast ours is meant to be; None: it is shown for comparison only.
        choice: programs of one choice are variants of one peer: all run once, the fastest goes on.
    """

    name: str
    environment: str
    script: str
    options: dict[str, Any] = field(default_factory=dict)
    goal: float | None = None
    choice: str = ""


@dataclass
class Item:
    """One measured piece of work and all who do it; the first program is ours."""

    name: str
    title: str
    job: dict[str, Any]
    programs: list[Program]


def _training(size: str, shape: dict[str, Any], peers: list[Program], seconds_factor: float) -> Item:
    job = {
        "kind": "train",
        "shape": shape,
        "precision": "fp32",
        "warm_up": 3,
        "seconds_factor": seconds_factor,
        "batch_tokens": 4096,
        "batch_sentences": 64,
        "grouped": False,
        "label_smoothing": 0.0,
        "learning_rate": 5e-4,
    }
    ours = Program("tformer", "ours", "ours.py", {"precision": "auto"})
    return Item(f"train-{size}", f"Training, Transformer-{size}", job, [ours, *peers])


def _trainer(name: str, options: dict[str, Any], *, goal: float | None = None, choice: str = "") -> Program:
    return Program(f"HF Seq2SeqTrainer, {name}", "hf", "peers/hf_train.py", options, goal, choice)


def _trainer_options(goal: float) -> list[Program]:
    """Seq2SeqTrainer's ordinary options; the best of them on the machine at hand is the peer."""
    variants = {
        "bf16, grouped": {"precision": "bf16"},
        "fp32, grouped": {},
        "fp32, grouped, eager attention": {"attention": "eager"},
        "bf16, grouped, eager attention": {"precision": "bf16", "attention": "eager"},
        "fp32, grouped, batches of 256": {"batch_sentences": 256},
    }
    return [
        _trainer(name, {"grouped": True, **options}, goal=goal, choice="HF's options")
        for name, options in variants.items()
    ]


def _decoding(size: str, shape: dict[str, Any], beam: int, sentences: int, *, joeynmt: bool) -> Item:
    job = {
        "kind": "decode",
        "shape": shape,
        "precision": "fp32",
        "beam": beam,
        "batch": 64,
        "sentences": sentences,
        "seconds_factor": 0.2,
    }
    programs = [
        Program("tformer", "ours", "ours.py", {"precision": "auto"}),
        Program("HF generate", "hf", "peers/hf_decode.py", goal=3.0 if beam > 1 else None),
    ]
    for compute_type, goal in (("float32", 1.0), ("int8", None)):
        for workers, threads in ((1, "one worker"), (2, "two workers")):
            options = {"precision": compute_type, "workers": workers}
            name, choice = f"CTranslate2 {compute_type}, {threads}", f"CTranslate2 {compute_type}"
            programs.append(Program(name, "hf", "peers/ct2_decode.py", options, goal if beam > 1 else None, choice))
    if joeynmt:
        programs.append(Program("JoeyNMT (own random weights)", "joeynmt", "peers/joeynmt_decode.py"))
    search = f"beam {beam}" if beam > 1 else "greedy"
    return Item(
        f"decode-{size}-{'beam' if beam > 1 else 'greedy'}",
        f"Decoding, Transformer-{size}, {search}",
        job,
        programs,
    )


def all_items() -> list[Item]:
    """Every item, in the order in which they run."""
    joeynmt = Program("JoeyNMT, token batches", "joeynmt", "peers/joeynmt_train.py", goal=6.0)
    tiny = [_trainer("defaults", {}, goal=7.0), *_trainer_options(2.7), joeynmt]
    base = [_trainer("defaults", {}), *_trainer_options(1.8)]
    return [
        _training("tiny", TINY, tiny, 1.0),
        _training("base", BASE, base, 2.0),
        *(_decoding("tiny", TINY, beam, 512, joeynmt=True) for beam in (5, 1)),
        *(_decoding("base", BASE, beam, 256, joeynmt=False) for beam in (5, 1)),
    ]
