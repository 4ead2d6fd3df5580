"""Import and export of thirty random Vision Transformers of timm, and every architecture that it lists."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from unittest import mock

import pytest
import torch

from tests.interop.drawing import Choices, drawn, generator, randomise
from tests.interop.folders import import_pictures
from tformer_cli.config.schema import Activation, ImageDataConfig, ImageHeadConfig, Pooling
from tformer_cli.errors import ConfigError
from tformer_cli.interop import timm_vit
from tformer_cli.interop.picture_models import timm_files
from tformer_cli.models.image_head import ImageClassifier
from tformer_cli.models.vit import ViTConfig
from tformer_cli.models.vit.model import ViT
from tformer_cli.runs.checkpoint import load_model_tensors
from tformer_cli.tasks.settings.images import ImageClassificationExperiment


def library():
    """Return timm, even if torchvision's compiled part was built for a CUDA version of torch and does not load."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    except ImportError:
        pytest.skip("timm needs torchvision, which is not installed", allow_module_level=True)
    return pytest.importorskip("timm", reason="timm is not installed", exc_type=ImportError)


timm = library()
from timm.models import vision_transformer  # noqa: E402
from timm.models._hub import save_for_hf  # noqa: E402

CLOSE = {"atol": 1e-4, "rtol": 1e-4}
PASSING: Choices = {
    "architecture": ["vit_tiny_patch16_224", "vit_base_patch16_gap_224", "deit3_small_patch16_224", "flexivit_base",
                     "vit_medium_patch16_gap_256", "vit_so400m_patch16_siglip_gap_384", "vit_huge_patch14_224",
                     "vit_small_patch14_dinov2"],
    "img_size": [32, [16, 32], [48, 16], 16], "patch_size": [8, 16], "embed_dim": [48, 96], "num_heads": [3, 4, None],
    "depth": [1, 2], "mlp_ratio": [2, 1.5], "num_classes": [3, 5], "in_chans": [3, 1],
    "act_layer": [None, "gelu", "gelu_tanh", "relu", "silu"], "init_values": [None, 0.1], "qkv_bias": [True, False],
    "no_embed_class": [None, True, False], "norm_layer": [None, "layernorm"], "drop_rate": [0.0, 0.3],
    "proj_drop_rate": [0.0, 0.2], "pos_drop_rate": [0.0, 0.2], "drop_path_rate": [0.0, 0.2], "fix_init": [True, False],
    "dynamic_img_size": [False, True],
}  # fmt: skip
REFUSED: Choices = {
    "act_layer": ["quick_gelu", "mish"], "global_pool": ["map", "max", "avgmax"], "qk_norm": [True],
    "reg_tokens": [2], "pre_norm": [True], "norm_layer": ["rmsnorm"], "proj_bias": [False], "final_norm": [False],
    "pos_embed": ["none"], "fc_norm": [True], "scale_attn_norm": [True], "scale_mlp_norm": [True],
    "pool_include_prefix": [True],
}  # fmt: skip


def made(rng, refused: str = "", value: object = None):
    """Return a random model of timm, and its arguments."""
    arguments, _ = drawn(rng, PASSING, {}, 0)
    name = arguments.pop("architecture")
    arguments = {key: one for key, one in arguments.items() if one is not None}
    if arguments.get("num_heads") is None:  # the default of the architecture
        arguments["embed_dim"] = 8 * timm_vit.ARCHITECTURES[name]["num_heads"]
    if "gap" not in name and rng.random() < 0.3:
        arguments |= {"global_pool": "avg", "fc_norm": False, "class_token": rng.random() < 0.5}
    if refused:
        arguments[refused] = value
    arguments["img_size"] = (
        tuple(arguments["img_size"]) if isinstance(arguments["img_size"], list) else arguments["img_size"]
    )
    model = timm.create_model(name, pretrained=False, **arguments)
    return randomise(model, rng), arguments


@pytest.mark.parametrize("number", range(30))
@torch.no_grad()
def test_a_model_of_theirs_computes_the_same_here(number, tmp_path):
    rng = generator("timm in", number)
    reference, _ = made(rng)
    save_for_hf(reference, tmp_path, safe_serialization=True)
    experiment, weights = import_pictures(tmp_path)
    data = experiment.data
    ours = ImageClassifier(
        ViT(experiment.model, data.image_size, data.channels), experiment.head, reference.num_classes
    ).eval()
    load_model_tensors(ours, weights, "theirs")
    images = torch.randn(2, data.channels, *data.height_width, generator=torch.Generator().manual_seed(number))
    expected = reference(images)
    assert expected.std() > 0.05
    torch.testing.assert_close(ours(images), expected, **CLOSE)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in REFUSED.items() for value in values])
