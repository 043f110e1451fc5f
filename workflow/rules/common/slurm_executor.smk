# Workarounds for snakemake-executor-plugin-slurm 2.8.0. A test fails for another version.


def refuse_arrays():
    """The executor looks for the files of an array's first job after each of them (its issue 447): those that end before
    the first count as failed, and what the first has written is removed."""
    if getattr(workflow.executor_settings, "array_jobs", None):
        raise WorkflowError(
            "slurm-array-jobs: jobs of an array are taken for failed although they are done, see docs/run-on-a-cluster.md; "
            "leave it out, and set 'jobs' or 'max-jobs-per-timespan' lower where submissions are limited"
        )


def stay_with_squeue():
    """The executor queries SLURM's MinJobAge whenever it checks its jobs, takes the silence of a controller for a value
    that is too short, and turns to sacct for a day, which does not answer where there is no accounting."""
    executor = sys.modules.get("snakemake_executor_plugin_slurm")
    query = getattr(executor, "get_min_job_age", None)
    if query and not is_local():
        first_answer = query()
        executor.get_min_job_age = lambda: query() or first_answer
