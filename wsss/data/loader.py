"""Training batches from threads, with the same bits for any number of workers and from any step on.

Decoding, filtering and copying release the GIL, so threads suffice: nothing is forked or pickled.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from wsss.errors import UserError

Values = dict[str, np.ndarray]


def steps_per_epoch(length: int, batch: int) -> int:
    """Full batches in one pass over `length` images (the rest is dropped), at least 1."""
    return max(1, length // batch)


class Batches:
    """Batches `start` .. `steps` - 1 of a run: dicts of tensors [batch, ...], pinned when there is CUDA.

    `sample(index, rng)` returns the arrays of one image; shapes and dtypes are equal over a batch. Epoch e
    visits the images in the order of a permutation from default_rng([seed, e]); with fewer images than a
    batch holds, permutations follow each other until it is full. Position p of the epoch gets
    default_rng([seed, e, p + 1]). So `workers` (threads; 0 = the caller's), `prefetch` (batches that may wait in
    memory) and `start` change no bit. `waited_s`: seconds that the consumer has waited for data so far.

    A UserError of a sample passes through; any other exception becomes a RuntimeError with the image's name
    (from `name`, if given). Threads end with the iteration, however it ends, and with `close` or the `with`
    block. One iteration at a time.
    """

    def __init__(
        self,
        sample: Callable[[int, np.random.Generator], Values],
        length: int,
        *,
        batch: int,
        steps: int,
        seed: int,
        workers: int,
        start: int = 0,
        prefetch: int = 2,
        name: Callable[[int], str] | None = None,
    ) -> None:
        if length < 1:
            raise UserError("there is no image to train on; check the split in data.train and its labels")
        if batch < 1 or prefetch < 1 or workers < 0:
            raise ValueError(f"batch {batch} and prefetch {prefetch} must be >= 1, workers {workers} >= 0")
        self.waited_s = 0.0
        self._sample, self._length, self._seed = sample, length, seed
        self._batch, self._steps, self._start = batch, steps, start
        self._workers, self._prefetch = workers, prefetch
        self._name = name or (lambda index: f"image number {index}")
        self._pool: ThreadPoolExecutor | None = None
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    def __len__(self) -> int:
        return max(0, self._steps - self._start)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        self.close()
        return self._inline() if self._workers == 0 else self._threaded()

    def __enter__(self) -> "Batches":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what waits and end the threads."""
        if self._pool is not None:
            _end(self._pool)
            self._pool = None

    def _inline(self) -> Iterator[dict[str, Tensor]]:
        for step in range(self._start, self._steps):
            began = time.perf_counter()
            assembly = _Assembly(self._batch)
            for slot, task in enumerate(self._tasks(step)):
                self._load(assembly, slot, *task)
            self.waited_s += time.perf_counter() - began
            yield assembly.tensors

    def _threaded(self) -> Iterator[dict[str, Tensor]]:
        pool = self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="loader")
        ahead: deque[tuple[_Assembly, list[Future[None]]]] = deque()
        submitted = self._start
        try:
            for _ in range(self._start, self._steps):
                began = time.perf_counter()
                while submitted < self._steps and len(ahead) <= self._prefetch:
                    ahead.append(self._submit(pool, submitted))
                    submitted += 1
                assembly, futures = ahead.popleft()
                for future in futures:
                    future.result()
                self.waited_s += time.perf_counter() - began
                yield assembly.tensors
        finally:
            _end(pool)

    def _submit(self, pool: ThreadPoolExecutor, step: int) -> tuple["_Assembly", list[Future[None]]]:
        assembly = _Assembly(self._batch)
        tasks = enumerate(self._tasks(step))
        return assembly, [pool.submit(self._load, assembly, slot, *task) for slot, task in tasks]

    def _tasks(self, step: int) -> list[tuple[int, int, int]]:
        """(image index, epoch, position in the epoch) of every sample of a batch."""
        epoch, part = divmod(step, steps_per_epoch(self._length, self._batch))
        if self._order[0] != epoch:
            rng = np.random.default_rng([self._seed, epoch])
            passes = -(-self._batch // self._length)
            self._order = epoch, np.concatenate([rng.permutation(self._length) for _ in range(passes)])
        order = self._order[1]
        return [(int(order[p]), epoch, p) for p in range(part * self._batch, (part + 1) * self._batch)]

    def _load(self, assembly: "_Assembly", slot: int, index: int, epoch: int, position: int) -> None:
        try:
            assembly.put(slot, self._sample(index, np.random.default_rng([self._seed, epoch, position + 1])))
        except UserError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise RuntimeError(f"{self._name(index)}: cannot become a training sample ({reason})") from error


def _end(pool: ThreadPoolExecutor) -> None:
    pool.shutdown(wait=True, cancel_futures=True)


class _Assembly:
    """A batch in the making; threads write their samples into it side by side."""

    def __init__(self, batch: int) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._batch, self._lock = batch, threading.Lock()

    def put(self, slot: int, values: Values) -> None:
        with self._lock:
            if not self.tensors:
                self.tensors = {key: self._allocate(np.asarray(value)) for key, value in values.items()}
        arrays = {key: tensor.numpy() for key, tensor in self.tensors.items()}
        wanted = {key: (array.shape[1:], array.dtype) for key, array in arrays.items()}
        found = {key: (np.shape(value), np.asarray(value).dtype) for key, value in values.items()}
        if found != wanted:
            raise ValueError(f"samples of a batch differ: {found} and {wanted}")
        for key, value in values.items():
            arrays[key][slot] = value

    def _allocate(self, value: np.ndarray) -> Tensor:
        """Pinned memory with CUDA; else NumPy's, which asks for huge pages and fills five times as fast."""
        shape = (self._batch, *value.shape)
        if not torch.cuda.is_available():
            return torch.from_numpy(np.empty(shape, value.dtype))
        return torch.empty(shape, dtype=torch.from_numpy(np.empty(0, value.dtype)).dtype, pin_memory=True)
