"""Vision Transformers in from, and out to, Hugging Face and timm: the same numbers."""

from __future__ import annotations

import dataclasses
import json

import pytest
import safetensors.torch
import torch
import transformers
from torch import Tensor, nn

from tests.interop.folders import import_pictures
from tformer_cli.config.schema import Activation, Fit, ImageHeadConfig, Norm, Pooling, Positions
from tformer_cli.errors import ConfigError
from tformer_cli.interop import huggingface_vit as huggingface
from tformer_cli.interop import timm_vit as timm
from tformer_cli.models.image_head import ImageClassifier
from tformer_cli.models.patch_head import MaskedPatchModel
from tformer_cli.models.vit import Stem, ViTConfig
from tformer_cli.models.vit.model import ViT
from tformer_cli.runs.checkpoint import load_model_tensors

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
    settings = json.loads((folder / "config.json").read_bytes())
    return settings, safetensors.torch.load_file(folder / "model.safetensors")


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"width {shape['hidden_size']}")
@torch.no_grad()
def test_import_computes_the_same_at_any_resolution(shape, tmp_path):
    reference = theirs_of(transformers.ViTForImageClassification, shape)
    settings, tensors = saved(reference, tmp_path)
    config = huggingface.import_config(settings, "theirs")
    (size, width), channels = huggingface.import_size(settings, "theirs")
    assert (size, width, channels) == (shape["image_size"], shape["image_size"], shape.get("num_channels", 3))
    weights = huggingface.import_weights(config, settings, tensors, "theirs")
    ours = ImageClassifier(ViT(config, size, channels), ImageHeadConfig(), 4).eval()
    load_model_tensors(ours, weights, "imported")
    images = torch.randn(3, channels, size, size)
    torch.testing.assert_close(ours(images), reference(images).logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.encoder(images), reference.vit(images).last_hidden_state, atol=1e-5, rtol=1e-5)
    for other in (size + config.patch_size, 3 * size):
        larger = ImageClassifier(ViT(config, other, channels), ImageHeadConfig(), 4).eval()
        load_model_tensors(larger, larger.fit(weights), "fitted")
        images = torch.randn(2, channels, other, other)
        expected = reference(images, interpolate_pos_encoding=True).logits
        torch.testing.assert_close(larger(images), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_import_of_an_encoder_alone_and_of_one_with_a_mask(tmp_path):
    theirs = theirs_of(transformers.ViTModel, SHAPES[0])
    settings, tensors = saved(theirs, tmp_path)
    config = huggingface.import_config(settings, "theirs")
    ours = MaskedPatchModel(ViT(config, 15, 3), 2).eval()
    state = huggingface.import_weights(config, settings, tensors, "theirs")
    assert all(name.startswith("encoder.") for name in state)
    ours.load_state_dict(state, strict=False)
    images = torch.randn(2, 3, 15, 15)
    torch.testing.assert_close(ours.encoder(images), theirs(images).last_hidden_state, atol=1e-5, rtol=1e-5)
    theirs = theirs_of(transformers.ViTForMaskedImageModeling, SHAPES[0] | {"encoder_stride": 5})
    settings, tensors = saved(theirs, tmp_path)
    ours.load_state_dict(huggingface.import_weights(config, settings, tensors, "theirs"), strict=False)
    hidden, seen = torch.rand(2, 9) < 0.5, []
    ours.output = nn.Identity()
    got = ours(images, hidden, None, torch.arange(18)).view(2, 9, -1)
    theirs.vit.layernorm.register_forward_hook(lambda module, args, out: seen.append(out))
    theirs(images, bool_masked_pos=hidden)
    torch.testing.assert_close(got, seen[0][:, 1:], atol=1e-5, rtol=1e-5)


def classifier(**settings) -> ImageClassifier:
    torch.manual_seed(0)
    shape = {"dim": 24, "heads": 3, "ffn_dim": 20, "depth": 2, "patch_size": 5}
    head = settings.pop("head", ImageHeadConfig())
    model = ImageClassifier(ViT(ViTConfig(**shape | settings), 15, 3), head, 4).eval()
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
    settings = huggingface.export_config(ours.config, 15, 3, labels)
    (tmp_path / "config.json").write_text(json.dumps(settings))
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    theirs, report = transformers.AutoModelForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    assert [theirs.config.id2label[number] for number in range(4)] == labels
    images = torch.randn(3, 3, 15, 15)
    torch.testing.assert_close(ours(images), theirs.eval()(images).logits, atol=1e-5, rtol=1e-5)
    back = huggingface.import_weights(huggingface.import_config(settings, "ours"), settings, tensors, "ours")
    state = ours.state_dict()
    assert back.keys() == state.keys() and all(torch.equal(back[name], state[name]) for name in state)


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
        ({"qkv_bias": "no"}, "qkv_bias is 'no', not true or false"),
        ({"patch_size": [4, 8]}, "patch_size is .4, 8., and tformer's patches are squares"),
        ({"hidden_act": "mish"}, "hidden_act 'mish' is not supported"),
        ({"num_attention_heads": 5}, "hidden_size 24 is no multiple of 5 heads"),
    ],
)
def test_foreign_settings_are_refused(change, message, tmp_path):
    config = transformers.ViTConfig(**SHAPES[0]).to_dict() | change
    with pytest.raises(ConfigError, match=f"^theirs: {message}"):
        huggingface.import_config(config, "theirs")


