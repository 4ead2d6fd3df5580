"""The settings of tasks on images."""

# pyright: reportIncompatibleVariableOverride=false
# A task narrows the types of `data` and `model`. This is safe, since nothing is assigned to a composed configuration.

from __future__ import annotations

from dataclasses import dataclass, field

from tformer_cli.config.schema import (
    ONE_LABEL,
    AdversarialOptimConfig,
    AugmentConfig,
    CaptionDataConfig,
    GeneratedImageDataConfig,
    GenerationConfig,
    GenerationScoreConfig,
    ImageExperiment,
    ImageHeadConfig,
    PatchMaskingConfig,
    Pooling,
    TextExperiment,
    TransformerDecoderConfig,
    check_replaced,
    setting,
)
from tformer_cli.errors import ConfigError
from tformer_cli.models.sagan import SAGANConfig
from tformer_cli.models.vit import Stem, ViTConfig


@dataclass
class ImageClassificationExperiment(ImageExperiment):
    """The settings of image classification."""

    task: str = setting("image_classification", "name of the task")
    model: ViTConfig = field(default_factory=ViTConfig)
    head: ImageHeadConfig = field(default_factory=ImageHeadConfig)

    def check(self) -> None:
        """Check that the model has a [class] vector if the head uses it, and that labels are balanced in one way only.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        self.head.check_balance(self.data.balance)
        if self.head.pooling is Pooling.cls and not self.model.has_class_token:
            cause = f"head.pooling: a {self.model.family} has no [class] token"
            if hasattr(self.model, "class_token"):
                cause = "head.pooling: cls needs the [class] token, and model.class_token is false"
            raise ConfigError(cause, "head.pooling=mean")


@dataclass
class CaptioningExperiment(TextExperiment):
    """The settings of image captioning."""

    task: str = setting("captioning", "name of the task")
    data: CaptionDataConfig = field(default_factory=CaptionDataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ViTConfig = field(default_factory=ViTConfig)
    decoder: TransformerDecoderConfig = field(default_factory=TransformerDecoderConfig)

    def check(self) -> None:
        """Check that the image size is a multiple of the patch size, and refuse blended images: they have no caption.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        self.data.check_multiple(self.model.limits().multiple)
        self.decoder.check_outputs(self.decode)
        self.augment.refuse_blends("a blend of two images has no caption")


@dataclass
class MaskedPatchesExperiment(ImageExperiment):
    """The settings of masked patch prediction."""

    task: str = setting("masked_patches", "name of the task")
    model: ViTConfig = field(default_factory=ViTConfig)
    patches: PatchMaskingConfig = field(default_factory=PatchMaskingConfig)

    def check(self) -> None:
        """Refuse stems that mix neighbouring patches, so that these cannot be masked, and balanced labels.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        if self.data.balance:
            raise ConfigError(ONE_LABEL, "data.balance=0")
        if isinstance(self.model, ViTConfig) and self.model.stem is not Stem.patches:
            cause = f"model.stem: {self.model.stem.name} mixes neighbouring patches, so that patches cannot be masked"
            raise ConfigError(cause, "model.stem=patches")

    def check_training(self) -> None:
        """Refuse blended images, and shares of replaced patches that are more than 1 together.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check_training()
        self.augment.refuse_blends("the patches that are predicted are those of one image")
        check_replaced("patches", self.patches.mask, self.patches.random)


@dataclass
class ImageGenerationExperiment(ImageExperiment):
    """The settings of image generation; `optim` is the optimiser of the discriminator."""

    task: str = setting("image_generation", "name of the task")
    data: GeneratedImageDataConfig = field(default_factory=GeneratedImageDataConfig)
    model: SAGANConfig = field(default_factory=SAGANConfig)
    optim: AdversarialOptimConfig = field(default_factory=lambda: AdversarialOptimConfig(lr=4e-4))
    generator_optim: AdversarialOptimConfig = field(default_factory=AdversarialOptimConfig)
    evaluation: GenerationScoreConfig = field(default_factory=GenerationScoreConfig)
    decode: GenerationConfig = field(default_factory=GenerationConfig)

    def check(self) -> None:
        """Refuse blended images, which a generator would learn to make, and self-attention on too small maps.

        Raises:
            ConfigError: naming the setting and a valid value.
        """
        super().check()
        self.augment.refuse_blends("the generator would learn to blend images")
        self.model.check_map(self.data.height_width)

    def unsmoothed(self) -> str:
        """Return the reason why label smoothing has no effect."""
        return "the losses of generator and discriminator have no labels to predict"
