"""Deployment of the workflow into a new folder, in which Snakemake runs without a clone of the repository."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path
from string import Template

from spectralseg import __version__
from spectralseg.files import creating_folder
from spectralseg.repository import repository_root

DEPLOYED = ("Snakefile", "config", "envs/environment.yaml", "envs/nnunet.txt", "notebooks", "profiles", "workflow")
SLURM = "slurm"  # a link, so that --profile slurm resolves from the folder
_POST_DEPLOY = f"""\
#!/usr/bin/env bash
# Installs the package in the new conda environment.
set -euo pipefail
pip install --no-deps 'spectralseg=={__version__}'
"""


def deploy(folder: Path) -> None:
    """Write the Snakefile, rules, profiles, configurations, notebooks and a README to a new or empty folder.

    Raises:
        InputError: the folder is not empty or cannot be written.
    """
    root = repository_root()
    with creating_folder(folder) as partial:
        for name in DEPLOYED:
            source, target = root / name, partial / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*", "__pycache__"))
            else:
                shutil.copyfile(source, target)
        (partial / SLURM).symlink_to("workflow/profiles/slurm")
        script = partial / "envs" / "environment.post-deploy.sh"
        script.write_text(_POST_DEPLOY, encoding="utf-8")
        script.chmod(0o755)
        readme = (resources.files(__package__) / "templates" / "README.md").read_text(encoding="utf-8")
        (partial / "README.md").write_text(Template(readme).substitute(version=__version__), encoding="utf-8")