def test_foreign_and_missing_weights_are_refused(tmp_path):
    settings, tensors = saved(theirs_of(transformers.ViTForImageClassification, SHAPES[0]), tmp_path)
    config = huggingface.import_config(settings, "theirs")
    with pytest.raises(ConfigError, match="theirs: the weights other.weight have no place"):
        huggingface.import_weights(config, settings, {**tensors, "other.weight": torch.ones(1)}, "theirs")
    del tensors["vit.layernorm.bias"]
    with pytest.raises(ConfigError, match="theirs: the weights layernorm.bias are missing"):
        huggingface.import_weights(config, settings, tensors, "theirs")
    with pytest.raises(
        ConfigError, match=r"position_embeddings has shape \(1, 10, 24\); config.json requires .*17, 24"
    ):
        huggingface.import_weights(config, settings | {"image_size": 20}, tensors, "theirs")


ARGUMENTS = {**timm.ARCHITECTURES["vit_tiny_patch16_224"], "num_heads": 3}


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
    reference = Theirs(class_token=class_token, scale=scale)
    tensors = reference.state_dict()
    config = timm.import_config(ARGUMENTS, tensors, "theirs")
    assert (config.dim, config.ffn_dim, config.depth, config.patch_size) == (24, 20, 2, 5)
    head = ImageHeadConfig(pooling=Pooling.cls if class_token else Pooling.mean)
    ours = ImageClassifier(ViT(config, 15, 3), head, 4).eval()
    load_model_tensors(ours, timm.import_weights(config, (15, 15), ARGUMENTS, tensors, "theirs"), "imported")
    images = torch.randn(2, 3, 15, 15)
    torch.testing.assert_close(ours(images), reference(images), atol=1e-5, rtol=1e-5)
    back = timm.export_weights(config, ours.state_dict())
    assert back.keys() == tensors.keys() and all(torch.equal(back[name], tensors[name]) for name in tensors)


def test_timm_of_another_kind_is_refused():
    tensors = Theirs().state_dict()
    config = timm.import_config(ARGUMENTS, tensors, "theirs")
    for name, message in (
        ("fc_norm.weight", "normalises after pooling"),
        ("reg_token", "the weights reg_token"),
    ):
        with pytest.raises(ConfigError, match=f"theirs: {message}"):
            timm.import_weights(config, (15, 15), ARGUMENTS, {**tensors, name: torch.ones(24)}, "theirs")
    with pytest.raises(ConfigError, match="theirs: no weights of timm"):
        timm.import_config(ARGUMENTS, {"a": torch.ones(1)}, "theirs")
    with pytest.raises(ConfigError, match=r"a width of 24 is no multiple of 5 heads \(num_heads\)"):
        timm.import_config({**ARGUMENTS, "num_heads": 5}, tensors, "theirs")
    with pytest.raises(ConfigError, match="head.hidden: true cannot be exported"):
        timm.export_arguments(config, ImageHeadConfig(hidden=True), 15, 3)
    for change, named in (
        ({"activation": Activation.swiglu}, "model.activation: swiglu"),
        ({"norm_eps": 1e-5}, "model.norm_eps: 1e-05"),
        ({"positions": Positions.sinusoidal}, "model.positions: sinusoidal"),
    ):
        with pytest.raises(ConfigError, match=f"{named} cannot be exported"):
            timm.export_weights(dataclasses.replace(config, **change), {})


