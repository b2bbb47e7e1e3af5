"""All settings, typed and closed to unknown keys; the keys that config.yaml, presets and overlays may hold.

Numbers that belong to a paper stand in config.yaml with their source; here stand the types and the defaults of what no
paper fixes.
"""

import difflib
import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from wsss.figure_settings import Figure, TableName
from wsss.settings_base import (
    Background,
    Count,
    Fraction,
    Model,
    NotNegative,
    Positive,
    Real,
    Seeds,
    Whole,
)
from wsss.table_settings import Table

STAGES = ("classify", "cam", "affinity", "refine", "pseudo", "segment", "predict")
TRAINED = ("classify", "affinity", "segment")
"""Stages whose result is a trained network."""


SplitName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class _Data(Model):
    train: SplitName = "train"
    """Split that networks learn from."""
    evaluate: dict[SplitName, SplitName] = {"train": "train", "val": "val"}
    """Scored split -> the split whose maps and predictions hold its images."""
    shards: dict[SplitName, Count] = {}
    """Number of jobs that share a split's per-image work; part of the workflow, not of the machine."""


class VocData(_Data):
    """PASCAL VOC 2012 with SBD: downloaded, or taken from `archives` (tar files) or `devkit` (VOC, unpacked).

    `sbd: false` leaves SBD out, and with it the split train_aug.
    """

    source: Literal["voc"]
    archives: str | None = None
    devkit: str | None = None
    sbd: bool = True
    test: str | None = None
    """VOC2012test.tar, which only the evaluation server hands out."""
    test_scores: str | None = None
    """CSV of the server's answers (wsss/server_scores.py)."""
    verify_counts: bool = True
    """Compare the lists with the published counts and digests; off only for a cut-down copy."""

    @model_validator(mode="after")
    def _splits_exist(self) -> "VocData":
        if not self.sbd and "train_aug" in (self.train, *self.evaluate.values()):
            raise ValueError(
                "sbd: false leaves no split train_aug; set train: train and evaluate: {train: train, val: val}"
            )
        return self


class ShapesImages(Model):
    """Numbers of generated images."""

    train: Count = 600
    val: Count = 150


