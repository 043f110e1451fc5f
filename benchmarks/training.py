"""Measure training against a baseline implementation, and each speed-up by leaving it out.

The baseline implementation is what most published code does: a DataLoader whose workers augment one image at a
time with albumentations, kernels launched one by one, and the loss read in every step. It has the same network,
objective, optimizer and augmentation. Results: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A
import cv2
import machine
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import flop_registry
from tqdm import tqdm

from spectralseg import provenance
from spectralseg.config import Training
from spectralseg.data import PreparedDataset, open_prepared, phantoms
from spectralseg.data.prepare import prepare
from spectralseg.data.specification import read_specification
from spectralseg.models import build_model
from spectralseg.objectives import build_objective
from spectralseg.torch_setup import choose_device, make_deterministic
from spectralseg.training.batches import batches
from spectralseg.training.learner import Learner
from spectralseg.training.precision import resolve

DATASET = Path(__file__).resolve().parents[1] / "workflow" / "rules" / "datasets" / "isic2018.smk"
MODELS, ENCODER = ("unet", "transunet"), "resnet50"
READ_EVERY = 50  # as training reads the objective
PLAIN = ("plain, fp32", "plain, autocast")
PRINCIPAL = (*PLAIN, "ours")  # measured in every turn, the others in the first
# Of ours: everything, then everything but one.
CUDA: dict[str, dict[str, Any]] = {
    "ours": {},
    "ours, fp32": {"precision": "fp32"},
    "ours, fp16": {"precision": "fp16"},
    "ours, kernel by kernel": {"cuda_graph": False},
    "ours, kernel by kernel, not fused": {"cuda_graph": False, "fused": False},
    "ours, loaded": {"resident": False},
    "ours, channels first": {"channels_last": False},
}
CPU: dict[str, dict[str, Any]] = {
    "ours": {},
    "ours, fp32": {"precision": "fp32"},
    "ours, no workers": {"workers": 0},
    "ours, channels first": {"channels_last": False},
}

# Steps before the clock runs, steps measured, turns of all ways, and images: a step takes seconds on a CPU.
SIZES = {
    "cuda": {"warm_up": 25, "iterations": 100, "repeats": 3, "batches": [8, 32]},
    "cpu": {"warm_up": 2, "iterations": 4, "repeats": 5, "batches": [8]},
}

Step = Callable[[], object]


class Clocked(Iterator[Any]):
    """Batches, and how many seconds were waited for them."""

    def __init__(self, source: Iterator[Any]) -> None:
        self.source, self.seconds = source, 0.0

    def __next__(self) -> Any:
        start = time.perf_counter()
        batch = next(self.source)
        self.seconds += time.perf_counter() - start
        return batch


class Pictures(Dataset[tuple[Tensor, Tensor]]):
    """Samples of the baseline implementation: normalised and augmented by albumentations."""

    def __init__(self, data: PreparedDataset, rotate: float) -> None:
        rows = data.rows("train")
        self.images, self.masks = data.images[rows], data.masks[rows]
        limit, border = (-rotate, rotate), cv2.BORDER_CONSTANT
        moves = [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5), A.Rotate(limit=limit, border_mode=border, p=0.5)]
        self.transform = A.Compose([*moves, A.Normalize(data.info["mean"], data.info["std"])])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pair = self.transform(image=self.images[index], mask=self.masks[index])
        return torch.from_numpy(pair["image"].transpose(2, 0, 1)), torch.from_numpy(pair["mask"])


def endless(loader: DataLoader[Any]) -> Iterator[Any]:
    """Epoch after epoch."""
    while True:
        yield from loader


def plain(
    name: str,
    encoder: str,
    data: PreparedDataset,
    batch: int,
    device: torch.device,
    workers: int,
    half: torch.dtype | None,
) -> tuple[Step, Clocked]:
    """The baseline implementation, with mixed precision as it is usually added."""
    import segmentation_models_pytorch as smp  # after the package, which makes torchvision importable

    torch.use_deterministic_algorithms(False)
    model = build_model(name, 3, 1, encoder=encoder).to(device)
    pictures = Pictures(data, Training().rotate)
    loader = DataLoader(
        pictures, batch, shuffle=True, num_workers=workers, pin_memory=device.type == "cuda", drop_last=True,
        persistent_workers=workers > 0,
    )  # fmt: skip
    stream = Clocked(endless(loader))
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
    entropy, dice = nn.BCEWithLogitsLoss(), smp.losses.DiceLoss("binary")
    model.train()

    def step() -> float:
        images, masks = next(stream)
        images, masks = images.to(device, non_blocking=True), masks.to(device, non_blocking=True)[:, None].float()
        with torch.autocast(device.type, half, enabled=half is not None):
            logits = model(images)
            loss = entropy(logits, masks) + dice(logits, masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step, stream


def ours(
    name: str, encoder: str, data: PreparedDataset, settings: Training, device: torch.device
) -> tuple[Step, Clocked]:
    """A step as training does it."""
    make_deterministic(settings.deterministic, 0)
    model = build_model(name, 3, 1, encoder=encoder).to(device)
    learner = Learner(model, build_objective("bce_dice"), settings, data.info["mean"], data.info["std"])
    stream = Clocked(batches(data, settings, 0, 0, 10**6, device))
    values: list[Tensor] = []

    def step() -> None:
        values.append(learner.step(*next(stream), 0.01))
        if len(values) == READ_EVERY:
            torch.stack(values).tolist()
            values.clear()

    return step, stream


def steps_of(
    data: PreparedDataset, name: str, encoder: str, batch: int, device: torch.device, workers: int
) -> dict[str, Any]:
    """Functions that make the step of each way."""
    cuda = device.type == "cuda"
    best = {"batch_size": batch, "workers": workers, "precision": "auto"}
    builders: dict[str, Callable[[], tuple[Step, Clocked]]] = {
        PLAIN[0]: lambda: plain(name, encoder, data, batch, device, workers, None)
    }
    half = resolve("auto", device) == "bf16"
    if half:
        builders[PLAIN[1]] = lambda: plain(name, encoder, data, batch, device, workers, torch.bfloat16)
    for way, options in (CUDA if cuda else CPU).items():
        if options.get("precision") == "fp32" and not half:
            continue  # as "ours"
        builders[way] = lambda options=options: ours(name, encoder, data, Training(**{**best, **options}), device)
    return builders


def wait(device: torch.device) -> None:
    """Wait until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds(step: Step, device: torch.device, count: int) -> float:
    """Of a number of steps."""
    wait(device)
    start = time.perf_counter()
    for _ in range(count):
        step()
    wait(device)
    return time.perf_counter() - start