def timm_folder(tmp_path, **changes):
    """Return a folder in timm's format, and the content of its `config.json`."""
    settings = {"architecture": "vit_tiny_patch16_224", "model_args": {"num_heads": 3, "img_size": 15}} | changes
    safetensors.torch.save_file(Theirs().state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(settings))
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "vit_relpos_small_patch16_224"}, "'vit_relpos_small_patch16_224' of timm is not supported"),
        ({"architecture": "vit_base_patch16_clip_224"}, "'vit_base_patch16_clip_224' of timm is not supported"),
        ({"architecture": "resnet50"}, "'resnet50' of timm is not supported"),
        ({"architecture": ["vit"]}, "of timm is not supported"),
        ({"model_args": {"act_layer": "quick_gelu"}}, "act_layer 'quick_gelu' is not supported"),
        ({"model_args": {"global_pool": "map"}}, "global_pool 'map' is not supported"),
        ({"model_args": {"global_pool": ["avg"]}}, "global_pool .*avg.* is not supported"),
        ({"model_args": {"tilt": 3}}, "tilt = 3 is not supported"),
        ({"model_args": {"qk_norm": True}}, "qk_norm 'True' is not supported"),
        ({"model_args": {"reg_tokens": 4}}, "reg_tokens '4' is not supported"),
        ({"model_args": {"norm_layer": "rmsnorm"}}, "norm_layer 'rmsnorm' is not supported"),
        ({"model_args": {"num_heads": "x"}}, "num_heads is 'x', not a whole number"),
        ({"model_args": {"num_heads": 5}}, r"no multiple of 5 heads"),
        ({"model_args": {"img_size": [15, 20]}}, "img_size 15x20 does not match pos_embed, which has 9 patches"),
        ({"model_args": {"img_size": 16}}, "img_size 16 is no multiple of 5 pixels"),
        ({"model_args": [1]}, "model_args is .*, not an object"),
        ({"global_pool": "avg"}, "global_pool is 'avg', but its architecture uses 'token'"),
        ({"pretrained_cfg": {"mean": ["a"]}}, "mean is .*, not a list of numbers"),
        ({"pretrained_cfg": {"mean": [0.1, 0.2], "std": [1, 1]}}, "mean or std has 2 numbers, the model 3 channels"),
    ],
)
def test_a_timm_folder_that_is_not_ours_is_refused_by_name(changes, message, tmp_path):
    folder = timm_folder(tmp_path, **changes)
    with pytest.raises(ConfigError, match=message):
        import_pictures(folder)


def test_heads_and_the_rest_are_those_of_the_architecture(tmp_path):
    folder = timm_folder(tmp_path, architecture="vit_small_patch16_224", model_args=None)
    with pytest.warns(UserWarning, match="no mean and std found: 0.5 is used"):
        experiment, _ = import_pictures(folder)
    assert (experiment.model.heads, experiment.data.image_size) == (6, 15)
    assert timm.ARCHITECTURES["vit_huge_patch14_224"]["num_heads"] == 16
    assert timm.ARCHITECTURES["vit_base_patch16_gap_224"]["num_heads"] == 16
    assert timm.ARCHITECTURES["vit_so400m_patch16_siglip_gap_384"]["act_layer"] == "gelu_tanh"
    assert timm.ARCHITECTURES["vit_so400m_patch14_siglip_gap_384"]["global_pool"] == "avg"


@pytest.mark.parametrize(
    ("coding", "mean", "std"),
    [
        ({"image_mean": [0.4, 0.5, 0.6], "image_std": [0.1, 0.2, 0.3]}, [0.4, 0.5, 0.6], [0.1, 0.2, 0.3]),
        ({"image_mean": [51.0], "image_std": [25.5], "do_rescale": False}, [0.2], [0.1]),
        ({"image_mean": [0.5], "image_std": [0.25], "rescale_factor": 1 / 510}, [1.0], [0.5]),
        ({"do_normalize": False, "image_mean": [9.0], "image_std": [9.0]}, [0.0], [1.0]),
    ],
)
def test_pictures_are_coded_as_their_processor_does(coding, mean, std, tmp_path):
    reference = theirs_of(transformers.ViTForImageClassification, SHAPES[0])
    reference.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(coding | {"size": 224}))
    experiment, _ = import_pictures(tmp_path)
    assert experiment.data.mean == pytest.approx(mean) and experiment.data.std == pytest.approx(std)
    assert experiment.data.fit is Fit.stretch
