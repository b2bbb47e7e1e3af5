"""Visual words: a classifier that also predicts which words of a learnt codebook an image holds.

Ru, Du and Wu, "Learning Visual Words for Weakly-Supervised Semantic Segmentation", IJCAI 2021. Every pixel is compared
with every word by cosine; the softmax over words says how much of each word it is. The sum of that over the image, its
histogram of words, predicts the labels (words to image), and the mean feature predicts which words are the nearest of
some pixel (image to words; eq. 1-4). Hybrid spatial pyramid pooling stands in for global average pooling (eq. 5-7).

Where paper and published code differ, the default is the code: the histogram is a sum, not a mean (`histogram`); the
backbone learns nothing from the words-to-image loss (`word_gradient`); class maps come from the classifier alone, while
the paper takes the maximum with the maps of the words (eq. 10-12; see `branches`).

Legend: B batch, C classes, D channels, N words, H x W image, h x w features.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss.backbones.common import Backbone
from wsss.errors import UserError
from wsss.model import Classifier, backbone_and_head
from wsss.ops.hspp import global_average, hspp


class VisualWords(nn.Module):
    """Codebook of N words, and the predictions from words to labels and from features to words.

    All of it runs in the precision of its weights, also under autocast: its histograms are nearly uniform, and bfloat16
    would round away the little by which they differ.
    """

    def __init__(
        self, channels: int, num_classes: int, words: int, temperature: float, histogram: str, word_gradient: bool
    ) -> None:
        super().__init__()
        self.codebook = nn.Parameter(torch.empty(words, channels))
        nn.init.kaiming_normal_(self.codebook, a=math.sqrt(5))
        self.to_image = nn.Conv2d(words, num_classes, 1, bias=False)
        self.to_words = nn.Conv2d(channels, words, 1, bias=False)
        self.temperature, self.histogram, self.word_gradient = temperature, histogram, word_gradient

    def similarity(self, feature_BDhw: Tensor) -> Tensor:
        """Cosines (B,N,h,w) in [-1, 1] of every pixel with every word."""
        with torch.autocast(feature_BDhw.device.type, enabled=False):
            direction_BDhw = F.normalize(feature_BDhw.to(self.codebook.dtype), dim=1)
            return F.conv2d(direction_BDhw, F.normalize(self.codebook)[:, :, None, None])

    def probability(self, similarity_BNhw: Tensor) -> Tensor:
        """Softmax over words of similarity / temperature: (B,N,h,w) in [0, 1]."""
        return F.softmax(similarity_BNhw / self.temperature, 1)

    def counts(self, probability_BNhw: Tensor) -> Tensor:
        """Histogram of words (B,N): the sum over pixels (code), or their mean (eq. 4)."""
        return probability_BNhw.sum((2, 3)) if self.histogram == "sum" else probability_BNhw.mean((2, 3))

    def assignment(self, feature_BDhw: Tensor) -> Tensor:
        """The nearest word of every pixel: int64 (B,h,w), 0..N-1 (Figure 5)."""
        return self.similarity(feature_BDhw).argmax(1)

    def class_maps(self, feature_BDhw: Tensor) -> Tensor:
        """Class scores (B,C,h,w) of the words at every pixel, before any ReLU."""
        probability_BNhw = self.probability(self.similarity(feature_BDhw))
        with torch.autocast(feature_BDhw.device.type, enabled=False):
            return self.to_image(probability_BNhw)

    def logits(self, feature_BDhw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Class logits (B,C) of the histogram, word logits (B,N) of the mean feature, and words present (B,N), 0 or 1.

        The first trains codebook and `to_image` (and the features only with `word_gradient`), the second `to_words` and
        the features; a word is present when it is some pixel's nearest.
        """
        seen_BDhw = feature_BDhw if self.word_gradient else feature_BDhw.detach()
        similarity_BNhw = self.similarity(seen_BDhw)
        count_BN = self.counts(self.probability(similarity_BNhw))
        mean_BD = global_average(feature_BDhw).to(self.codebook.dtype)
        with torch.autocast(feature_BDhw.device.type, enabled=False):
            class_BC = self.to_image(count_BN[:, :, None, None]).flatten(1)
            word_BN = self.to_words(mean_BD[:, :, None, None]).flatten(1)
        return class_BC, word_BN, _present(similarity_BNhw)


