# Workarounds for snakemake-executor-plugin-slurm 2.8.0. A test fails for another version.


def refuse_arrays():
    """After each job of an array, the executor checks the files of the first job (its issue 447): jobs that end before
    the first count as failed, and the outputs of the first are deleted."""
    if getattr(workflow.executor_settings, "array_jobs", None):
        raise WorkflowError(
            "slurm-array-jobs: jobs of an array are taken for failed although they are done, see docs/run-on-a-cluster.md; "
            "leave it out, and set 'jobs' or 'max-jobs-per-timespan' lower where submissions are limited"
        )


def stay_with_squeue():
    """The executor queries SLURM's MinJobAge whenever it checks its jobs. If the controller does not answer, it assumes
    a value that is too short and uses sacct for a day, which fails on clusters without accounting."""
    executor = sys.modules.get("snakemake_executor_plugin_slurm")
    query = getattr(executor, "get_min_job_age", None)
    if query and not is_local():
        first_answer = query()
        executor.get_min_job_age = lambda: query() or first_answer
