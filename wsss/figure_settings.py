"""Settings of the papers' figures: what each shows, and of which chains (config/figures.yaml)."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from wsss.settings_base import Count, Metric, Model, Real, Rounds, Threshold

Chain = Annotated[list[str], Field(min_length=1)]
ORDERS = {
    "fixed": "evenly spaced over the split",
    "best": "those with the highest mean IoU of the last column (evenly spaced without ground truth)",
    "worst": "those with the lowest mean IoU of the last column (evenly spaced without ground truth)",
}


class Column(Model):
    """One column of a montage, or one per round: what a chain makes of every image."""

    caption: str
    chain: Chain
    rounds: Rounds | None = None

    def with_rounds(self, count: int) -> list["Column"]:
        """The column itself, or those of its rounds."""
        if self.rounds is None:
            return [self]
        chains = self.rounds.chains(self.chain, count)
        return [Column(caption=self.caption.replace("{round}", str(number)), chain=chain) for number, chain in chains]


class Montage(Model):
    """Images beside their ground truth and what chains make of them; a row per image.

    `maps`: score maps of one class laid over the image (of its classes the one with most pixels in the truth); where a
    chain holds labels, these in colours. `labels`: everything in colours, score maps at the `threshold` rule.
    `measures` below a map: IoU, precision and recall of its class at that rule; below labels: mean IoU of the image.
    `lines: 2` spreads the columns over two lines; the first begins with the image, the second with the truth.
    """

    kind: Literal["maps", "labels"]
    title: str
    split: str = "train"
    images: Count = 6
    choose: Literal["fixed", "best", "worst"] = "fixed"
    columns: Annotated[list[Column], Field(min_length=1)]
    measures: bool = True
    threshold: Threshold = "best"
    lines: Literal[1, 2] = 1

    @model_validator(mode="after")
    def _even(self) -> "Montage":
        if len(self.columns) % self.lines:
            raise ValueError(
                f"{len(self.columns)} columns cannot be spread over {self.lines} lines; give an even number"
            )
        return self

    def with_rounds(self, count: int) -> "Montage":
        """The figure with its rounds written out as columns."""
        columns = [each.model_dump() for column in self.columns for each in column.with_rounds(count)]
        return Montage.model_validate(self.model_dump() | {"columns": columns})

    @property
    def chains(self) -> list[list[str]]:
        """The chains that the figure shows."""
        return [column.chain for column in self.columns]

    @property
    def caption(self) -> str:
        """What the figure shows and how its images were chosen, for readers."""
        parts = [f"Images of {self.split}, {ORDERS[self.choose]}."]
        rule = f"at the threshold rule '{self.threshold}'"
        if self.kind == "maps":
            parts.append("Maps are those of the class with most pixels in the ground truth.")
        if self.kind == "maps" and self.measures:
            parts.append(f"Below maps: IoU, precision (P) and recall (R) of that class {rule}, in percent.")
        if self.kind == "labels":
            parts.append(f"Score maps become labels {rule}.")
        if self.measures:
            parts.append("Below labels in colours: the mean IoU of the image in percent.")
        return " ".join(parts)


class Words(Model):
    """Visual words: a row per word with the images that hold most of it, and which class that is (VWE, Figure 5)."""

    kind: Literal["words"]
    title: str
    chain: Chain
    split: str = "train"
    words: Count = 6
    images: Count = 10

    @property
    def chains(self) -> list[list[str]]:
        """The chain of the network with the codebook."""
        return [self.chain]

    @property
    def caption(self) -> str:
        """What the figure shows and how words and images were chosen, for readers."""
        return (
            f"Per word the {self.images} images of {self.split} with the largest share of its pixels, shown bright. "
            "The class of an image is that of most of these pixels in the ground truth; a green frame marks the word's "
            "most frequent class, a red one another. The words are spread evenly from the purest to the least pure, "
            "without those found mostly on background."
        )


class Point(Model):
    """One value of a curve: its position and the chain whose score it is."""

    x: Real
    chain: Chain


class Line(Model):
    """One line of a curve; a single point makes it a horizontal line."""

    caption: str
    points: Annotated[list[Point], Field(min_length=1)]

    @field_validator("points")
    @classmethod
    def _distinct(cls, points: list[Point]) -> list[Point]:
        if len({point.x for point in points}) < len(points):
            raise ValueError("two points have the same x; give every point its own")
        return points


class Curve(Model):
    """Scores of chains over a number, such as an option of their method; the mean over seeds (RCM+MAM, Figure 7)."""

    kind: Literal["curve"]
    title: str
    split: str = "train"
    metric: Metric = "miou"
    threshold: Threshold = "best"
    x: str
    lines: Annotated[list[Line], Field(min_length=1)]

    @property
    def chains(self) -> list[list[str]]:
        """The chains whose scores the figure shows."""
        return [point.chain for line in self.lines for point in line.points]

    @property
    def caption(self) -> str:
        """What the figure shows, for readers."""
        return f"Scores on {self.split} at the threshold chosen by the rule '{self.threshold}', mean over seeds."


Figure = Annotated[Montage | Words | Curve, Field(discriminator="kind")]
TableName = Annotated[str, Field(pattern=r"^[\w-]+/[\w-]+$")]
"""<paper>/<table> or <paper>/<figure>: the path of its files."""
