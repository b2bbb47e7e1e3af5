"""Batches: the same bits for all workers and starts, errors with names, no thread left behind."""

import threading
import time

import numpy as np
import pytest
import torch

from wsss.data.loader import Batches, steps_per_epoch
from wsss.errors import UserError


def sample(index, rng):
    time.sleep(rng.uniform(0, 0.002))
    return {
        "image": rng.standard_normal((3, 4, 5)).astype(np.float32),
        "index": np.asarray(index),
        "label": rng.integers(0, 9, (4, 5)),
    }


def run(length=11, **options):
    given = {"batch": 4, "steps": 9, "seed": 5, "workers": 0} | options
    with Batches(sample, length, **given) as batches:
        return list(batches)


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


def assert_equal(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) and a[key].dtype == b[key].dtype for key in a)


def test_steps_per_epoch_drops_the_rest():
    assert [steps_per_epoch(n, 16) for n in (10582, 32, 31, 16, 3)] == [661, 2, 1, 1, 1]


@pytest.mark.parametrize("length", [1, 3, 4, 11])
@pytest.mark.parametrize("prefetch", [1, 3])
@pytest.mark.parametrize("workers", [1, 4])
def test_workers_and_prefetch_change_no_bit(workers, prefetch, length):
    assert_equal(run(length, workers=workers, prefetch=prefetch), run(length))


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_every_start_continues_the_run(workers):
    whole = run()
    for start in range(10):
        assert_equal(run(start=start, workers=workers), whole[start:])


def test_order_and_randomness_are_as_documented():
    batches = run(length=11, batch=4, steps=5)
    for step, batch in enumerate(batches):
        epoch, part = divmod(step, 2)
        order = np.random.default_rng([5, epoch]).permutation(11)
        for slot in range(4):
            position = part * 4 + slot
            expected = sample(order[position], np.random.default_rng([5, epoch, position + 1]))
            assert batch["index"][slot] == order[position]
            np.testing.assert_array_equal(batch["image"][slot], expected["image"])


def test_no_image_twice_in_an_epoch_and_all_in_the_end():
    indices = [batch["index"] for batch in run(length=11, batch=4, steps=40)]
    for first, second in zip(indices[::2], indices[1::2], strict=True):
        assert len(set(torch.cat([first, second]).tolist())) == 8
    assert set(torch.cat(indices).tolist()) == set(range(11))


def test_few_images_fill_a_batch_with_whole_permutations():
    for batch in run(length=3, batch=8, steps=4):
        index = batch["index"].tolist()
        assert sorted(index[:3]) == sorted(index[3:6]) == [0, 1, 2]
        assert len(set(index[6:])) == 2


def test_seeds_differ():
    assert not torch.equal(run(seed=1)[0]["image"], run(seed=2)[0]["image"])


def test_shapes_types_and_memory():
    batch = run()[0]
    assert batch["image"].shape == (4, 3, 4, 5)
    assert (batch["image"].dtype, batch["label"].dtype) == (torch.float32, torch.int64)
    assert batch["image"].is_pinned() == torch.cuda.is_available()


def test_len_counts_what_is_left():
    assert len(Batches(sample, 5, batch=2, steps=10, seed=0, workers=0, start=4)) == 6
    assert run(steps=3, start=3) == run(steps=3, start=7) == []


@pytest.mark.parametrize("workers", [0, 3])
def test_an_error_names_the_image(workers):
    def broken(index, rng):
        if index == 2:
            raise OSError("bad file")
        return sample(index, rng)

    names = "abcdef"
    options = {"batch": 2, "steps": 6, "seed": 0, "workers": workers}
    with (
        pytest.raises(RuntimeError, match=r"^c: .*OSError: bad file") as caught,
        Batches(broken, 6, name=names.__getitem__, **options) as batches,
    ):
        list(batches)
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(RuntimeError, match="image number 2"):
        list(Batches(broken, 6, **options))
    assert not threads()


@pytest.mark.parametrize("workers", [0, 3])
def test_a_user_error_passes_through(workers):
    def broken(index, rng):
        raise UserError("x.jpg: is truncated")

    with pytest.raises(UserError, match=r"^x\.jpg: is truncated$"):
        list(Batches(broken, 6, batch=2, steps=6, seed=0, workers=workers))
    assert not threads()


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_before_an_error_arrive(workers):
    order = np.random.default_rng([0, 0]).permutation(6)

    def broken(index, rng):
        if index == order[4]:
            raise ValueError("no")
        return sample(index, rng)

    iterator = iter(Batches(broken, 6, batch=2, steps=6, seed=0, workers=workers))
    next(iterator)
    next(iterator)
    with pytest.raises(RuntimeError):
        next(iterator)


def test_samples_of_unequal_shape_are_refused():
    def uneven(index, rng):
        return {"image": np.zeros((index + 1, 2), np.float32)}

    with pytest.raises(RuntimeError, match="samples of a batch differ"):
        list(Batches(uneven, 4, batch=4, steps=1, seed=0, workers=0))


def test_no_image_is_a_user_error():
    with pytest.raises(UserError, match="no image"):
        Batches(sample, 0, batch=4, steps=1, seed=0, workers=0)


def test_break_ends_the_threads():
    for _ in Batches(sample, 50, batch=4, steps=1000, seed=0, workers=3):
        assert threads()
        break
    assert not threads()


def test_close_ends_the_threads_while_the_iterator_lives():
    batches = Batches(sample, 50, batch=4, steps=1000, seed=0, workers=3)
    iterator = iter(batches)
    next(iterator)
    assert threads()
    batches.close()
    assert not threads()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_of_the_consumer_ends_the_threads(error):
    def consume():
        with Batches(sample, 50, batch=4, steps=1000, seed=0, workers=3) as batches:
            for _ in batches:
                raise error

    with pytest.raises(error) as caught:
        consume()
    assert not threads()
    assert caught.traceback


def test_many_runs_leave_no_thread():
    before = threading.active_count()
    for _ in range(5):
        run(workers=4)
    assert threading.active_count() == before


def test_memory_is_bounded_by_prefetch():
    begun = []

    def counted(index, rng):
        begun.append(index)
        return sample(index, rng)

    with Batches(counted, 50, batch=4, steps=1000, seed=0, workers=2, prefetch=2) as batches:
        iterator = iter(batches)
        for taken in range(1, 4):
            next(iterator)
            time.sleep(0.1)
            assert len(begun) <= (taken + 2) * 4


def test_waiting_time_shows_a_slow_loader_and_hides_a_fast_one():
    def slow(index, rng):
        time.sleep(0.01)
        return {"index": np.asarray(index)}

    stalled = Batches(slow, 8, batch=2, steps=5, seed=0, workers=1)
    list(stalled)
    assert stalled.waited_s > 0.08
    fed = Batches(slow, 8, batch=2, steps=5, seed=0, workers=2)
    for _ in fed:
        time.sleep(0.1)
    assert fed.waited_s < 0.08
