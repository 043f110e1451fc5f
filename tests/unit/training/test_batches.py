from collections import Counter

import numpy as np
import pytest
import torch

from spectralseg.config import Training
from spectralseg.data.cases import Case, Sample
from spectralseg.errors import InputError
from spectralseg.preprocessing import standardise, to_float
from spectralseg.seeds import seed_of
from spectralseg.training import batches as module
from spectralseg.training.augmentation import Albumentations, draw, move
from spectralseg.training.device_cache import DeviceCache

CPU = torch.device("cpu")


def batches(data, settings, seed, start, stop):
    return module.batches(data, settings, seed, start, stop, CPU)


def cached(data, settings, seed, start, stop):
    order = module.Order(data, settings, seed)
    return module._cached(DeviceCache(data, order.rows, CPU), order, settings, start, stop)


def training(**options):
    return Training(**{"iterations": 6, "batch_size": 4, **options})


def all_batches(data, settings, seed=0, start=0):
    return list(batches(data, settings, seed, start, settings.iterations))


def equal(first, second):
    return len(first) == len(second) and all(
        torch.equal(a, b)
        for first_batch, second_batch in zip(first, second, strict=True)
        for a, b in zip(first_batch, second_batch, strict=True)
    )


PLAIN = {"flip": False, "rotate": 0}


def rows_of(batches, data):
    """The prepared rows of the images in batches without augmentation."""
    stored = to_float(np.asarray(data.images))
    return [int(np.abs(stored - image.numpy()).sum((1, 2, 3)).argmin()) for images, _ in batches for image in images]


def test_batches_have_the_documented_shapes_types_and_ranges(toy, hearts):
    for data, channels in ((toy, 3), (hearts, 1)):
        images, masks = next(batches(data, training(), 0, 0, 6))
        assert images.shape == (4, 32, 32, channels)
        assert images.dtype == torch.float32
        assert masks.shape == (4, 32, 32)
        assert masks.dtype == torch.uint8
        assert images.min() >= 0
        assert images.max() <= 1
        assert int(masks.max()) <= len(data.classes)


def test_batches_depend_on_the_seed(toy):
    first = all_batches(toy, training())
    assert equal(first, all_batches(toy, training()))
    assert not equal(first, all_batches(toy, training(), seed=1))


def test_batches_neither_use_nor_change_the_global_random_state(toy):
    first = all_batches(toy, training())
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002 - the legacy state is what must not matter
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert equal(first, all_batches(toy, training()))
    assert torch.equal(torch.get_rng_state(), before[0]), "dropout after a resume would differ"
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_same_batches(toy, workers):
    assert equal(all_batches(toy, training(workers=workers)), all_batches(toy, training()))


@pytest.mark.parametrize("start", [1, 4, 5, 6])
def test_a_later_start_gives_the_remaining_batches(toy, start):
    whole = all_batches(toy, training())
    assert equal(all_batches(toy, training(), start=start), whole[start:])


def test_a_later_start_gives_the_remaining_batches_with_workers(toy):
    assert equal(all_batches(toy, training(workers=2), start=3), all_batches(toy, training())[3:])


def test_the_number_of_iterations_changes_no_batch(toy):
    assert equal(all_batches(toy, training(iterations=9))[:6], all_batches(toy, training()))


