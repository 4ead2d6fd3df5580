"""Vision Transformers in from, and out to, Hugging Face and timm: the same numbers."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch
import transformers
from torch import Tensor, nn

from tformer_cli.config.schema import ImageHeadConfig, Norm, Pooling, Positions, Stem, ViTConfig
from tformer_cli.errors import ConfigError
from tformer_cli.interop import huggingface_vit as huggingface
from tformer_cli.interop import timm_vit as timm
from tformer_cli.models.vit import ViTClassifier, ViTForMaskedPatches
from tformer_cli.train.checkpoint import load_model_tensors

SHAPES = [
    {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 2, "intermediate_size": 20, "image_size": 15,
     "patch_size": 5, "layer_norm_eps": 1e-6},
    {"hidden_size": 16, "num_attention_heads": 1, "num_hidden_layers": 4, "intermediate_size": 41, "image_size": 8,
     "patch_size": 2, "num_channels": 1, "hidden_act": "relu"},
    {"hidden_size": 20, "num_attention_heads": 5, "num_hidden_layers": 1, "intermediate_size": 7, "image_size": 12,
     "patch_size": 6, "hidden_act": "gelu_new", "layer_norm_eps": 1e-3},
]  # fmt: skip


def theirs_of(kind: type, shape: dict) -> nn.Module:
    torch.manual_seed(0)
    model = kind(transformers.ViTConfig(**shape, num_labels=4, attn_implementation="eager"))
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.2 * torch.randn_like(value))
    return model.eval()


def saved(model: nn.Module, folder) -> tuple[dict, dict[str, Tensor]]:
    model.save_pretrained(folder)
    found = json.loads((folder / "config.json").read_bytes())
    return found, safetensors.torch.load_file(folder / "model.safetensors")


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"width {shape['hidden_size']}")
@torch.no_grad()
def test_import_computes_the_same_at_any_resolution(shape, tmp_path):
    theirs = theirs_of(transformers.ViTForImageClassification, shape)
    found, tensors = saved(theirs, tmp_path)
    config = huggingface.import_config(found, "theirs")
    size, channels = huggingface.import_size(found, "theirs")
    assert (size, channels) == (shape["image_size"], shape.get("num_channels", 3))
    weights = huggingface.import_weights(config, found, tensors, "theirs")
    ours = ViTClassifier(config, size, channels, ImageHeadConfig(), 4).eval()
    load_model_tensors(ours, weights, "imported")
    images = torch.randn(3, channels, size, size)
    torch.testing.assert_close(ours(images), theirs(images).logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.encoder(images), theirs.vit(images).last_hidden_state, atol=1e-5, rtol=1e-5)
    for other in (size + config.patch_size, 3 * size):
        larger = ViTClassifier(config, other, channels, ImageHeadConfig(), 4).eval()
        load_model_tensors(larger, larger.fit(weights), "fitted")
        images = torch.randn(2, channels, other, other)
        expected = theirs(images, interpolate_pos_encoding=True).logits
        torch.testing.assert_close(larger(images), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_import_of_an_encoder_alone_and_of_one_with_a_mask(tmp_path):
    theirs = theirs_of(transformers.ViTModel, SHAPES[0])
    found, tensors = saved(theirs, tmp_path)
    config = huggingface.import_config(found, "theirs")
    ours = ViTForMaskedPatches(config, 15, 3, 2).eval()
    state = huggingface.import_weights(config, found, tensors, "theirs")
    assert all(name.startswith("encoder.") for name in state)
    ours.load_state_dict(state, strict=False)
    images = torch.randn(2, 3, 15, 15)
    torch.testing.assert_close(ours.encoder(images), theirs(images).last_hidden_state, atol=1e-5, rtol=1e-5)
    theirs = theirs_of(transformers.ViTForMaskedImageModeling, SHAPES[0] | {"encoder_stride": 5})
    found, tensors = saved(theirs, tmp_path)
    ours.load_state_dict(huggingface.import_weights(config, found, tensors, "theirs"), strict=False)
    hidden, seen = torch.rand(2, 9) < 0.5, []
    ours.output = nn.Identity()
    got = ours(images, hidden, None, torch.arange(18)).view(2, 9, -1)
    theirs.vit.layernorm.register_forward_hook(lambda module, args, out: seen.append(out))
    theirs(images, bool_masked_pos=hidden)
    torch.testing.assert_close(got, seen[0][:, 1:], atol=1e-5, rtol=1e-5)


def classifier(**settings) -> ViTClassifier:
    torch.manual_seed(0)
    shape = {"dim": 24, "heads": 3, "ffn_dim": 20, "depth": 2, "patch_size": 5}
    head = settings.pop("head", ImageHeadConfig())
    model = ViTClassifier(ViTConfig(**shape | settings), 15, 3, head, 4).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.2 * torch.randn_like(value))
    return model


@torch.no_grad()
def test_export_computes_the_same_and_comes_back(tmp_path):
    ours = classifier()
    huggingface.check_exportable(ours.config, ImageHeadConfig())
    tensors = huggingface.export_weights(ours.config, ours.state_dict())
    labels = ["cat", "dog", "horse", "ship"]
    found = huggingface.export_config(ours.config, 15, 3, labels)
    (tmp_path / "config.json").write_text(json.dumps(found))
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    theirs, report = transformers.AutoModelForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    assert [theirs.config.id2label[number] for number in range(4)] == labels
    images = torch.randn(3, 3, 15, 15)
    torch.testing.assert_close(ours(images), theirs.eval()(images).logits, atol=1e-5, rtol=1e-5)
    back = huggingface.import_weights(huggingface.import_config(found, "ours"), found, tensors, "ours")
    own = ours.state_dict()
    assert back.keys() == own.keys() and all(torch.equal(back[name], own[name]) for name in own)


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"norm": Norm.post}, "model.norm: post"),
        ({"stem": Stem.convolutions}, "model.stem: convolutions"),
        ({"class_token": False}, "model.class_token: false"),
        ({"layer_scale": 0.1}, "model.layer_scale: 0.1"),
        ({"bias": False}, "model.bias: false"),
        *(({"positions": kind}, f"model.positions: {kind.name}") for kind in Positions if kind.name != "learned"),
        ({"head": ImageHeadConfig(pooling=Pooling.mean)}, "head.pooling: mean"),
        ({"head": ImageHeadConfig(hidden=True)}, "head.hidden"),
    ],
    ids=str,
)  # fmt: skip
def test_what_they_do_not_have_is_refused(settings, what):
    head = settings.get("head", ImageHeadConfig())
    config = ViTConfig(**{name: value for name, value in settings.items() if name != "head"})
    with pytest.raises(ConfigError, match=f"^{what}.* cannot be exported: Hugging Face's ViT"):
        huggingface.check_exportable(config, head)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qkv_bias": False}, "qkv_bias false is not supported"),
        ({"patch_size": [4, 8]}, "patch_size is .4, 8., and tformer's pictures and patches are squares"),
        ({"hidden_act": "mish"}, "hidden_act 'mish' is not supported"),
        ({"num_attention_heads": 5}, "hidden_size 24 is no multiple of 5 heads"),
    ],
)
def test_foreign_settings_are_refused(change, message, tmp_path):
    config = transformers.ViTConfig(**SHAPES[0]).to_dict() | change
    with pytest.raises(ConfigError, match=f"^theirs: {message}"):
        huggingface.import_config(config, "theirs")


def test_foreign_and_missing_weights_are_refused(tmp_path):
    found, tensors = saved(theirs_of(transformers.ViTForImageClassification, SHAPES[0]), tmp_path)
    config = huggingface.import_config(found, "theirs")
    with pytest.raises(ConfigError, match="theirs: the weights other.weight have no place"):
        huggingface.import_weights(config, found, {**tensors, "other.weight": torch.ones(1)}, "theirs")
    del tensors["vit.layernorm.bias"]
    with pytest.raises(ConfigError, match="theirs: the weights layernorm.bias are missing"):
        huggingface.import_weights(config, found, tensors, "theirs")
    with pytest.raises(ConfigError, match=r"position_embeddings has shape \(1, 10, 24\) .* \(1, 17, 24\)"):
        huggingface.import_weights(config, found | {"image_size": 20}, tensors, "theirs")


class TheirBlock(nn.Module):
    """A block as timm's VisionTransformer has it, written down from its description."""

    def __init__(self, dim: int, heads: int, ffn_dim: int, scale: bool) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = (nn.LayerNorm(dim, eps=1e-6) for _ in range(2))
        self.attn = nn.ModuleDict({"qkv": nn.Linear(dim, 3 * dim), "proj": nn.Linear(dim, dim)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, ffn_dim), "fc2": nn.Linear(ffn_dim, dim)})
        if scale:
            self.ls1, self.ls2 = (nn.ParameterDict({"gamma": torch.randn(dim)}) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.attn["qkv"](self.norm1(x)).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        branch = self.attn["proj"](mixed)
        x = x + (branch * self.ls1["gamma"] if hasattr(self, "ls1") else branch)
        branch = self.mlp["fc2"](nn.functional.gelu(self.mlp["fc1"](self.norm2(x))))
        return x + (branch * self.ls2["gamma"] if hasattr(self, "ls2") else branch)


class Theirs(nn.Module):
    """timm's VisionTransformer in short."""

    def __init__(self, *, class_token: bool = True, scale: bool = False) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, 24)) if class_token else None
        self.pos_embed = nn.Parameter(torch.randn(1, 9 + class_token, 24))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, 24, 5, stride=5)})
        self.blocks = nn.Sequential(*[TheirBlock(24, 3, 20, scale) for _ in range(2)])
        self.norm, self.head = nn.LayerNorm(24, eps=1e-6), nn.Linear(24, 4)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patch_embed["proj"](images).flatten(2).mT
        if self.cls_token is not None:
            x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), dim=1)
        x = self.norm(self.blocks(x + self.pos_embed))
        return self.head(x[:, 0] if self.cls_token is not None else x.mean(1))


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("class_token", [False, True])
@torch.no_grad()
def test_timm_in_and_out(class_token, scale):
    torch.manual_seed(0)
    theirs = Theirs(class_token=class_token, scale=scale)
    tensors = theirs.state_dict()
    config = timm.import_config(tensors, "theirs", heads=3)
    assert (config.dim, config.ffn_dim, config.depth, config.patch_size) == (24, 20, 2, 5)
    head = ImageHeadConfig(pooling=Pooling.cls if class_token else Pooling.mean)
    ours = ViTClassifier(config, 15, 3, head, 4).eval()
    load_model_tensors(ours, timm.import_weights(config, 15, tensors, "theirs"), "imported")
    images = torch.randn(2, 3, 15, 15)
    torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=1e-5)
    back = timm.export_weights(config, ours.state_dict())
    assert back.keys() == tensors.keys() and all(torch.equal(back[name], tensors[name]) for name in tensors)


def test_timm_of_another_kind_is_refused():
    tensors = Theirs().state_dict()
    with pytest.raises(ConfigError, match="theirs: normalises after pooling"):
        config = timm.import_config(tensors, "theirs", heads=3)
        timm.import_weights(config, 15, {**tensors, "fc_norm.weight": torch.ones(24)}, "theirs")
    with pytest.raises(ConfigError, match="theirs: the weights reg_token have no place"):
        timm.import_weights(config, 15, {**tensors, "reg_token": torch.ones(1)}, "theirs")
    with pytest.raises(ConfigError, match="theirs: no weights of timm"):
        timm.import_config({"a": torch.ones(1)}, "theirs")
    with pytest.raises(ConfigError, match="head.hidden: cannot be exported"):
        timm.export_weights(config, classifier(head=ImageHeadConfig(hidden=True)).state_dict())
