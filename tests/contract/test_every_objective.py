"""Contract of every registered objective."""

import functools
import inspect
import pickle

import pytest
import torch

from spectralseg import registry
from spectralseg.objectives import Combined, available, build_objective

OBJECTIVES = available()
TASKS = {"binary": 1, "multi-class": 4}


def scene(channels, size=32, batch=2):
    """Discs of all classes in every image."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    masks = torch.zeros(batch, size, size, dtype=torch.long)
    for image in range(batch):
        for label in range(1, max(2, channels)):
            inside = torch.hypot(rows - 6.0 - 8 * ((label - 1) // 2), columns - 6.0 - 9 * label + 3 * image) < 4 + image
            masks[image][inside] = label
    return masks


def logits_of(masks, channels, certainty):
    """Logits of the masks with a certainty, which may be negative."""
    if channels == 1:
        return certainty * (2.0 * (masks > 0)[:, None] - 1)
    return certainty * torch.nn.functional.one_hot(masks, channels).movedim(-1, 1).float()


def noise(masks, channels, seed=0):
    shape = (len(masks), channels, *masks.shape[1:])
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def situations(channels):
    masks = scene(channels)
    empty = torch.zeros_like(masks)
    return {
        "random": (noise(masks, channels), masks),
        "empty masks": (noise(masks, channels), empty),
        "full masks": (noise(masks, channels), empty + 1),
        "right about nothing": (logits_of(empty, channels, 50.0), empty),
        "wrong about everything": (logits_of(empty, channels, 50.0), empty + 1),
        "right about everything": (logits_of(empty + 1, channels, 50.0), empty + 1),
        "extreme logits": (1e4 * noise(masks, channels), masks),
    }


@functools.cache
def is_regulariser(name):
    """Whether the objective ignores masks: an auxiliary, which cannot be minimised alone."""
    masks = scene(1)
    values = [build_objective(name)(50 * noise(masks, 1), labels) for labels in (masks, torch.zeros_like(masks))]
    return torch.equal(*values)


@pytest.fixture(params=OBJECTIVES)
def name(request):
    return request.param


@pytest.fixture
def objective(name):
    """The objective, with cross-entropy if it is a regulariser."""
    built = build_objective(name)
    return Combined(build_objective("cross_entropy"), built, 0.1) if is_regulariser(name) else built


def test_components_are_named_and_detached(name):
    logits = torch.randn(2, 1, 8, 8, requires_grad=True)
    masks, objective = torch.ones(2, 8, 8, dtype=torch.long), build_objective(name)
    assert objective(logits, masks).requires_grad
    components = objective.components(logits, masks)
    assert components
    assert all(part.shape == () and part.isfinite() and not part.requires_grad for part in components.values())


@pytest.mark.parametrize(
    ("logits", "masks", "message"),
    [
        (
            (2, 3, 8, 8),
            torch.zeros(2, 1, 8, 8, dtype=torch.long),
            "masks are int64 (2, 1, 8, 8), .* pass masks (B, H, W)",
        ),
        ((2, 1, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.long), "here (2, 8, 8), without a channel axis"),
        ((2, 3, 8, 8), torch.zeros(8, 8, dtype=torch.long), "masks are int64 (8, 8)"),
        ((2, 3, 8, 8), torch.zeros(1, 8, 8, dtype=torch.long), "masks are int64 (1, 8, 8)"),
        ((2, 3, 8, 8), torch.zeros(2, 8, 4, dtype=torch.long), "masks are int64 (2, 8, 4)"),
        ((2, 1, 8, 8), torch.zeros(2, 8, 8), "masks are float32 (2, 8, 8); pass integer labels"),
        ((2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.bool), "masks are boolean, logits have 3 classes"),
        ((2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.long, device="meta"), "masks are on meta, logits on cpu"),
        ((2, 3, 8, 8), [[0]], "masks are of type list; pass a torch.Tensor"),
        (
            (8, 8),
            torch.zeros(8, 8, dtype=torch.long),
            "logits are float32 (8, 8); pass floating-point logits (B, C, H, W)",
        ),
        ((2, 3, 4, 8, 8), torch.zeros(2, 4, 8, 8, dtype=torch.long), "logits are float32 (2, 3, 4, 8, 8)"),
        ((0, 3, 8, 8), torch.zeros(0, 8, 8, dtype=torch.long), "(0, 3, 8, 8), without a pixel; skip empty batches"),
        ((2, 1, 8, 8), torch.full((2, 8, 8), 255, dtype=torch.uint8), "masks hold labels 255..255; .* are 0..1: map"),
        ((2, 3, 8, 8), torch.full((2, 8, 8), 7), "masks hold labels 7..7; labels of logits with 3 classes"),
        ((2, 3, 8, 8), torch.full((2, 8, 8), -1), "masks hold labels -1..-1"),
    ],
)
def test_invalid_inputs_are_refused(name, logits, masks, message):
    pattern = message.replace("(", r"\(").replace(")", r"\)")
    objective = build_objective(name)
    for call in (objective, objective.components, Combined(build_objective("dice"), objective, 0.2)):
        with pytest.raises(ValueError, match=pattern):
            call(torch.zeros(logits), masks)


def test_it_refuses_integer_logits(name):
    masks = torch.zeros(2, 8, 8, dtype=torch.long)
    with pytest.raises(ValueError, match="logits are int64"):
        build_objective(name)(masks[:, None], masks)


@pytest.mark.parametrize(("channels", "label"), [(1, 255), (4, 7), (4, -1)])
def test_unchecked_labels_out_of_range_give_nan(name, channels, label, monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    masks = scene(channels)
    logits = (8 * noise(masks, channels)).requires_grad_()
    objective = build_objective(name)
    assert objective(logits, masks).isfinite()
    masks[0, 0, 0] = label
    value = objective(logits, masks)
    assert value.isnan()
    assert torch.autograd.grad(value, logits)[0].isnan().any()
    assert all(part.isnan() for part in objective.components(logits, masks).values())


def test_it_can_be_pickled_and_its_repr_has_the_options(name):
    masks = scene(1)
    logits, objective = noise(masks, 1), build_objective(name)
    assert torch.equal(pickle.loads(pickle.dumps(objective))(logits, masks), objective(logits, masks))
    for option, parameter in inspect.signature(type(objective)).parameters.items():
        assert f"{option}={parameter.default!r}" in repr(objective)


@pytest.mark.parametrize("channels", TASKS.values(), ids=TASKS.keys())
class TestEveryTask:
    def test_nan_stays_nan(self, objective, channels):
        masks = scene(channels)
        logits = noise(masks, channels)
        logits[0, 0, 0, 0] = torch.nan
        assert objective(logits, masks).isnan()

    def test_double_precision_is_computed_in_double(self, objective, channels):
        masks = scene(channels)
        logits = noise(masks, channels).double()
        value = objective(logits, masks)
        assert value.dtype == torch.float64
        assert value.item() == pytest.approx(objective(logits.float(), masks).item(), rel=1e-5)
        step = 1e-6 * noise(masks, channels, 1)
        changes = [objective(logits + k * step, masks) - objective(logits - k * step, masks) for k in (1, 2)]
        assert changes[1].item() == pytest.approx(
            2 * changes[0].item(), rel=1e-3
        )  # in single precision, they are rounding errors

    def test_boolean_masks_are_zero_and_one_for_two_classes(self, objective, channels):
        masks = scene(1)
        logits = noise(masks, min(channels, 2))
        assert objective(logits, masks.bool()).item() == objective(logits, masks).item()

    @pytest.mark.parametrize("situation", situations(1).keys())
    def test_the_value_is_a_finite_scalar_with_a_finite_gradient(self, objective, channels, situation):
        logits, masks = situations(channels)[situation]
        logits = logits.clone().requires_grad_()
        value = objective(logits, masks)
        assert value.shape == ()
        assert value.dtype == torch.float32
        assert value.isfinite()
        (gradient,) = torch.autograd.grad(value, logits)
        assert gradient.isfinite().all()

    def test_value_decreases_as_the_prediction_improves(self, objective, channels):
        masks = scene(channels)
        mistakes = 0.5 * noise(masks, channels)
        values = [
            objective(logits_of(masks, channels, certainty) + mistakes, masks).item()
            for certainty in (-3, -1, 0, 1, 3, 9)
        ]
        assert values == sorted(values, reverse=True)
        assert values[-1] < 0.1 * values[0]

    def test_a_gradient_step_decreases_the_value(self, objective, channels):
        masks = scene(channels)
        logits = noise(masks, channels).requires_grad_()
        value = objective(logits, masks)
        (gradient,) = torch.autograd.grad(value, logits)
        assert gradient.abs().max() > 0
        assert objective(logits - gradient / gradient.norm(), masks) < value

    @pytest.mark.slow
    def test_training_a_network_decreases_the_value(self, objective, channels):
        masks = scene(channels)
        images = masks[:, None].float() + 0.3 * noise(masks, 1)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            convolutions = [torch.nn.Conv2d(i, o, 3, padding=1) for i, o in ((1, 8), (8, 8), (8, channels))]
        network = torch.nn.Sequential(
            convolutions[0], torch.nn.ReLU(), convolutions[1], torch.nn.ReLU(), convolutions[2]
        )
        optimizer = torch.optim.Adam(network.parameters(), 0.01)
        values = []
        for _ in range(60):
            value = objective(network(images), masks)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            values.append(value.item())
        assert values[-1] < 0.6 * values[0]

    def test_a_perfect_prediction_is_near_the_minimum(self, name, objective, channels):
        if is_regulariser(name):
            pytest.skip("a regulariser knows no perfect prediction")
        masks = scene(channels)
        perfect = objective(logits_of(masks, channels, 40.0), masks).item()
        shifted = objective(logits_of(masks.roll(1, -1), channels, 40.0), masks).item()
        assert perfect == pytest.approx(0, abs=1e-3)
        assert shifted > perfect

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_logits_are_computed_in_single_also_under_autocast(self, objective, channels, dtype):
        masks = scene(channels)
        logits = noise(masks, channels).to(dtype)
        leaf = logits.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            value = objective(leaf, masks)
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(objective(logits.float(), masks).item(), rel=1e-5)
        (gradient,) = torch.autograd.grad(value, leaf)
        assert gradient.dtype == dtype
        assert gradient.isfinite().all()

    def test_masks_may_be_bytes_as_the_loader_gives_them(self, objective, channels):
        masks = scene(channels)
        logits = noise(masks, channels)
        assert objective(logits, masks.to(torch.uint8)).item() == objective(logits, masks).item()

    def test_the_order_in_the_batch_does_not_matter(self, objective, channels):
        masks = scene(channels, batch=4)
        logits = noise(masks, channels)
        assert objective(logits.flip(0), masks.flip(0)).item() == pytest.approx(
            objective(logits, masks).item(), rel=1e-5
        )

    def test_mirrored_images_cost_the_same(self, objective, channels):
        masks = scene(channels)
        logits = noise(masks, channels)
        mirrored = objective(logits.flip(-1), masks.flip(-1)).item()
        assert mirrored == pytest.approx(objective(logits, masks).item(), rel=1e-4)

    def test_arguments_are_not_modified(self, objective, channels):
        masks = scene(channels)
        logits = noise(masks, channels)
        copies = logits.clone(), masks.clone()
        objective(logits, masks)
        assert torch.equal(logits, copies[0])
        assert torch.equal(masks, copies[1])

    def test_images_need_not_be_square_or_of_even_size(self, objective, channels):
        masks = torch.randint(0, max(2, channels), (2, 21, 34), generator=torch.Generator().manual_seed(0))
        assert objective(noise(masks, channels), masks).isfinite()


def test_the_documentation_gives_the_range_and_what_happens_on_empty_masks(name):
    module = registry.load("spectralseg.objectives", name, "objective")
    text = module.build.__doc__.lower()
    assert module.__doc__
    assert "range" in text
    assert "empty" in text or "absent" in text