def test_every_epoch_has_each_training_row_once_in_a_new_order(toy):
    count = len(toy.rows("train"))
    assert count == 6
    rows = rows_of(all_batches(toy, training(iterations=9, **PLAIN)), toy)
    epochs = [rows[i : i + count] for i in range(0, len(rows), count)]
    assert all(sorted(epoch) == sorted(toy.rows("train")) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_batch_may_be_larger_than_an_epoch(toy):
    rows = rows_of(all_batches(toy, training(iterations=1, batch_size=18, **PLAIN)), toy)
    assert sorted(rows) == sorted(list(toy.rows("train")) * 3)


@pytest.fixture
def sparse(prepare_cases, tmp_path):
    """Twenty images of which every fifth has a disc."""
    rng = np.random.default_rng(0)
    disc = (np.hypot(*(np.mgrid[:32, :32] - 16)) < 6).astype(np.uint8)

    def load(number):
        return Sample(rng.integers(0, 255, (32, 32, 3), np.uint8), disc * (number % 5 == 0))

    cases = [Case(f"c{n:02}", f"c{n:02}", lambda n=n: load(n), {}) for n in range(30)]
    return prepare_cases(tmp_path / "sparse", cases)


def epochs_of(data, settings, epochs):
    order = module.Order(data, settings, 0)
    length = order.epoch_length
    return [[int(order.rows[order[epoch * length + step]]) for step in range(length)] for epoch in range(epochs)]


@pytest.mark.parametrize(("share", "others"), [(0.5, 1), (0.25, 3), (1.0, 0)])
def test_an_epoch_has_all_images_with_foreground_and_a_share_of_the_others(sparse, share, others):
    rows = sparse.rows("train")
    foreground = {int(row) for row in rows if sparse.masks[row].any()}
    assert 0 < len(foreground) < len(rows) / 4
    epochs = epochs_of(sparse, training(foreground_share=share), 12)
    for epoch in epochs:
        assert foreground <= set(epoch)
        assert len(epoch) == len(set(epoch)) == (1 + others) * len(foreground)
    assert set().union(*epochs) == (set(rows) if others else foreground), "other images take turns"


def test_a_share_that_the_data_exceed_leaves_nothing_out(sparse, toy):
    for data, share in ((sparse, 0.01), (toy, 0.5)):
        assert all(
            sorted(epoch) == sorted(data.rows("train"))
            for epoch in epochs_of(data, training(foreground_share=share), 3)
        )


def test_a_share_of_foreground_is_the_same_on_a_device_and_after_a_resume(sparse):
    settings = training(foreground_share=0.5, iterations=20, **PLAIN)
    whole = all_batches(sparse, settings)
    assert equal(all_batches(sparse, settings, start=7), whole[7:])
    assert equal(list(cached(sparse, settings, 0, 0, 20)), whole)


def test_images_that_do_not_fit_into_memory_give_the_same_batches(toy, monkeypatch):
    whole = all_batches(toy, training())
    monkeypatch.setattr(module, "_IN_MEMORY", 0)
    stream = module._Stream(toy, training(), 0)
    assert isinstance(stream.images, np.memmap)
    assert equal(all_batches(toy, training()), whole)


def test_without_augmentation_batches_equal_the_stored_data(toy):
    images, masks = next(batches(toy, training(**PLAIN), 0, 0, 6))
    for image, mask, row in zip(images, masks, rows_of([(images, masks)], toy), strict=True):
        assert np.array_equal(image.numpy(), to_float(toy.images[row]))
        assert np.array_equal(mask.numpy(), toy.masks[row])


def test_the_same_row_is_augmented_differently_in_every_epoch(toy):
    images = [image for images, _ in batches(toy, training(), 0, 0, 30) for image in images]
    assert len({image.numpy().tobytes() for image in images}) > len(images) * 0.6


@pytest.mark.parametrize("options", [{"flip": True, "rotate": 0}, {"flip": False, "rotate": 20}])
def test_image_and_mask_get_the_same_transform(options):
    augment = Albumentations(training(**options))
    rows, columns = np.mgrid[:64, :64]
    mask = (np.hypot(rows - 20, columns - 36) < 12).astype(np.uint8)
    moved = 0
    for seed in range(20):
        image, labels = augment(mask[..., None].astype(np.float32), mask, seed)
        assert np.mean((image.reshape(64, 64) > 0.5) != labels) < 0.01
        assert set(np.unique(labels)) <= {0, 1}
        moved += not np.array_equal(labels, mask)
    assert 4 <= moved <= 19, "each transform is applied to about half of the samples"


def mirrorings(data, settings):
    """Fractions of samples by flip, as (rows flipped, columns flipped); None for other samples."""
    stored = to_float(np.asarray(data.images[data.rows("train")]))
    variants = {
        (rows, columns): stored[:, :: -1 if rows else 1, :: -1 if columns else 1]
        for rows in (False, True)
        for columns in (False, True)
    }
    counts = Counter()
    for images, _ in batches(data, settings, 0, 0, settings.iterations):
        for image in images.numpy():
            counts[next((name for name, v in variants.items() if (v == image).all((1, 2, 3)).any()), None)] += 1
    return {name: count / counts.total() for name, count in counts.items()}


def test_horizontal_and_vertical_flips_are_independent(toy):
    shares = mirrorings(toy, training(iterations=50, batch_size=8, rotate=0))
    assert None not in shares
    assert len(shares) == 4
    assert all(0.18 < share < 0.32 for share in shares.values())


def test_rotation_is_independent_of_the_flips(toy):
    shares = mirrorings(toy, training(iterations=50, batch_size=8))
    assert 0.42 < shares.pop(None) < 0.58
    assert len(shares) == 4
    assert all(0.07 < share < 0.18 for share in shares.values())


def test_rotation_angles_are_uniform_over_the_range(toy, prepare_cases, tmp_path):
    """Angles are measured with a bright ray from the centre."""
    image = np.zeros((65, 65, 3), np.uint8)
    image[30:35, 40:60] = 255
    cases = [Case(f"c{n}", f"c{n}", lambda: Sample(image, image[..., 0] // 255), {}) for n in range(4)]
    data = prepare_cases(tmp_path / "rays", cases, image_size=64)
    rows, columns = np.mgrid[:64, :64] - 31.5
    angles = []
    for images, _ in batches(data, training(batch_size=8, flip=False, rotate=30), 0, 0, 40):
        for weight in images.numpy().mean(-1):
            angles.append(np.degrees(np.arctan2((weight * rows).sum(), (weight * columns).sum())))
    turned = [angle for angle in angles if abs(angle - np.median(angles)) > 0.1]
    assert 0.42 < len(turned) / len(angles) < 0.58
    assert np.quantile(turned, [0.05, 0.25, 0.75, 0.95]) == pytest.approx([-27, -15, 15, 27], abs=5)


def test_rotation_keeps_labels_integer_and_fills_with_background():
    augment = Albumentations(training(flip=False, rotate=45))
    mask = np.full((40, 40), 8, np.uint8)
    values = set()
    for seed in range(10):
        image, labels = augment(np.ones((40, 40, 3), np.float32), mask, seed)
        values |= set(np.unique(labels))
        assert image.min() == (0 if (labels == 0).any() else 1)
    assert values == {0, 8}


def test_a_dataset_without_training_cases_is_an_input_error(prepared_phantom):
    with pytest.raises(InputError, match="there are no training cases"):
        next(batches(prepared_phantom("polypgen"), training(), 0, 0, 6))


def test_integers_become_shares_of_their_maximum():
    assert to_float(np.array([0, 255], np.uint8)).tolist() == [0, 1]
    assert to_float(np.array([0, 65535], np.uint16)).tolist() == [0, 1]
    assert to_float(np.array([51], np.uint8)).dtype == np.float32


def test_standardised_images_have_channels_first_zero_mean_and_unit_variance():
    images = torch.rand(4, 8, 6, 3, dtype=torch.float64)
    mean, std = images.mean((0, 1, 2)), images.std((0, 1, 2), correction=0)
    inputs = standardise(images, mean, std)
    assert inputs.shape == (4, 3, 8, 6)
    assert torch.allclose(inputs.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(inputs.std((0, 2, 3), correction=0), torch.ones(3, dtype=torch.float64))


def test_seeds_are_the_same_on_every_machine_and_differ_by_key():
    assert seed_of("order", 0, 1) == 2378549235
    assert len({seed_of("order", seed, epoch) for seed in range(20) for epoch in range(20)}) == 400
    assert 0 <= seed_of() < 2**32


OPTIONS = [{}, {"rotate": 0}, {"flip": False}, {"rotate": 180}, PLAIN]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", ["toy", "hearts"])
def test_batches_on_a_device_equal_those_of_albumentations(request, name, options):
    """Rows and transforms are equal; only rounding differs, in masks at a few pixels halfway between two others."""
    data, settings = request.getfixturevalue(name), training(iterations=12, batch_size=8, **options)
    resident = cached(data, settings, 3, 0, 12)
    compared = 0
    for (images, masks), (expected, labels) in zip(resident, batches(data, settings, 3, 0, 12), strict=True):
        assert images.shape == expected.shape
        assert (images.dtype, masks.dtype) == (torch.float32, torch.uint8)
        assert (images - expected).abs().max() < 1e-3
        assert (images - expected).abs().mean() < 1e-5
        assert (masks != labels).float().mean() < 5e-4
        compared += len(images)
    assert compared == 96


def test_flips_and_the_identity_are_exact():
    images, masks = torch.rand(4, 9, 9, 2), torch.randint(0, 9, (4, 9, 9), dtype=torch.uint8)
    draws = torch.tensor([(columns, rows, 0.0) for columns in (1, -1) for rows in (1, -1)])
    moved, labels = move(images, masks, draws)
    for n, axes in enumerate([(), (0,), (1,), (0, 1)]):
        assert torch.allclose(moved[n], images[n].flip(axes), atol=1e-5)
        assert torch.equal(labels[n], masks[n].flip(axes))


def test_a_quarter_turn_is_exact():
    images, masks = torch.rand(1, 8, 8, 3), torch.randint(0, 9, (1, 8, 8), dtype=torch.uint8)
    moved, labels = move(images, masks, torch.tensor([[1.0, 1.0, np.pi / 2]]))
    assert torch.allclose(moved, images.rot90(1, (1, 2)), atol=1e-5)
    assert torch.equal(labels, masks.rot90(1, (1, 2)))


def test_draws_are_in_range_and_half_of_the_images_rotate():
    draws = np.array([draw(training(rotate=30), seed) for seed in range(2000)])
    assert set(draws[:, 0]) == set(draws[:, 1]) == {-1, 1}
    assert np.abs(np.degrees(draws[:, 2])).max() <= 30
    assert np.mean(draws[:, 2] != 0) == pytest.approx(0.5, abs=0.04)
    assert all(draw(training(**PLAIN), seed) == (1, 1, 0) for seed in range(20))


def test_the_last_planned_block_ends_with_the_run(toy):
    settings = training(batch_size=2)
    whole = list(cached(toy, settings, 0, 0, 131))
    assert len(whole) == 131
    assert equal(list(cached(toy, settings, 0, 100, 131)), whole[100:])


def test_cached_images_are_scaled_to_the_unit_interval(hearts):
    rows = hearts.rows("validation")
    images, masks = DeviceCache(hearts, rows, CPU)[1:3]
    assert np.array_equal(images.numpy(), to_float(np.asarray(hearts.images[rows[1:3]])))
    assert np.array_equal(masks.numpy(), hearts.masks[rows[1:3]])
