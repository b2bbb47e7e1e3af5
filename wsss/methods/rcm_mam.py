"""RCM and MAM: a classifier that learns, pixel by pixel, from a slowly following copy of itself.

Yoon et al., "Exploring Pixel-level Self-supervision for Weakly Supervised Semantic Segmentation". MainNet F learns from
image-level labels and from SupportNet G, its exponential moving average (EMA), on the image at several scales. The
regional contrastive module (RCM) moves F's features towards the prototype of the region in which G sees the pixel; the
multi-scale attentive module (MAM) moves F's maps towards G's maps of the other scales, the more the less they agree.

There is no published code. What the paper leaves open is an option below; the defaults take the text's reading, and
means where the printed sums would drown the classification loss. The head follows KAIST-vilab/AEFT
(networks/resnet38d.py), by the same authors. G runs without dropout; with `support: shared`, G is F's own output,
detached, dropout included.

Legend: B batch, C classes, D channels of the projection, S scales, H x W image, h x w common grid.
"""

import copy
from collections.abc import Sequence
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from wsss.backbones.common import Backbone
from wsss.errors import UserError
from wsss.methods.rcm_mam_modules import DirectRcm, Mam, Rcm, Views, resized
from wsss.model import Classifier, backbone_and_head
from wsss.ops import self_supervision as ops
from wsss.ops.sizes import scaled

Output = tuple[Tensor, Tensor]
"""Features (B,D,.,.) and raw maps (B,C,.,.) of a network for one image size."""


class Head(nn.Module):
    """1x1 projection to D channels, the features X, and the 1x1 classifier whose output are the raw maps A."""

    def __init__(self, channels: int, num_classes: int, dim: int, relu: bool, dropout: float) -> None:
        super().__init__()
        self.projection = nn.Conv2d(channels, dim, 1, bias=False)
        self.classifier = nn.Conv2d(dim, num_classes, 1, bias=False)
        self.relu, self.dropout = relu, dropout
        nn.init.xavier_uniform_(self.projection.weight)
        nn.init.xavier_uniform_(self.classifier.weight)

    def forward(self, taps: tuple[Tensor, ...]) -> Output:
        """X (B,D,h,w) and A (B,C,h,w) for a backbone's taps."""
        feature_BDhw = self.projection(F.dropout2d(taps[-1], self.dropout, self.training))
        feature_BDhw = feature_BDhw.relu() if self.relu else feature_BDhw
        return feature_BDhw, self.classifier(feature_BDhw)