class ShapesData(_Data):
    """The built-in, generated data set: numbers of images, sides in pixels, seed."""

    source: Literal["shapes"]
    images: ShapesImages = ShapesImages()
    size: tuple[Annotated[Whole, Field(ge=48)], Count] = (64, 112)
    seed: Annotated[Whole, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _ordered(self) -> "ShapesData":
        if self.size[0] > self.size[1]:
            raise ValueError(f"size: {list(self.size)}; give the shortest side first, then the longest")
        return self


class OwnData(_Data):
    """The user's images: VOC layout, a CSV with a folder, or one folder per class."""

    source: Literal["own"]
    root: str
    layout: Literal["voc", "csv", "folders"] | None = None
    csv: str | None = None
    classes: list[str] | None = None
    val_fraction: Fraction = 0.2
    masks: str | None = None


class Backbone(Model):
    """A network role (r50, r101, r38, vgg16): which network plays it and its initial weights.

    `weights`: a torchvision name (IMAGENET1K_V1), a file (.pth, .safetensors, .params), or none.
    """

    network: str
    weights: str = "none"
    options: dict[str, Any] = {}


class Resize(Model):
    """How a training image is resized: long side in pixels, factor, one factor of a list, or relative area."""

    kind: Literal["none", "long_side", "factor", "choice", "area"] = "none"
    values: list[Positive] = []

    @model_validator(mode="after")
    def _counted(self) -> "Resize":
        counts = {"none": (0, 0), "choice": (1, 99)}
        least, most = counts.get(self.kind, (2, 2))
        if not least <= len(self.values) <= most:
            raise ValueError(
                f"resize {self.kind} needs {'two values' if most == 2 else 'values' if most else 'no values'}"
            )
        if self.kind in ("long_side", "factor", "area") and self.values[0] > self.values[1]:
            raise ValueError(f"resize {self.kind}: {self.values} must ascend; swap them")
        return self


class Augment(Model):
    """Training augmentation; padding is the mean colour for images and 255 for labels.

    `crop`: side in pixels; an image smaller than it stands at a random place or top_left (`crop_position`). `flip`:
    share of mirror images. `jitter`: brightness, contrast, saturation, hue (torchvision's ColorJitter), applied to a
    share of images (`jitter_probability`). `interpolation` of the resize: Pillow's bicubic or OpenCV's linear.
    """

    resize: Resize = Resize()
    crop: Count
    crop_position: Literal["random", "top_left"] = "random"
    flip: Fraction = 0.5
    jitter: tuple[NotNegative, NotNegative, NotNegative, Annotated[Real, Field(ge=0, le=0.5)]] | None = None
    jitter_probability: Fraction = 1.0
    interpolation: Literal["pillow_bicubic", "cv2_linear"] = "pillow_bicubic"


class Recipe(Model):
    """Optimisation of one network: SGD with the poly schedule.

    `momentum: weight_decay` reproduces the published PolyOptimizer, whose momentum really is its weight decay.
    `batch` is the effective batch; `accumulate` splits it into that many passes. The learning rate falls with
    (1 - t)^`power` and is set anew every `lr_every` steps; heads learn faster by their methods' factors. `freeze`:
    stages of the backbone that are not trained, from the image on (5: all). `precision`, `channels_last` (memory
    layout) and `gradient_checkpointing` (less memory, a third more work) are for speed and memory.
    """

    epochs: Count | None = None
    steps: Count | None = None
    batch: Count
    accumulate: Count = 1
    lr: Positive
    momentum: Literal["weight_decay"] | Annotated[Real, Field(ge=0, lt=1)] = 0.9
    weight_decay: NotNegative
    power: Positive = 0.9
    lr_every: Count = 1
    freeze: Annotated[Whole, Field(ge=0, le=5)] = 0
    precision: Literal["float32", "bf16"] = "float32"
    channels_last: bool = False
    gradient_checkpointing: bool = False
    augment: Augment

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give exactly one of 'epochs' and 'steps'")
        if self.batch % self.accumulate:
            raise ValueError(f"accumulate {self.accumulate} does not divide batch {self.batch}")
        return self


class Network(Model):
    """A trained network of `classify` or `segment`: method file, backbone role, recipe, and the method's options.

    `data`: options of how the method makes its training samples, if it has a way of its own. `start`: the variant of
    `classify` whose trained weights the network starts from, instead of the backbone's. `output_stride`: pixels of the
    image per step of the feature grid.
    """

    method: str
    backbone: str
    output_stride: Literal[4, 8, 16, 32] = 16
    recipe: str
    options: dict[str, Any] = {}
    data: dict[str, Any] = {}
    start: str | None = None


class Affinity(Network):
    """A network that learns from class activation maps which pixels belong together (IRNet, AffinityNet).

    `labels`: options of the method's training labels; `background`: the threshold of the maps they are made from.
    """

    background: Background = 0.15
    labels: dict[str, Any] = {}


class Cam(Model):
    """Multi-scale inference of class activation maps; `background` is the paper's fixed threshold.

    `branch`: for networks with two branches of maps, one of them (img, word), the maximum of both as they are
    (max_raw), or of both after each map was divided by its own maximum (max_norm). `flip`: maps of the mirror images
    are added, or the maximum is taken. `order`: ReLU before or after enlarging.
    """

    scales: Annotated[list[Positive], Field(min_length=1)] = [1.0, 0.5, 1.5, 2.0]
    flip: Literal["none", "sum", "max"] = "sum"
    order: Literal["relu_first", "resize_first"] = "relu_first"
    branch: Literal["img", "word", "max_raw", "max_norm"] = "img"
    background: Fraction = 0.15


class Refine(Model):
    """A refinement of score maps.

    `background` is the threshold that it starts from; behind an affinity network, whose walk needs none, a number is
    the paper's fixed threshold of the result.
    """

    method: str
    background: Background = "best"
    options: dict[str, Any] = {}


class Pseudo(Model):
    """Final pseudo labels; `background` matters when what stands before still holds scores.

    `source: ground_truth` copies the masks instead: the fully supervised reference, flagged in every table.
    """

    source: Literal["maps", "ground_truth"] = "maps"
    background: Background = "best"


class Predict(Model):
    """Inference of a segmentation network: scales, flip, how scales merge, and the dense CRF's preset or none.

    `merge`: mean or maximum of the probabilities, or the softmax of the mean logits.
    `labels`: only the image's own classes can be predicted, as for training masks; every table flags it.
    """

    scales: Annotated[list[Positive], Field(min_length=1)] = [1.0]
    flip: bool = False
    merge: Literal["mean", "max", "mean_logits"] = "mean"
    labels: bool = False
    crf: (
        Literal[
            "irn_labels", "psa", "aeft", "kazuto", "kazuto_asrun", "vwe_v2", "seam_seg", "mctformer_seg", "deconvnet"
        ]
        | None
    ) = None


class Evaluate(Model):
    """Which classes count in the mean, and how many labelled images are held out to choose a threshold."""

    convention: Literal["present", "truth", "all"] = "present"
    holdout: Annotated[Whole, Field(ge=0)] = 100


class Settings(Model):
    """The whole configuration after merging."""

    dataset: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
    preset: str | None = None
    seeds: Seeds = [0]
    data: Annotated[VocData | ShapesData | OwnData, Field(discriminator="source")]
    backbones: dict[str, Backbone]
    recipes: dict[str, Recipe]
    classify: dict[str, Network]
    cam: dict[str, Cam]
    affinity: dict[str, Affinity] = {}
    refine: dict[str, Refine] = {}
    pseudo: dict[str, Pseudo]
    segment: dict[str, Network]
    predict: dict[str, Predict]
    evaluate: Evaluate = Evaluate()
    rounds: Count = 3
    """Rounds of iterative learning; a further one runs alone, on the masks of the one before."""
    build: Annotated[list[str], Field(min_length=1)] = ["*"]
    """Tables and figures to make: names or patterns such as vwe/*."""
    tables: dict[TableName, Table]
    figures: dict[TableName, Figure] = {}

    @field_validator(*STAGES, "backbones", "recipes")
    @classmethod
    def _safe_names(cls, variants: dict[str, Any]) -> dict[str, Any]:
        for name in variants:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or name.startswith("seed"):
                raise ValueError(
                    f"'{name}' cannot name a variant; use letters, digits and _ (not starting with 'seed')"
                )
        return variants

    @model_validator(mode="after")
    def _references(self) -> "Settings":
        seen: dict[str, str] = {}
        for stage in STAGES:
            for name in getattr(self, stage):
                if name in seen:
                    raise ValueError(f"variant '{name}' stands under both {seen[name]} and {stage}; names must differ")
                seen[name] = stage
        for stage in TRAINED:
            for name, network in getattr(self, stage).items():
                _refer(network.backbone, self.backbones, f"{stage}.{name}.backbone")
                _refer(network.recipe, self.recipes, f"{stage}.{name}.recipe")
                if network.start:
                    _refer(network.start, self.classify, f"{stage}.{name}.start")
        for split, holder in self.data.evaluate.items():
            if holder not in (self.data.train, split):
                raise ValueError(f"data.evaluate.{split}: '{holder}' must be '{split}' itself or '{self.data.train}'")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds: a seed stands twice")
        return self


def _refer(name: str, known: dict[str, Any], where: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
        raise ValueError(f"{where}: there is no '{name}'; {hint}")
