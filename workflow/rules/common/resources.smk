# Threads, GPUs, memory and run time of jobs.
import math

from spectralseg.operations.leases import gpu_slots
from spectralseg.operations.throughput import THREADS
from spectralseg.slurm import partition_limit


def is_local():
    """Whether jobs run on this machine. On a cluster, and inside its jobs, Snakemake has a number of submitted jobs."""
    return workflow.is_main_process and workflow.resource_settings.nodes is None


# Snakemake limits jobs by GPUs only if it knows their number; otherwise all jobs would start in parallel.
GPU_SLOTS = gpu_slots(CONFIG.runs_per_gpu) if is_local() else 0
if "gpu" in workflow.global_resources:  # the user sets the number
    GPU_SLOTS = min(GPU_SLOTS, workflow.global_resources["gpu"].value)
elif GPU_SLOTS:
    workflow.register_resource("gpu", GPU_SLOTS)


def run_threads(wildcards):
    """Threads of a job: fewer if jobs on this machine's GPUs would otherwise wait for CPU cores."""
    return max(1, min(THREADS, workflow.cores // GPU_SLOTS)) if GPU_SLOTS else THREADS


def with_attempts(amount, attempt):
    """Adds half of the amount with every retry, up to twice the amount: nodes and partitions rarely allow more."""
    return round(amount * (1 + min(attempt - 1, 2) / 2))


def gigabytes(amount):
    """Memory in MB that grows with every attempt."""

    def mem_mb(wildcards, attempt):
        return with_attempts(1000 * amount, attempt)

    return mem_mb


def minutes(amount):
    """Run time in minutes that grows with every attempt, up to the limit of the partition."""

    def runtime(wildcards, attempt):
        return min(with_attempts(amount, attempt), partition_minutes())

    return runtime


@functools.cache
def partition_minutes():
    """Time limit of the SLURM partition in minutes: a job that requests more would stay pending indefinitely."""
    if not workflow.is_main_process or is_local():
        return math.inf
    defaults = workflow.resource_settings.default_resources
    arguments = dict(text.split("=", maxsplit=1) for text in defaults.args) if defaults else {}
    partition = arguments.get("slurm_partition", "").strip("'\"") or None
    return partition_limit(partition) or math.inf
