"""Initial weights: reading files of four formats, and loading them with an account of every key.

No format executes code from the file: `.pth` and `.pt` are read as plain tensors only.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from wsss.backbones.mxnet_params import read_params, torch_name
from wsss.data.download import obtain
from wsss.errors import UserError

TORCHVISION = ("resnet50", "resnet101", "vgg16", "mobilenet_v2")
PREFIXES = ("module.", "model.", "base.", "backbone.", "encoder.")
"""What training wrappers put before a network's own names."""

UNUSED = re.compile(r"(fc\d*|classifier|linear1000|aspp)\..*|.*\.num_batches_tracked")
"""Classifiers that a backbone has no place for, and counters that fixed statistics do not need."""

WRAPPERS = ("state_dict", "model", "model_state_dict")
LISTED = 12


@dataclass(frozen=True)
class Row:
    """What became of one key: `status` is loaded, dropped, missing, unexpected or mismatch."""

    key: str
    source: str
    shape: tuple[int, ...]
    status: str
    note: str = ""


@dataclass(frozen=True)
class LoadReport:
    """The account of a load, key by key in the order of the network, then of the file."""

    rows: tuple[Row, ...]

    def keys(self, status: str) -> list[str]:
        """Keys with a status (loaded, dropped, missing, unexpected, mismatch)."""
        return [row.key for row in self.rows if row.status == status]

    @property
    def complete(self) -> bool:
        """Whether every key of the network and of the file is explained."""
        return all(row.status in ("loaded", "dropped") for row in self.rows)

    def summary(self) -> str:
        """Counts by status in one line."""
        counts = {status: len(self.keys(status)) for status in _STATES}
        return ", ".join(f"{count} {status}" for status, count in counts.items() if count)

    def __str__(self) -> str:
        cells = [("key", "shape", "status", "in the file as")]
        for row in self.rows:
            shape = "x".join(map(str, row.shape)) or "scalar"
            cells.append((row.key, shape, row.status, row.note or ("" if row.source == row.key else row.source)))
        widths = [max(len(line[column]) for line in cells) for column in range(3)]
        lines = ["  ".join([*(c.ljust(w) for c, w in zip(line, widths, strict=False)), line[3]]) for line in cells]
        return "\n".join([f"weights: {self.summary()}", *(line.rstrip() for line in lines)])