class RcmMam(Classifier):
    """MainNet (`backbone`, `head`), SupportNet (`support`, None where there is no copy), and the modules in use.

    `weights` are lambda 1, 2, 3 of classification, region and attention loss (eq. 9).
    """

    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        support: nn.Sequential | None,
        rcm: Rcm | DirectRcm | None,
        mam: Mam | None,
        *,
        scales: Sequence[float],
        grid: Literal["feature", "image"],
        merge: ops.Merge,
        classification: Literal["middle", "all"],
        weights: tuple[float, float, float],
        momentum: float,
        network: Literal["main", "support"],
        head_lr: float,
    ) -> None:
        super().__init__()
        self.backbone, self.head, self.support, self.rcm, self.mam = backbone, head, support, rcm, mam
        self.scales, self.grid, self.merge, self.classification = tuple(scales), grid, merge, classification
        self.weights, self.momentum, self.network, self.head_lr = weights, momentum, network, head_lr
        self.classification_weight = weights[0]

    def train(self, mode: bool = True) -> Self:
        """Training mode for MainNet only."""
        super().train(mode)
        if self.support is not None:
            self.support.eval()
        return self

    def start(self, state: dict[str, Tensor]) -> None:
        """Take over another network's backbone, in both networks."""
        super().start(state)
        if self.support is not None:
            self.support[0].load_state_dict(self.backbone.state_dict())

    def losses(self, batch: dict[str, Tensor], progress: Any) -> dict[str, Tensor]:
        """Weighted losses (eq. 9) of `image` (B,3,H,W) and `labels` (B,C), float32 in any precision of the networks.

        `attention` is 0 before MAM's epoch. Scales that no loss looks at are not computed.
        """
        if self.mam is not None and progress.epochs is not None and self.mam.epoch >= progress.epochs:
            raise UserError(
                f"mam_epoch: the module begins in epoch {self.mam.epoch} (from 0), but the recipe ends after "
                f"{progress.epochs}; lower it, or train longer"
            )
        images, labels_BC = self._pyramid(batch["image"]), batch["labels"]
        mam = self.mam if self.mam is not None and progress.epoch >= self.mam.epoch else None
        taught = self.rcm is not None or mam is not None
        every = self.classification == "all" or (mam is not None and mam.kind != "smm")
        guide = self._supported(images) if taught and self.support is not None else []
        main = [self._main(image) for image in (images if every else images[:1])]
        if taught and self.support is None:
            guide = self._shared(images, main)
        with torch.autocast(images[0].device.type, enabled=False):
            losses = {"classification": self.weights[0] * self._classification(main, labels_BC)}
            if self.mam is not None:
                losses["attention"] = torch.zeros_like(losses["classification"])
            if taught:
                size = (images[0] if self.grid == "image" else main[0][1]).shape[2:]
                views, guides = _views(main, size), _views(guide, size)
                msinf_BChw = ops.merged(guides.raw_SBChw, self.merge)
                if self.rcm is not None:
                    losses["region"] = self.weights[1] * self.rcm(views, guides, msinf_BChw, labels_BC)
                if mam is not None:
                    losses["attention"] = self.weights[2] * mam(views, guides, msinf_BChw, labels_BC)
        return losses

    def _pyramid(self, image_BCHW: Tensor) -> list[Tensor]:
        """The image as it is, then at the other scales."""
        size = (image_BCHW.shape[2], image_BCHW.shape[3])
        others = [F.interpolate(image_BCHW, scaled(size, s), mode="bilinear", align_corners=False) for s in self.scales]
        return [image_BCHW, *others]

    def _main(self, image_BCHW: Tensor) -> Output:
        return self.head(self.backbone(image_BCHW))

    @torch.no_grad()
    def _supported(self, images: list[Tensor]) -> list[Output]:
        """G's outputs; they come before F's, so that G's activations are gone when F's are kept."""
        assert self.support is not None
        return [self.support(image) for image in images]

    @torch.no_grad()
    def _shared(self, images: list[Tensor], main: list[Output]) -> list[Output]:
        """F's outputs as G's (weight sharing); scales at which F does not learn are computed here."""
        rest = [self._main(image) for image in images[len(main) :]]
        return [(feature.detach(), raw.detach()) for feature, raw in main] + rest

    def _classification(self, main: list[Output], labels_BC: Tensor) -> Tensor:
        """BCE of the sigmoid of the maps' means (GAP), for the image as it is or as the mean over its scales."""
        scales = main if self.classification == "all" else main[:1]
        losses = [F.binary_cross_entropy_with_logits(raw.float().mean((2, 3)), labels_BC) for _, raw in scales]
        return torch.stack(losses).mean()

    def after_step(self, progress: object) -> None:
        """SupportNet follows: a G + (1 - a) F for parameters, a copy for buffers."""
        if self.support is not None:
            main = [*self.backbone.parameters(), *self.head.parameters()]
            get_ema_multi_avg_fn(self.momentum)([*self.support.parameters()], main, 0)
            for theirs, ours in zip(self.support.buffers(), self.backbone.buffers(), strict=True):
                theirs.copy_(ours)

    def class_maps(self, image_BCHW: Tensor) -> Tensor:
        """Raw score maps (B,C,h,w), before any ReLU, of MainNet or, by option `network`, of SupportNet."""
        network = self.support if self.network == "support" and self.support is not None else self._main
        return network(image_BCHW)[1]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """MainNet's backbone at the recipe's rate, its head at `head_lr` times that; SupportNet does not train."""
        return backbone_and_head(self.backbone, self.head.parameters(), self.head_lr)


def _views(outputs: list[Output], size: Sequence[int]) -> Views:
    return Views(outputs[0][0].float(), torch.stack([resized(raw, size) for _, raw in outputs]))


