"""Folders of picture models: a run goes out and comes back, with what pictures are coded by."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tformer_cli.cli.start import Start
from tformer_cli.config.compose import compose
from tformer_cli.config.schema import ImageHeadConfig, Pooling
from tformer_cli.errors import ConfigError
from tformer_cli.interop.export import export_run
from tformer_cli.interop.reading import read_weights
from tformer_cli.interop.timm_vit import export_arguments
from tformer_cli.models.vit import ViTConfig
from tformer_cli.train.launch import launch
from tformer_cli.trained.opening import open_run

SMALL = [
    "data.source=builtin", "data.path=digits", "data.size=40", "data.channels=3", "data.image_size=12",
    "data.crop_share=0.75", "data.mean=[0.3,0.4,0.5]", "data.std=[0.2,0.3,0.4]", "data.batch_images=8",
    "model.patch_size=4", "model.dim=16", "model.heads=2", "model.ffn_dim=32", "model.depth=2", "trainer.steps=2",
    "trainer.threads=1", "trainer.device=cpu",
]  # fmt: skip


def trained(folder: Path, *more: str) -> Path:
    launch(compose("vit/finetune", [*SMALL, f"data.cache={folder}", *more]), folder / "run", quiet=True)
    return folder / "run"


def picture(path: Path) -> Path:
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (31, 23, 3), np.uint8)).save(path)
    return path


def test_hugging_face_reads_a_run_and_the_picture_as_we_do(tmp_path):
    import transformers

    run = trained(tmp_path)
    export_run(run, tmp_path / "out")
    theirs = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / "out").eval()
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "out", use_fast=False)
    except ImportError:
        pytest.skip("this version of transformers reads pictures with torchvision alone")
    opened = open_run(run, device="cpu")
    place = picture(tmp_path / "photo.png")
    seen = processor(Image.open(place), return_tensors="pt")["pixel_values"]
    (answer,) = opened.task.predict(opened.model, [str(place)])
    probabilities = theirs(pixel_values=seen).logits.softmax(-1)[0].tolist()
    named = {theirs.config.id2label[number]: share for number, share in enumerate(probabilities)}
    assert named.keys() == answer.details["probabilities"].keys()
    assert all(named[name] == pytest.approx(share, abs=1e-4) for name, share in answer.details["probabilities"].items())


MEAN = ["model.class_token=false", "head.pooling=mean", "model.layer_scale=0.1"]


@pytest.mark.parametrize(("to", "more"), [("huggingface", []), ("timm", []), ("timm", MEAN)])
def test_an_exported_run_is_a_start(tmp_path, to, more, capsys):
    run = trained(tmp_path, *more)
    export_run(run, tmp_path / "out", to)
    settings = ["data.source=builtin", "data.path=digits", "data.size=30", f"data.cache={tmp_path}", "trainer.steps=1"]
    settings += ["optim.lr=0", "data.image_size=24", "trainer.device=cpu"]
    start = Start.find(f"hf:{tmp_path / 'out'}")
    config = start.adapt(compose("vit/finetune", settings, complete=False), settings)
    before = open_run(run, device="cpu")
    heads = before.config.model.heads
    assert (config.model.dim, config.model.depth, config.model.patch_size, config.model.heads) == (16, 2, 4, heads)
    assert config.model.class_token is not bool(more)
    assert (config.data.channels, config.data.mean, config.data.std) == (3, [0.3, 0.4, 0.5], [0.2, 0.3, 0.4])
    assert config.head.pooling is (Pooling.mean if more else Pooling.cls) and config.data.image_size == 24
    launch(config, tmp_path / "second", initial=start.checkpoint(config, tmp_path / "second"))
    assert f"started from hf:{tmp_path / 'out'}" in capsys.readouterr().err  # not RUN/initial, which is removed
    after = open_run(tmp_path / "second", device="cpu")
    assert after.model.encoder.grid == (6, 6)
    first, second = before.model.encoder.stack.state_dict(), after.model.encoder.stack.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_timm_is_told_every_size(tmp_path):
    run = trained(tmp_path)
    export_run(run, tmp_path / "out", "timm")
    exported = json.loads((tmp_path / "out" / "config.json").read_bytes())
    arguments, weights = exported["model_args"], read_weights(tmp_path / "out")
    assert weights["patch_embed.proj.weight"].shape == (16, 3, arguments["patch_size"], arguments["patch_size"])
    assert weights["pos_embed"].shape == (1, (arguments["img_size"] // arguments["patch_size"]) ** 2 + 1, 16)
    assert exported["num_classes"] == len(weights["head.bias"]) == 10
    assert weights["blocks.1.mlp.fc1.weight"].shape[0] == arguments["mlp_ratio"] * 16
    assert (arguments["global_pool"], arguments["num_heads"]) == ("token", 2)
    assert exported["pretrained_cfg"]["mean"] == [0.3, 0.4, 0.5] and exported["pretrained_cfg"]["crop_pct"] == 0.75


@pytest.mark.parametrize(
    ("dim", "ffn_dim", "ratio"), [(192, 768, 4.0), (24, 36, 1.5), (28, 244, None), (640, 2576, None)]
)
def test_timm_computes_the_same_hidden_width(dim, ffn_dim, ratio):
    """It is `int(dim * mlp_ratio)` in timm; the quotient of some widths is rounded down to another width."""
    config = ViTConfig(dim=dim, heads=2, ffn_dim=ffn_dim)
    written = export_arguments(config, ImageHeadConfig(), 224, 3)["mlp_ratio"]
    assert int(dim * written) == ffn_dim
    assert ratio in (None, written)


def test_what_has_no_counterpart_is_refused(tmp_path):
    run = trained(tmp_path, "data.channels=1", "data.mean=[0.5]", "data.std=[0.5]")
    with pytest.raises(ConfigError, match="grey pictures cannot be exported"):
        export_run(run, tmp_path / "out")
    export_run(run, tmp_path / "out", "timm")