def test_what_ours_does_not_have_is_refused_by_name(name, value, tmp_path):
    reference, _ = made(generator("timm refused", name, value), name, value)
    save_for_hf(reference, tmp_path, safe_serialization=True)
    with pytest.raises(ConfigError, match=name):
        import_pictures(tmp_path)


@pytest.mark.parametrize("number", range(30))
@torch.no_grad()
def test_a_model_of_ours_computes_the_same_there(number, tmp_path):
    rng = generator("timm out", number)
    values, _ = drawn(rng, {
        "dim": [12, 24], "heads": [1, 3], "ffn_dim": [12, 36], "depth": [1, 2], "patch_size": [4, 8],
        "activation": [Activation.gelu, Activation.gelu_tanh, Activation.relu, Activation.swish],
        "layer_scale": [0.0, 0.1], "dropout": [0.0, 0.2], "stochastic_depth": [0.0, 0.2], "class_token": [True, False],
    }, {}, 0)  # fmt: skip
    size, channels = rng.choice([16, [8, 24], [32, 16]]), rng.choice([1, 3])
    pooling = Pooling.mean if not values["class_token"] else rng.choice(list(Pooling))
    head = ImageHeadConfig(pooling=pooling)
    ours = randomise(ImageClassifier(ViT(ViTConfig(**values), size, channels), head, 3), rng)
    data = ImageDataConfig(image_size=size, channels=channels)
    files = timm_files(ours, ImageClassificationExperiment(data=data, model=ours.config, head=head), ["a", "b", "c"])
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    exported = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    images = torch.randn(2, channels, *data.height_width, generator=torch.Generator().manual_seed(number))
    torch.testing.assert_close(ours(images), exported(images), **CLOSE)


def arguments_of(name: str) -> tuple[str, dict]:
    """Return the class of an architecture and its arguments, except those about weights."""
    seen: dict = {}

    class Stop(Exception):
        pass

    def note(self, *_, **arguments):
        seen.update(arguments)
        raise Stop(type(self).__name__)

    with mock.patch.object(vision_transformer.VisionTransformer, "__init__", note):
        try:
            timm.create_model(name)
        except Stop as stop:
            return str(stop), seen
    return "", {}


OF_TRANSFORMERS = ["vision_transformer", "deit"]


def test_every_architecture_of_theirs_is_read_as_it_is_or_refused_by_name():
    names = [name for module in OF_TRANSFORMERS for name in timm.list_models(module=module)]
    assert len(names) > 150 and not timm_vit.ARCHITECTURES.keys() - set(names)
    defaults = inspect.signature(vision_transformer.VisionTransformer.__init__).parameters
    for name in names:
        kind, arguments = arguments_of(name)
        arguments = {key: value for key, value in arguments.items() if value != defaults[key].default}
        if name not in timm_vit.ARCHITECTURES:
            with pytest.raises(ConfigError, match=f"'{name}' of timm is not supported"):
                timm_vit.arguments_of({"architecture": name}, "theirs")
            continue
        assert kind == "VisionTransformer"
        declared = timm_vit.arguments_of({"architecture": name}, "theirs")
        by_weights = {key for key, rule in timm_vit.READ.items() if rule.about == "follows from the weights"}
        by_weights |= {"img_size", "patch_size", "in_chans", "dynamic_img_size"}
        compared = {"act_layer": "gelu"} | {key: one.default for key, one in defaults.items() if key in declared}
        compared |= {"act_layer": "gelu"} | {key: one for key, one in arguments.items() if key not in by_weights}
        assert declared == compared, name


def test_every_argument_of_theirs_has_a_rule():
    arguments = inspect.signature(vision_transformer.VisionTransformer.__init__).parameters.keys()
    assert arguments - {"self", "device", "dtype"} == timm_vit.READ.keys()


def test_old_files_without_arguments_are_read(tmp_path):
    reference = timm.create_model("test_vit", num_classes=3).eval()
    save_for_hf(reference, tmp_path, safe_serialization=True)
    place = Path(tmp_path) / "config.json"
    settings = json.loads(place.read_text())
    del settings["model_args"]
    place.write_text(json.dumps(settings))
    experiment, _ = import_pictures(tmp_path)
    assert (experiment.model.heads, experiment.data.image_size) == (2, 160)