def build(
    *,
    backbone: Backbone,
    num_classes: int,
    dim: int = 256,
    relu: bool = True,
    dropout: float = 0.0,
    head_lr: float = 1.0,
    rcm: Literal["contrastive", "direct", "off"] = "contrastive",
    mam: Literal["mam", "mmm", "smm", "off"] = "mam",
    support: Literal["ema", "shared"] = "ema",
    momentum: float = 0.997,
    scales: Sequence[float] = (0.5, 2.0),
    grid: Literal["feature", "image"] = "feature",
    merge: Literal["mean", "relu_mean", "max"] = "mean",
    threshold: float = 0.20,
    temperature: float = 0.5,
    form: Literal["log", "prob"] = "log",
    prototype: Literal["mean", "sum"] = "mean",
    region_reduction: Literal["mean", "class_mean", "sum"] = "mean",
    direct: Literal["bce", "l1"] = "bce",
    target: Literal["plain", "clamp", "normalise"] = "plain",
    detach_attention: bool = True,
    detach_max: bool = False,
    attention_reduction: Literal["mean", "class_sum", "sum"] = "mean",
    classification: Literal["middle", "all"] = "middle",
    classification_weight: float = 1.0,
    region_weight: float = 1.0,
    attention_weight: float = 1.0,
    mam_epoch: int = 6,
    network: Literal["main", "support"] = "main",
) -> RcmMam:
    """The paper's framework; `rcm: off` with `mam: off` is the plain CAM network with the projection, and no G.

    Networks: `dim`, `relu` of the projection X; `dropout` of whole channels before it; `support` G as the EMA of F with
    `momentum`, or F itself (Exp. 2); `network` whose maps inference reads. Scales: `scales` besides 1; `grid` on which
    all maps are compared: that of the image's features (cheap) or the image (to the letter); `merge` into msinf-CAMs.
    RCM: `threshold` of the regions, `temperature` and `form` of eq. 5, `prototype` per image, `region_reduction`;
    `direct` is the loss of `rcm: direct`. MAM: `target` of eq. 7, `attention_reduction` of eq. 8, gradients through xi
    and through the maps' maxima unless detached. Sum: lambda 1 to 3 are the weights, lambda 3 is 0 before epoch
    `mam_epoch` (from 0); `classification` of the image as it is or also of its other scales. Raises UserError for
    numbers out of range and for a SupportNet that does not exist.
    """
    _refuse(momentum=momentum, threshold=threshold, temperature=temperature, scales=scales)
    head = Head(backbone.channels[-1], num_classes, dim, relu, dropout)
    copied = support == "ema" and (rcm != "off" or mam != "off")
    if network == "support" and not copied:
        raise UserError("network: there is no SupportNet here; use network: main, or support: ema with rcm or mam")
    learning = {"threshold": threshold, "temperature": temperature}
    regional: dict[str, Rcm | DirectRcm | None] = {
        "contrastive": Rcm(num_classes + 1, dim, form=form, average=prototype, reduction=region_reduction, **learning),
        "direct": DirectRcm(threshold=threshold, form=direct, detach_max=detach_max),
        "off": None,
    }
    return RcmMam(
        backbone,
        head,
        copy.deepcopy(nn.Sequential(backbone, head)).requires_grad_(False) if copied else None,
        regional[rcm],
        None if mam == "off" else Mam(mam, mam_epoch, target, detach_attention, detach_max, attention_reduction),
        scales=scales,
        grid=grid,
        merge=merge,
        classification=classification,
        weights=(classification_weight, region_weight, attention_weight),
        momentum=momentum,
        network=network,
        head_lr=head_lr,
    )


def _refuse(*, momentum: float, threshold: float, temperature: float, scales: Sequence[float]) -> None:
    valid = {
        "momentum: must be within 0 and 1": 0 <= momentum <= 1,
        "threshold: must be at least 0 and below 1": 0 <= threshold < 1,
        "temperature: must be above 0": temperature > 0,
        "scales: must all be above 0": all(scale > 0 for scale in scales),
    }
    for message, holds in valid.items():
        if not holds:
            raise UserError(message)
