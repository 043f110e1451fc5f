include: "workflow/Snakefile"


# A default target defined in an included file is discarded, hence by name.
workflow.default_target = "all"
