"""A Vision Transformer of timm, trained in a usual PyTorch loop, or evaluated as by timm's `validate.py`."""

from __future__ import annotations

from typing import Any

import torch
from measure import Pictures, TrainingClock, gemm_gflops, inference_result, normalised, report, start
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

try:
    import torchvision
except RuntimeError:
    # Its compiled part needs torch with CUDA and does not load with the CPU build. The import then needs these
    # operators, which are not called here.
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

import timm
from timm.layers import set_fused_attn
from timm.optim import create_optimizer_v2
from timm.utils import accuracy

MODEL = "vit_tiny_patch16_224"


def built(job: dict[str, Any], outputs: int) -> nn.Module:
    """Return a model with random weights, with the job's attention or the library's default."""
    if "attention" in job:
        set_fused_attn(job["attention"] == "fused")
    shape = job["shape"]
    return timm.create_model(
        MODEL,
        img_size=shape["image_size"],
        patch_size=shape["patch_size"],
        embed_dim=shape["dim"],
        depth=shape["depth"],
        num_heads=shape["heads"],
        mlp_ratio=shape["ffn_dim"] / shape["dim"],
        num_classes=outputs,
    )


def autocast(job: dict[str, Any]) -> torch.autocast:
    """Return a context with the job's precision."""
    return torch.autocast("cpu", torch.bfloat16, enabled=job["precision"] == "bf16")


def train(job: dict[str, Any]) -> dict[str, Any]:
    """Train until the time of the clock is over."""
    pictures = Pictures.load(job, "train")
    model = built(job, pictures.outputs).train()
    optimizer = create_optimizer_v2(model, "adamw", lr=job["learning_rate"], weight_decay=0.0, fused=True)
    loss_of = nn.CrossEntropyLoss()
    loader = DataLoader(TensorDataset(*pictures.tensors()), job["batch_images"], shuffle=True, drop_last=True)
    clock, over = TrainingClock(job), False
    while not over:
        for images, targets in loader:
            with autocast(job):
                loss = loss_of(model(normalised(images)), targets)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            over = clock.tick(len(images), len(images), loss.detach())
            if over:
                break
    return clock.result() | {"parameters": sum(p.numel() for p in model.parameters() if p.requires_grad)}


def infer(job: dict[str, Any]) -> dict[str, Any]:
    """Compute loss and accuracy of the validation images repeatedly."""
    pictures = Pictures.load(job, "validation")
    pixels, labels = pictures.tensors()
    model = built(job, pictures.outputs).eval()
    loss_of = nn.CrossEntropyLoss()

    @torch.inference_mode()
    def score(images: Tensor, targets: Tensor) -> list[float]:
        with autocast(job):
            output = model(normalised(images))
            loss = loss_of(output, targets)
        return [float(value) for value in (loss, *accuracy(output, targets, topk=(1, 5)))]

    def all_pictures() -> int:
        for images, targets in zip(pixels.split(job["batch_images"]), labels.split(job["batch_images"]), strict=True):
            score(images, targets)
        return len(pixels)

    return inference_result(job, all_pictures) | {"parameters": sum(p.numel() for p in model.parameters())}


def main() -> None:
    """Run `python timm_vit.py JOB.json`."""
    job, output = start()
    before = gemm_gflops()
    result = {"train": train, "infer": infer}[job["kind"]](job)
    versions = {"timm": timm.__version__, "torchvision": torchvision.__version__, "torch": torch.__version__}
    facts = {"precision": job["precision"], "attention": job.get("attention", "fused"), "versions": versions}
    report(output, result | facts | {"gemm_gflops": [before, gemm_gflops()]})


if __name__ == "__main__":
    main()