def busy(step: Step, count: int = 5) -> float | None:
    """Share of the time in which the device computes; None if it cannot be observed."""
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as observed:
        start = time.perf_counter()
        for _ in range(count):
            step()
        torch.cuda.synchronize()
        whole = time.perf_counter() - start
    kernels = [event.time_range for event in observed.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    computing, end = 0.0, -math.inf
    for one in sorted(kernels, key=lambda span: span.start):
        computing += max(0.0, one.end - max(one.start, end))
        end = max(end, one.end)
    return computing / 1e6 / whole if kernels else None


class Floor(TorchDispatchMode):
    """Adds up how long perfect kernels take: each operation its arithmetic or its traffic, whichever is longer."""

    def __init__(self, peaks: dict[str, float], half: bool) -> None:
        super().__init__()
        self.rate, self.bandwidth = peaks["bf16" if half else "fp32"], peaks["bytes"]
        self.seconds, self.flops, self.bytes = 0.0, 0.0, 0.0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        returns = function._schema.returns
        if returns and returns[0].alias_info is not None and not returns[0].alias_info.is_write:
            return out  # a view moves nothing
        count = flop_registry.get(function._overloadpacket)
        flops = count(*args, **(kwargs or {}), out_val=out) if count else 0
        tensors = [one for one in torch.utils._pytree.tree_leaves((args, kwargs, out)) if isinstance(one, Tensor)]
        moved = sum(one.numel() * one.element_size() for one in tensors)
        self.flops, self.bytes = self.flops + flops, self.bytes + moved
        self.seconds += max(flops / self.rate, moved / self.bandwidth)
        return out


def peaks() -> dict[str, float]:
    """What the device can do: operations per second with bf16 and with float32 as training has it, bytes per second."""

    def best(work: Callable[[], object], amount: float) -> float:
        work()
        return amount / min(seconds(work, torch.device("cuda"), 1) for _ in range(10))

    peak_rates, size = {}, 8192
    for key, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        first, second = (torch.randn(size, size, device="cuda", dtype=dtype) for _ in range(2))
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = True  # convolutions do so by default
        peak_rates[key] = best(lambda first=first, second=second: first @ second, 2 * size**3)
        torch.backends.cuda.matmul.allow_tf32 = before
    source = torch.randn(2**28, device="cuda")
    target = torch.empty_like(source)
    peak_rates["bytes"] = best(lambda: target.copy_(source), 2 * source.nbytes)
    return peak_rates


def floor(
    name: str, data: PreparedDataset, batch: int, precision: str, peak_rates: dict[str, float]
) -> dict[str, float]:
    """The floor of our step, kernel by kernel."""
    settings = Training(batch_size=batch, precision=precision, cuda_graph=False, fused=False)
    step, _ = ours(name, ENCODER, data, settings, torch.device("cuda"))
    step()
    with Floor(peak_rates, precision != "fp32") as mode:
        step()
    return {"ms": 1000 * mode.seconds, "gflop": mode.flops / 1e9, "gigabytes": mode.bytes / 1e9}


def measure(
    data: PreparedDataset, name: str, batch: int, device: torch.device, options: argparse.Namespace
) -> dict[str, Any]:
    """Images per second of each way, turn by turn."""
    builders = steps_of(data, name, options.encoder, batch, device, options.workers)
    selected_builders = {way: build for way, build in builders.items() if way in PRINCIPAL or not options.principal}
    rates: dict[str, list[float]] = {way: [] for way in selected_builders}
    waits: dict[str, list[float]] = {way: [] for way in selected_builders}
    more: dict[str, dict[str, Any]] = {way: {} for way in selected_builders}
    for turn in range(options.repeats):
        ways = [way for way in selected_builders if way in PRINCIPAL or turn == 0]
        for way in tqdm(ways, desc=f"{name}, batch {batch}, turn {turn + 1}", unit="way"):
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            step, stream = selected_builders[way]()
            seconds(step, device, options.warm_up)
            waited, elapsed = stream.seconds, seconds(step, device, options.iterations)
            rates[way].append(options.iterations * batch / elapsed)
            waits[way].append((stream.seconds - waited) / elapsed)
            if device.type == "cuda" and turn == 0:
                more[way]["peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
                if way in PRINCIPAL:
                    more[way]["busy"] = busy(step)
            del step, stream
    reference = {peer: rates[peer] for peer in PLAIN if peer in rates}
    return {
        way: {
            "images_per_second": statistics.median(way_rates),
            "of_all_turns": way_rates,
            "waits": statistics.median(waits[way]),
            **{
                f"times_{peer}": statistics.median(
                    rate / peer_rate for rate, peer_rate in zip(way_rates, peer_rates, strict=False)
                )
                for peer, peer_rates in reference.items()
            },
            **more[way],
        }
        for way, way_rates in rates.items()
    }


def _one_of_many(
    number: int, start: Any, folder: str, name: str, batch: int, iterations: int, timing_queue: Any
) -> None:
    device, settings = torch.device("cuda"), Training(batch_size=batch, precision="bf16")
    step, _ = ours(name, ENCODER, open_prepared(Path(folder)), settings, device)
    seconds(step, device, 25)
    start.wait()
    began = time.monotonic()
    seconds(step, device, iterations)
    timing_queue.put((number, began, time.monotonic()))


def together(folder: Path, name: str, batch: int, runs: int, iterations: int) -> float:
    """Images per second of several processes on one device."""
    context = multiprocessing.get_context("spawn")
    start, timing_queue = context.Barrier(runs), context.Queue()
    shared = (start, str(folder), name, batch, iterations, timing_queue)
    processes = [context.Process(target=_one_of_many, args=(number, *shared)) for number in range(runs)]
    for process in processes:
        process.start()
    spans = [timing_queue.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    return runs * iterations * batch / (max(end for *_, end in spans) - min(begin for _, begin, _ in spans))


@contextmanager
def multi_process_service() -> Iterator[None]:
    """CUDA's service that lets kernels of several processes run in parallel instead of by turns."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= dict.fromkeys(("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"), folder)
        subprocess.run(["nvidia-cuda-mps-control", "-d"], check=True)
        try:
            yield
        finally:
            subprocess.run(["nvidia-cuda-mps-control"], input="quit\n", text=True, check=False)
            del os.environ["CUDA_MPS_PIPE_DIRECTORY"], os.environ["CUDA_MPS_LOG_DIRECTORY"]


def prepared(folder: Path, size: int, cases: int) -> PreparedDataset:
    """Photographs with lesions, drawn."""
    phantoms.generate("isic2018", folder / "raw", cases=cases, side=size + 32, seed=0)
    specification = read_specification(DATASET)
    options = {"image_size": size, "source": "phantom", "validation": 0.2, "allow_partial": True}
    prepare(specification, folder / "raw", folder / "prepared", **options)
    return open_prepared(folder / "prepared")


def report(outcome: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    headings = [
        "network, images",
        "way",
        "images/s",
        *(f"times {peer}" for peer in PLAIN),
        "waits for images",
        "device busy",
        "of the floor",
    ]
    rows = []
    for setting, ways in outcome["results"].items():
        for way, found in ways.items():
            rate, batch = found["images_per_second"], int(setting.split()[-1])
            times = (found.get(f"times_{peer}") for peer in PLAIN)
            ratios = ("" if ratio is None else f"{ratio:.2f}" for ratio in times)
            shares = (found.get("waits"), found.get("busy"))
            least = outcome.get("floor", {}).get(setting, {})
            half = "fp32" if "fp32" in way else "bf16"
            reached = f"{least[half]['ms'] / (1000 * batch / rate):.0%}" if half in least else ""
            cells = [setting, way, f"{rate:.3g}" if rate < 100 else f"{rate:.0f}", *ratios]
            rows.append([*cells, *("" if share is None else f"{share:.0%}" for share in shares), reached])
    lines = [machine.markdown(headings, rows)]
    for key, service in (("together", ""), ("together_mps", " under CUDA's multi-process service")):
        for runs, rate in outcome.get(key, {}).items():
            times = rate / outcome["results"]["unet, 8"][PLAIN[0]]["images_per_second"]
            lines.append(
                f"{runs} runs of unet with batches of 8 in parallel{service}: {rate:.0f} images/s in all, {times:.1f} "
                f"times one run of {PLAIN[0]}."
            )
    return "\n\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file (default: benchmarks/results/training_<device>.json)")
    parser.add_argument("--device", default="auto", help="torch device, or auto (default: %(default)s)")
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="(default: %(default)s)")
    parser.add_argument("--encoder", default=ENCODER, help="of the networks (default: %(default)s)")
    parser.add_argument("--principal", action="store_true", help="leave out what leaves one measure out")
    parser.add_argument("--batches", nargs="+", type=int, help="images (default: 8, on a GPU also 32)")
    parser.add_argument("--size", type=int, default=224, help="their side in pixels (default: %(default)s)")
    parser.add_argument("--cases", type=int, default=100, help="images of the dataset (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1), help="(default: %(default)s)")
    parser.add_argument("--warm-up", type=int, help="steps before the clock runs (default: 25; 2 on a CPU)")
    parser.add_argument("--iterations", type=int, help="steps measured (default: 100; 4 on a CPU)")
    parser.add_argument("--repeats", type=int, help="turns of all ways (default: 3; 5 on a CPU)")
    parser.add_argument("--runs", nargs="*", type=int, default=[2, 4], help="parallel runs on a GPU (default: 2 and 4)")
    parser.add_argument("--mps", action="store_true", help="the same also under CUDA's multi-process service")
    options = parser.parse_args(argv)
    device = choose_device(options.device)
    for name, size in SIZES["cuda" if device.type == "cuda" else "cpu"].items():
        if getattr(options, name) is None:
            setattr(options, name, size)
    hardware = provenance.hardware(str(device))
    outcome: dict[str, Any] = {"machine": hardware, "versions": provenance.versions()}
    outcome["settings"] = {key: value for key, value in vars(options).items() if key != "out"}
    outcome["settings"]["precision"] = resolve("auto", device)
    settings = [(name, batch) for name in options.models for batch in options.batches]

    def keep(key: str, values: dict[str, Any]) -> Path:
        outcome.setdefault(key, {}).update(values)
        return machine.write(outcome, options.out, "training")

    with tempfile.TemporaryDirectory() as folder:
        data = prepared(Path(folder), options.size, options.cases)
        if device.type == "cuda":
            for runs in options.runs:
                keep("together", {str(runs): together(data.path, "unet", 8, runs, 4 * options.iterations)})
            with multi_process_service() if options.mps else nullcontext():
                for runs in options.runs if options.mps else ():
                    keep("together_mps", {str(runs): together(data.path, "unet", 8, runs, 4 * options.iterations)})
            keep("peaks", peaks())
            for name, batch in settings:
                found = {half: floor(name, data, batch, half, outcome["peaks"]) for half in ("fp32", "bf16")}
                keep("floor", {f"{name}, {batch}": found})
        for name, batch in settings:
            path = keep("results", {f"{name}, {batch}": measure(data, name, batch, device, options)})
    print(report(outcome))
    print(f"\nwrote {path}")


if __name__ == "__main__":
    main()