_STATES = ("loaded", "dropped", "missing", "unexpected", "mismatch")


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a `.safetensors`, `.pth`/`.pt` (state dict, also inside a checkpoint) or MXNet `.params` file.

    On the CPU, with the file's own names. Raises UserError when the file is absent, damaged, of another kind, or
    holds a value that is not finite.
    """
    path = Path(path)
    readers: dict[str, Callable[[Path], dict[str, Tensor]]] = {
        ".safetensors": load_file,
        ".pth": _read_torch,
        ".pt": _read_torch,
        ".params": _read_mxnet,
    }
    if path.suffix not in readers:
        raise UserError(f"{path}: unknown kind of weights; give a file ending in {', '.join(readers)}")
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; put the weights there or change `weights` of this backbone")
    try:
        state = readers[path.suffix](path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: cannot be read as weights ({_one_line(error)}); get the file again") from None
    for key, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise UserError(f"{path}: '{key}' holds values that are not finite; get the file again")
    return state


def _read_mxnet(path: Path) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in read_params(path).items()}


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file can fail in any way; the remedy is the same
        raise UserError(f"{path}: cannot be read as plain tensors ({_one_line(error)}); get the file again") from None
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{path}: holds no state dict but {type(content).__name__}; save `model.state_dict()`")
    for key, value in content.items():
        if not isinstance(value, Tensor) or value.layout != torch.strided:
            raise UserError(f"{path}: '{key}' is no dense tensor; save `model.state_dict()`")
    return {str(key): value for key, value in content.items()}


def load_weights(model: nn.Module, state: Mapping[str, Tensor]) -> LoadReport:
    """Copy `state` into `model` and account for every key.

    Names are matched after stripping wrappers' prefixes ("module.") and translating MXNet's ResNet38 names;
    classifiers and counters that the network does not have are dropped. Raises UserError, with the model unchanged,
    when a key is missing, unexpected, or of another shape.
    """
    own = model.state_dict()
    sources = _match(state, own)
    rows = [_row(key, tensor, sources.get(key), state) for key, tensor in own.items()]
    for key, source in sources.items():
        if key not in own:
            status = "dropped" if UNUSED.fullmatch(key) else "unexpected"
            rows.append(Row(key, source, tuple(state[source].shape), status))
    report = LoadReport(tuple(rows))
    if not report.complete:
        faults = [f"{status}: {_some(keys)}" for status in _STATES[2:] if (keys := _noted(report, status))]
        raise UserError(f"weights do not fit the network ({report.summary()}); {'; '.join(faults)}")
    with torch.no_grad():
        for key in report.keys("loaded"):
            own[key].copy_(state[sources[key]])
    return report


def _row(key: str, tensor: Tensor, source: str | None, state: Mapping[str, Tensor]) -> Row:
    shape = tuple(tensor.shape)
    if source is None:
        return Row(key, "", shape, "missing")
    found = tuple(state[source].shape)
    return Row(key, source, shape, "loaded") if found == shape else Row(key, source, shape, "mismatch", f"{found}")


def _match(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, str]:
    """The network's name for every key of the file -> the key; UserError when two keys mean the same."""
    sources: dict[str, str] = {}
    for source in state:
        key = source
        while key not in own and (prefix := next((p for p in PREFIXES if key.startswith(p)), None)):
            key = key.removeprefix(prefix)
        if key not in own:
            key = torch_name(key)
        if key in sources:
            raise UserError(f"weights: '{sources[key]}' and '{source}' both mean '{key}'; keep one of them")
        sources[key] = source
    return sources


def _noted(report: LoadReport, status: str) -> list[str]:
    rows = [row for row in report.rows if row.status == status]
    return [f"{row.key} (file {row.note}, network {row.shape})" if row.note else row.key for row in rows]


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
    return ", ".join(keys[:LISTED]) + more


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def torchvision_url(network: str, name: str) -> tuple[str, str]:
    """Address and leading hexadecimal digits of the SHA-256 of torchvision's weights (resnet50, IMAGENET1K_V1).

    Raises UserError with the valid names when torchvision has no such weights.
    """
    if network not in TORCHVISION:
        known = ", ".join(TORCHVISION)
        raise UserError(f"weights: torchvision has none for '{network}' (only for {known}); give a file, or `none`")
    from torchvision.models import get_model_weights  # takes seconds, and only downloads need it

    choices = get_model_weights(network).__members__
    if name not in choices:
        raise UserError(
            f"weights: '{name}' is unknown for {network}; use one of {', '.join(choices)}, a file, or `none`"
        )
    url = choices[name].url
    return url, url.rpartition("-")[2].removesuffix(".pth")


def download(*, network: str, weights: str, target: str | Path) -> None:
    """Download weights to `target`, which appears only when whole and of the right checksum.

    torchvision's by its names; those of ResNet38 from config/downloads.yaml.
    """
    if network == "resnet38":
        return obtain(archive=network, given=None, target=target)
    url, digest = torchvision_url(network, weights)
    return fetch(url, digest, Path(target))


def fetch(url: str, digest: str, target: Path) -> None:
    """Download a file whose SHA-256 begins with `digest`; UserError, and no target, when that fails."""
    target.parent.mkdir(parents=True, exist_ok=True)
    print(f"{url}\n{target}", flush=True)
    try:
        torch.hub.download_url_to_file(url, str(target), hash_prefix=digest)
    except (URLError, OSError, RuntimeError) as error:
        raise UserError(f"{url}: {_one_line(error)}; or download it elsewhere and put it at {target}") from None
