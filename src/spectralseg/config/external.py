"""Section ``external``."""

from __future__ import annotations

import shlex
import string
from collections.abc import Callable, Collection, Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from spectralseg.config.values import LARGEST_SEED, Name, PathText, Section, Unique

EXTERNAL = "external"
"""Objective of the runs of external methods: whatever they minimise."""

PLACEHOLDERS: Mapping[str, tuple[str, ...]] = {
    "prepare": ("data", "preprocessed", "threads"),
    "train": ("data", "preprocessed", "model", "seed", "threads"),
    "predict": ("preprocessed", "model", "images", "predictions", "threads"),
}
"""Placeholders that the commands of a method may use; see docs/external-methods.md."""

_NEEDED: Mapping[str, tuple[str, ...]] = {
    "prepare": ("data", "preprocessed"),
    "train": ("model", "seed"),
    "predict": ("model", "images", "predictions"),
}


def fill(command: str, values: Mapping[str, object]) -> list[str]:
    """The words of a command, with the value of each placeholder such as ``{seed}``. No shell is involved."""
    return [word.format_map(values) for word in shlex.split(command)]


def _command(task: str) -> Callable[[str], str]:
    """A check of the command of a task: words, placeholders that exist, and those that it needs."""

    def check(command: str) -> str:
        words = shlex.split(command)  # raises ValueError for an open quotation
        if not words:
            raise ValueError("must not be empty")
        used = {name for word in words for name in _placeholders(word)}
        valid = [f"{{{name}}}" for name in PLACEHOLDERS[task]]
        if unknown := sorted(used.difference(PLACEHOLDERS[task])):
            raise ValueError(f"'{{{unknown[0]}}}' is no placeholder of this command; use {', '.join(valid)}")
        if missing := [name for name in _NEEDED[task] if name not in used]:
            raise ValueError(f"lacks the placeholder '{{{missing[0]}}}'; give it where the command expects its value")
        return command

    return check


def _placeholders(word: str) -> Collection[str]:
    """Names in braces; an attribute, index or format is part of the name, and thus unknown."""
    parts = [part for part in string.Formatter().parse(word) if part[1] is not None]
    return [f"{name}{'!' if conversion else ''}{':' if form else ''}" for _, name, form, conversion in parts]


class External(Section):
    """A method that this suite does not train: commands that train it and predict with it."""

    datasets: Annotated[list[Name], Unique] = Field(min_length=1, description="training datasets")
    seeds: list[Annotated[int, Field(ge=0, le=LARGEST_SEED)]] = Field(min_length=1)
    prepare: Annotated[str, AfterValidator(_command("prepare"))] | None = Field(
        None, description="command, run once per dataset, that writes {preprocessed} from {data}"
    )
    train: Annotated[str, AfterValidator(_command("train"))] = Field(
        description="command that trains with {seed}, or resumes, and leaves its model in the folder {model}"
    )
    predict: Annotated[str, AfterValidator(_command("predict"))] = Field(
        description="command that writes a label file into {predictions} for each case in {images}"
    )
    files: list[PathText] = Field([], description="files of the method, such as its script: a change trains again")
    environment: PathText | None = Field(
        None, description="file of pip requirements, installed into a virtual environment for the commands"
    )

    @property
    def commands(self) -> dict[str, str]:
        """The commands by task, in the order of execution."""
        commands = {"prepare": self.prepare, "train": self.train, "predict": self.predict}
        return {task: command for task, command in commands.items() if command is not None}

    @property
    def dependencies(self) -> list[str]:
        """Files that the trained model depends on."""
        return [*self.files, *([self.environment] if self.environment else [])]
