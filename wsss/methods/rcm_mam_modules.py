"""The two modules of RCM + MAM (sections 3.2 and 3.3): what F learns from G, beside the image-level labels.

Legend: B batch, C classes, L = C + 1 labels, D channels of the projection, S scales, h x w common grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss.ops import self_supervision as ops


class Views(NamedTuple):
    """A network's view of a batch in float32: X of the image as it is, raw maps of its scales (first: as it is)."""

    feature_BDhw: Tensor
    raw_SBChw: Tensor


class Rcm(nn.Module):
    """Regional contrastive module (section 3.2) with the latest prototype of every class and of the background."""

    prototype: Tensor
    seen: Tensor

    def __init__(
        self,
        labels: int,
        dim: int,
        *,
        threshold: float,
        temperature: float,
        form: ops.Form,
        average: ops.Average,
        reduction: ops.RegionReduction,
    ) -> None:
        super().__init__()
        self.threshold, self.temperature, self.form = threshold, temperature, form
        self.average, self.reduction = average, reduction
        self.register_buffer("prototype", torch.zeros(labels, dim))
        self.register_buffer("seen", torch.zeros(labels, dtype=torch.bool))

    def forward(self, main: Views, guide: Views, msinf_BChw: Tensor, labels_BC: Tensor) -> Tensor:
        """Eq. 5 for F's features; G's features renew the prototypes of the regions that this batch has."""
        region_Bhw = ops.class_regions(msinf_BChw, labels_BC, self.threshold)
        size = msinf_BChw.shape[2:]
        with torch.no_grad():
            fresh_LD, present_L = ops.prototypes(
                resized(guide.feature_BDhw, size), region_Bhw, len(self.seen), average=self.average
            )
            self.prototype = torch.where(present_L[:, None], fresh_LD, self.prototype)
            self.seen = self.seen | present_L
        return ops.contrastive_loss(
            resized(main.feature_BDhw, size),
            self.prototype,
            self.seen,
            region_Bhw,
            temperature=self.temperature,
            form=self.form,
            reduction=self.reduction,
        )


class DirectRcm(nn.Module):
    """Table 2, Exp. 1: the region masks are targets of F's maps themselves."""

    def __init__(self, *, threshold: float, form: ops.Direct, detach_max: bool) -> None:
        super().__init__()
        self.threshold, self.form, self.detach_max = threshold, form, detach_max

    def forward(self, main: Views, guide: Views, msinf_BChw: Tensor, labels_BC: Tensor) -> Tensor:
        """Loss of F's maps of the image as it is."""
        region_Bhw = ops.class_regions(msinf_BChw, labels_BC, self.threshold)
        cam_BChw = ops.scaled_cams(main.raw_SBChw[0], detach_max=self.detach_max)
        return ops.direct_loss(cam_BChw, region_Bhw, labels_BC, form=self.form)


@dataclass(frozen=True)
class Mam:
    """Multi-scale attentive module (section 3.3), on from `epoch` (counted from 0); its variants MMM and SMM.

    `mmm`: xi = 1, so the target is the mean of G's maps. `smm`: only the image as it is learns, from the msinf-CAM.
    """

    kind: Literal["mam", "mmm", "smm"]
    epoch: int
    target: ops.Target
    detach_attention: bool
    detach_max: bool
    reduction: ops.MapReduction

    def __call__(self, main: Views, guide: Views, msinf_BChw: Tensor, labels_BC: Tensor) -> Tensor:
        """Eq. 8 for F's maps."""
        cam_SBChw = ops.scaled_cams(main.raw_SBChw, detach_max=self.detach_max)
        if self.kind == "smm":
            return ops.map_loss(msinf_BChw[None], cam_SBChw[:1], labels_BC, reduction=self.reduction)
        guide_SBChw = ops.scaled_cams(guide.raw_SBChw)
        if self.kind == "mmm":
            xi_SSBC = cam_SBChw.new_ones(len(cam_SBChw), *guide_SBChw.shape[:3])
        else:
            xi_SSBC = ops.attention(cam_SBChw.detach() if self.detach_attention else cam_SBChw, guide_SBChw)
        target_SBChw = ops.attended(xi_SSBC, guide_SBChw, target=self.target)
        return ops.map_loss(target_SBChw, cam_SBChw, labels_BC, reduction=self.reduction)


def resized(maps_Bxhw: Tensor, size: Sequence[int]) -> Tensor:
    """Float32 maps, bilinear with half-pixel centres."""
    return F.interpolate(maps_Bxhw.float(), tuple(size), mode="bilinear", align_corners=False)