class Vwe(Classifier):
    """Classifier on pooled features, with or without visual words beside it."""

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        pool: Callable[[Tensor], Tensor],
        words: VisualWords | None,
        weights: tuple[float, float],
        head_lr: float,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = nn.Conv2d(backbone.channels[-1], num_classes, 1, bias=False)
        self.words = words
        self.pool, self.weights, self.head_lr = pool, weights, head_lr

    def losses(self, batch: dict[str, Tensor], progress: object) -> dict[str, Tensor]:
        """Multi-label soft margin losses of `image` (B,3,H,W), each times its weight (eq. 9).

        Classification and words to image are against `labels` (B,C), 0 or 1, image to words against the words present.
        """
        feature_BDhw = self.backbone(batch["image"])[-1]
        losses = {"classification": F.multilabel_soft_margin_loss(self.logits(feature_BDhw), batch["labels"])}
        if self.words is not None:
            class_BC, word_BN, present_BN = self.words.logits(feature_BDhw)
            to_image, to_words = self.weights
            losses["words_to_image"] = to_image * F.multilabel_soft_margin_loss(class_BC, batch["labels"])
            losses["image_to_words"] = to_words * F.multilabel_soft_margin_loss(word_BN, present_BN)
        return losses

    def logits(self, feature_BDhw: Tensor) -> Tensor:
        """Class logits (B,C) of the pooled features."""
        pooled_BD = self.pool(feature_BDhw)
        return self.classifier(pooled_BD[:, :, None, None]).flatten(1).to(self.classifier.weight.dtype)

    def class_maps(self, image_BCHW: Tensor) -> Tensor:
        """Raw score maps (B,C,h,w) of the classifier, before any ReLU: those of the published code."""
        return self.classifier(self.backbone(image_BCHW)[-1])

    def branches(self, image_BCHW: Tensor) -> dict[str, Tensor]:
        """Raw maps (B,C,h,w) of the classifier, "img", and where there are words theirs, "word" (eq. 10-12).

        A pixel's softmax over N words is about 1/N, so "word" is far smaller than "img".
        """
        feature_BDhw = self.backbone(image_BCHW)[-1]
        maps = {"img": self.classifier(feature_BDhw)}
        return maps if self.words is None else maps | {"word": self.words.class_maps(feature_BDhw)}

    def word_map(self, image_BCHW: Tensor) -> Tensor:
        """The nearest word of every pixel: int64 (B,h,w), 0..N-1 (Figure 5); UserError for a network without words."""
        if self.words is None:
            raise UserError("words: this network was built with 0 words, so it assigns none; build it with more")
        return self.words.assignment(self.backbone(image_BCHW)[-1])

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The backbone at the recipe's rate; classifier, codebook and both predictions at `head_lr` times that."""
        own = [p for name, p in self.named_parameters() if not name.startswith("backbone.")]
        return backbone_and_head(self.backbone, own, self.head_lr)


def _present(similarity_BNhw: Tensor) -> Tensor:
    """1 for words that are some pixel's nearest, else 0 (B,N); the choice has no gradient."""
    nearest_BP = similarity_BNhw.argmax(1).flatten(1)
    absent_BN = similarity_BNhw.new_zeros(similarity_BNhw.shape[:2])
    return absent_BN.scatter(1, nearest_BP, 1.0)


def build(
    *,
    backbone: Backbone,
    num_classes: int,
    pooling: Literal["gap", "hspp"] = "hspp",
    words: int = 256,
    temperature: float = 1.0,
    histogram: Literal["sum", "mean"] = "sum",
    word_gradient: bool = False,
    words_to_image_weight: float = 1.0,
    image_to_words_weight: float = 1.0,
    gamma: float = 2.0,
    levels: Sequence[int] = (1, 2, 4),
    head_lr: float = 10.0,
) -> Vwe:
    """Classifier with `words` visual words (0: none, the plain CAM network) and `pooling`; UserError for bad options.

    `temperature` divides the cosines before the softmax. At 1 it is nearly uniform: with 256 words a perfect match that
    is orthogonal to the others gets 0.0105, against 1/256 = 0.0039. `gamma` and `levels` are those of hspp.
    """
    _refuse(words, temperature, gamma, levels)
    pool = partial(hspp, gamma=gamma, levels=tuple(levels)) if pooling == "hspp" else global_average
    channels = backbone.channels[-1]
    vocabulary = VisualWords(channels, num_classes, words, temperature, histogram, word_gradient) if words else None
    weights = (words_to_image_weight, image_to_words_weight)
    return Vwe(backbone, num_classes, pool, vocabulary, weights, head_lr)


def _refuse(words: int, temperature: float, gamma: float, levels: Sequence[int]) -> None:
    if words < 0:
        raise UserError(f"words: {words} is not a number of visual words; use 0 (none) or more")
    if not temperature > 0:
        raise UserError(f"temperature: {temperature} does not divide cosines; use a number above 0")
    if min(levels, default=1) < 1:
        raise UserError(f"levels: {min(levels)} is not a level of the pyramid; use whole numbers of 1 or more")
    if not gamma >= 0 or not gamma + len(levels) > 0:
        raise UserError(f"gamma: {gamma} does not weigh a mean; use 0 or more, and above 0 without levels")
