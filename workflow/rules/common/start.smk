# Checks before jobs start: one Snakemake per study, no orphaned jobs, and a usable SLURM.
import re
import shutil
import sys

from spectralseg.operations.exclusive import end_orphans
from spectralseg.signals import pass_on
from spectralseg.slurm import cancel_jobs_named

# Training that runs out of time requeues its own SLURM job, but not a job that runs the whole workflow. This is an
# environment variable because a parameter of the rule would retrain when a study moves to another machine.
if workflow.remote_exec:
    os.environ.update(SPECTRALSEG_REQUEUE="1")
    pass_on()


def lock_the_study():
    """Allow one Snakemake per study and end orphaned jobs of a killed one. Snakemake's own lock would outlive a kill.
    From here on, SIGTERM ends this machine's jobs with Snakemake: training saves its checkpoint, as on Ctrl-C."""
    try:
        LOCK.take()
    except InputError as error:
        raise WorkflowError(str(error)) from None
    if is_local():
        if ended := end_orphans(Path(RESULTS)):
            print(f"Ended processes of an earlier run: {ended}", file=sys.stderr)
        pass_on()


def refuse_absent_slurm():
    """Refuse to start without SLURM's commands; otherwise the workflow would fail only after all retries."""
    if workflow.executor_plugin.name == "slurm" and not shutil.which("sbatch"):
        raise WorkflowError(
            "executor 'slurm': there is no command 'sbatch' on this machine; run this on a machine that submits jobs to "
            "SLURM, or leave '--profile slurm' out"
        )


def cancel_orphans(logs):
    """Cancel jobs of a killed Snakemake, which would write to the same files as new jobs. All jobs of one Snakemake
    share a name, which the executor logs; the lock ensures one Snakemake per study."""
    record = Path(f"{RESULTS}/logs/slurm_name.txt")
    try:
        cancelled = cancel_jobs_named(record.read_text("utf-8")) if record.exists() else []
    except InputError as error:
        raise WorkflowError(f"{error}; if you know that there are none, delete {record}") from None
    if cancelled:
        print(f"Cancelled jobs of an earlier run: {', '.join(cancelled)}", file=sys.stderr)
    text = "\n".join(Path(log).read_text("utf-8", "replace") for log in logs)
    if name := re.search(r"^SLURM run ID: (\S+)$", text, re.MULTILINE):
        with replacing(record) as partial:
            partial.write_text(name[1], encoding="utf-8")
