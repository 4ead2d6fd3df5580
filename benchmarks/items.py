"""The items of the benchmarks: the work that is measured, and the programs that are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

TINY = {"encoder_depth": 4, "decoder_depth": 4, "dim": 128, "heads": 4, "ffn_dim": 256, "dropout": 0.1}
BASE = {"encoder_depth": 6, "decoder_depth": 6, "dim": 512, "heads": 8, "ffn_dim": 2048, "dropout": 0.1}
RECURRENT = {"attention": "luong_general", "cell": "lstm", "bidirectional": True, "dim": 256, "dropout": 0.2}
BERT_MINI = {"depth": 4, "dim": 256, "heads": 4, "ffn_dim": 1024, "max_length": 128, "dropout": 0.1}
GPT_MINI = {"depth": 6, "dim": 384, "heads": 6, "ffn_dim": 1536, "max_length": 256, "dropout": 0.1}
VIT_TI16 = {"image_size": 224, "patch_size": 16, "depth": 12, "dim": 192, "heads": 3, "ffn_dim": 768}
CONFORMER_S8 = {"depth": 8, "dim": 144, "heads": 4, "ffn_dim": 576, "kernel_size": 31, "bins": 80, "dropout": 0.1}
VIT_SMALL = {"image_size": 32, "patch_size": 4, "depth": 6, "dim": 192, "heads": 3, "ffn_dim": 768}


@dataclass
class Program:
    """A program of an item.

    Attributes:
        name: name in tables.
        environment: environment that runs it: ours, hf, joeynmt, timm or torchaudio.
        script: path relative to `benchmarks/`.
        options: entries that it adds to the item's job.
        goal: intended speed of tformer divided by that of this program; None: there is no goal.
        choice: name of a group of variants of one peer; only the variant that is fastest in a trial is measured. Empty:
            the program is always measured.
        against: name of the program of tformer that it is compared with; empty: the first.
    """

    name: str
    environment: str
    script: str
    options: dict[str, Any] = field(default_factory=dict)
    goal: float | None = None
    choice: str = ""
    against: str = ""


@dataclass
class Item:
    """A measurement and its programs; the first is tformer. `data` is a name in `corpora.DATA_SETS`."""

    name: str
    title: str
    data: str
    job: dict[str, Any]
    programs: list[Program]


OURS = Program("tformer", "ours", "ours.py", {"precision": "auto"})
OURS_AUGMENTED = Program("tformer, augmented", "ours", "ours.py", {"precision": "auto", "augmented": True})


def _training(name: str, title: str, data: str, peers: list[Program], **job: Any) -> Item:
    defaults = {
        "kind": "train",
        "precision": "fp32",
        "warm_up": 3,
        "seconds_factor": 1.0,
        "batch_tokens": 4096,
        "grouped": False,
        "label_smoothing": 0.0,
    }
    return Item(f"train-{name}", f"Training, {title}", data, defaults | job, [OURS, *peers])


def _translation(size: str, shape: dict[str, Any], peers: list[Program], seconds_factor: float) -> Item:
    return _training(
        size,
        f"Transformer-{size}",
        "multi30k",
        peers,
        task="translation",
        shape=shape,
        counted="target tokens",
        seconds_factor=seconds_factor,
        batch_sentences=64,
        learning_rate=5e-4,
    )


def _text(name: str, title: str, data: str, peers: list[Program], **job: Any) -> Item:
    """Return an item on running text or its sentences; it counts the tokens that the model reads."""
    return _training(name, title, data, peers, counted="tokens", **job)


def _seq2seq_trainer(name: str, options: dict[str, Any], goal: float | None = None, choice: str = "") -> Program:
    return Program(f"HF Seq2SeqTrainer, {name}", "hf", "peers/hf_train.py", options, goal, choice)


def _trainer(name: str, options: dict[str, Any], goal: float | None = None, choice: str = "") -> Program:
    return Program(f"HF Trainer, {name}", "hf", "peers/hf_text.py", options, goal, choice)


def _best_options(peer: Callable[..., Program], goal: float, *, grouped: bool, batch: int = 0) -> list[Program]:
    """Return variants of a trainer with its usual options; the fastest one is the peer.

    Args:
        peer: function that returns a program, given a name and options.
        goal: goal against the fastest variant.
        grouped: whether batches have sentences of similar lengths.
        batch: also try this number of sentences in a batch; 0: do not.
    """
    suffix = ", grouped" if grouped else ""
    variants: dict[str, dict[str, Any]] = {
        f"bf16{suffix}": {"precision": "bf16"},
        f"fp32{suffix}": {},
        f"fp32{suffix}, eager attention": {"attention": "eager"},
        f"bf16{suffix}, eager attention": {"precision": "bf16", "attention": "eager"},
    }
    if batch:
        variants[f"fp32{suffix}, batches of {batch}"] = {"batch_sentences": batch}
    return [peer(name, {"grouped": grouped, **options}, goal, "HF's options") for name, options in variants.items()]


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
        OURS,
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
        "multi30k",
        job,
        programs,
    )


def all_items() -> list[Item]:
    """Return all items in the order in which they are measured."""
    joeynmt = Program("JoeyNMT, token batches", "joeynmt", "peers/joeynmt_train.py", goal=6.0)
    defaults = [_seq2seq_trainer("defaults", {}, goal) for goal in (7.0, None)]
    best = [_best_options(_seq2seq_trainer, goal, grouped=True, batch=256) for goal in (2.7, 1.8)]
    return [
        _translation("tiny", TINY, [defaults[0], *best[0], joeynmt], 1.0),
        _translation("base", BASE, [defaults[1], *best[1]], 2.0),
        _recurrent(),
        *_texts(),
        *(_decoding("tiny", TINY, beam, 512, joeynmt=True) for beam in (5, 1)),
        *(_decoding("base", BASE, beam, 256, joeynmt=False) for beam in (5, 1)),
        *_pictures(),
        _speech(),
    ]


def _recurrent() -> Item:
    """Return the item on a recurrent encoder-decoder; its peers are plain loops in the faster of two precisions."""
    peers = [
        Program(
            f"plain torch, {name}, {precision}",
            "ours",
            "peers/torch_recurrent.py",
            {"packed": packed, "precision": precision},
            goal,
            choice=name,
        )
        for name, packed, goal in (("packed sequences", True, 1.0), ("padding is read", False, 0.9))
        for precision in ("bf16", "fp32")
    ]
    return _training(
        "recurrent",
        "LSTM (256 wide) with Luong's attention",
        "multi30k",
        peers,
        task="translation",
        shape=RECURRENT,
        counted="target tokens",
        learning_rate=1e-3,
    )


def _texts() -> list[Item]:
    return [
        _text(
            "bert-blocks",
            "BERT-mini on blocks of 128 tokens, hidden tokens",
            "imdb",
            _best_options(_trainer, 2.5, grouped=False),
            task="masked_language_model",
            shape=BERT_MINI,
            rows="documents",
            batch_sentences=32,
            learning_rate=3e-4,
        ),
        _text(
            "bert-sentences",
            "BERT-mini on sentences, labels",
            "imdb",
            [_trainer("defaults", {}, 5.0), *_best_options(_trainer, 2.5, grouped=True, batch=128)],
            task="text_classification",
            shape=BERT_MINI,
            rows="sentences",
            batch_sentences=64,
            learning_rate=1e-4,
        ),
        _text(
            "gpt",
            "GPT (6 layers, 384 wide) on blocks of 256 tokens",
            "tinyshakespeare",
            _best_options(_trainer, 1.6, grouped=False),
            task="language_model",
            shape=GPT_MINI,
            rows="documents",
            seconds_factor=2.0,
            batch_sentences=16,
            learning_rate=3e-4,
        ),
    ]


def _timm(goal: float) -> list[Program]:
    """Return timm in both precisions with both implementations of attention; the fastest variant is the peer."""
    variants: dict[str, dict[str, Any]] = {
        "bf16": {"precision": "bf16"},
        "fp32": {"precision": "fp32"},
        "bf16, unfused attention": {"precision": "bf16", "attention": "explicit"},
        "fp32, unfused attention": {"precision": "fp32", "attention": "explicit"},
    }
    return [
        Program(f"timm, {name}", "timm", "peers/timm_vit.py", options, goal, "timm's options")
        for name, options in variants.items()
    ]


def _pictures() -> list[Item]:
    work = {"task": "image_classification", "counted": "images"}
    large = work | {"rows": "pictures224", "shape": VIT_TI16, "batch_images": 32}
    small_images = work | {"rows": "pictures32", "shape": VIT_SMALL, "batch_images": 128}
    return [
        _training(
            "vit-ti16",
            "ViT-Ti/16 on pictures of 224 x 224",
            "cifar10",
            [OURS_AUGMENTED, *_timm(1.25)],
            learning_rate=3e-4,
            **large,
        ),
        _training(
            "vit-32px",
            "ViT (6 layers, 192 wide) on pictures of 32 x 32, patches of 4 x 4",
            "cifar10",
            [OURS_AUGMENTED, *_timm(1.4)],
            learning_rate=3e-4,
            **small_images,
        ),
        Item(
            "infer-vit-ti16",
            "Inference, ViT-Ti/16 on pictures of 224 x 224",
            "cifar10",
            {"kind": "infer", "seconds_factor": 0.5, "learning_rate": 0.0} | large,
            [OURS, *_timm(1.15)],
        ),
    ]


def _speech() -> Item:
    """Return the item on speech, which compares torchaudio with grouped batches with tformer in the same precision."""
    programs = []
    for precision in ("bf16", "fp32"):
        ours = Program(f"tformer, {precision}", "ours", "ours.py", {"precision": precision})
        options = {"precision": precision, "grouped": True}
        peer = _torchaudio(f"{precision}, grouped", options, goal=1.5, against=ours.name)
        programs += [ours, peer]
    return _training(
        "conformer",
        "Conformer (8 blocks, 144 wide) on strings of spoken numbers, CTC",
        "spoken_numbers",
        [*programs, _torchaudio("defaults", {})],
        task="speech_recognition",
        shape=CONFORMER_S8,
        rows="strings",
        counted="utterance-seconds",
        seconds_factor=2.0,
        batch_seconds=100.0,
        batch_utterances=12,
        learning_rate=3e-4,
    )


def _torchaudio(name: str, options: dict[str, Any], goal: float | None = None, against: str = "") -> Program:
    script = "peers/torchaudio_conformer.py"
    return Program(f"torchaudio, {name}", "torchaudio", script, options, goal, against=against)
