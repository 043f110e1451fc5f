"""Write a dataset file for a folder of images with masks: what can be read from the files, and what cannot."""

from __future__ import annotations

import json
import re
import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spectralseg.data import layouts
from spectralseg.data.archives import unpacked
from spectralseg.data.cases import all_files, find_files
from spectralseg.data.readers import nnunet_raw, read_cases
from spectralseg.data.specification import read_specification
from spectralseg.data.survey import Survey, survey_pictures, survey_volumes
from spectralseg.errors import InputError, explained, one_line

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_SHOWN = 3  # file names in messages


@dataclass(frozen=True)
class Proposal:
    """What is known of a dataset.

    Attributes:
        reader: name of the reader.
        options: of the reader.
        survey: content of the files.
        classes: names of the classes; numbered ones where the files give none.
        split: split rule.
        facts: label -> what was read, in the order in which it is printed.
        problems: one sentence on each thing that needs a decision or a correction.
        complete: whether the reader can list the cases.
    """

    reader: str
    options: dict[str, Any]
    survey: Survey
    classes: tuple[str, ...]
    split: dict[str, Any]
    facts: dict[str, str]
    problems: tuple[str, ...]
    complete: bool = True


@dataclass(frozen=True)
class NewDataset:
    """A dataset file that was written.

    Attributes:
        file: the file.
        raw: the data.
        proposal: its content.
    """

    file: Path
    raw: Path
    proposal: Proposal

    def text(self) -> str:
        """What was read, what is not known, and the next command."""
        facts = self.proposal.facts
        width = max(map(len, facts))
        out = f"prepared/{self.file.stem}"
        command = shlex.join(["spectralseg", "prepare", str(self.file), "--raw", str(self.raw), "--out", out])
        problems = [f"- {problem}" for problem in self.proposal.problems]
        unknown = [f"- {line}" for line in _unknown(self.proposal)]
        return "\n".join(
            [f"{name:{width}}  {value}" for name, value in facts.items()]
            + (["", "Correct:", *problems] if problems else [])
            + ["", "Not known; complete it in the dataset file:", *unknown]
            + ["", f"{self.file}: written. Read and correct it, then run", f"  {command}"]
        )


def new_dataset(raw: Path, name: str | None = None, out: Path | None = None) -> NewDataset:
    """Look at a folder or archive and write its dataset file.

    Args:
        raw: folder or archive of images with masks.
        name: of the dataset; by default that of ``out`` or ``raw``, in lower case.
        out: the new file; by default ``workflow/rules/datasets/<name>.smk``.

    Raises:
        InputError: the layout is not recognised, the name is not valid, or the file exists.
    """
    name = name or (out.stem if out else _slug(raw))
    if not _NAME.fullmatch(name):
        raise InputError(f"'{name}' is not a valid name of a dataset; give --name in a-z, 0-9 and _, such as my_cells")
    out = out or Path("workflow/rules/datasets") / f"{name}.smk"
    if out.name != f"{name}.smk":
        raise InputError(f"{out}: the file of dataset '{name}' must be named {name}.smk; rename one of them")
    if out.exists() or out.is_symlink():
        raise InputError(f"{out}: already exists and is not overwritten; give another --name, or remove the file")
    if not out.parent.is_dir():
        raise InputError(f"{out.parent}: is not a folder; run the command in the root of the repository, or give --out")
    with tempfile.TemporaryDirectory() as scratch, unpacked(raw, Path(scratch)) as root:
        proposal = _checked(_propose(root), root)
        problems = tuple(problem.replace(str(root), str(raw)) for problem in proposal.problems)
        proposal = replace(proposal, problems=problems)
        content = dataset_file(name, proposal)
        checked = Path(scratch) / f"{name}.smk"
        checked.write_text(content, encoding="utf-8")
        read_specification(checked)
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(content)
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {explained(error)}") from None
    return NewDataset(out, raw, proposal)


def _slug(raw: Path) -> str:
    name = re.sub(r"\.(zip|tar|tgz|tar\.gz)$", "", raw.absolute().name.lower())
    slug = re.sub(r"[^a-z0-9]+", "_", name).strip("_")
    return slug if slug[:1].isalpha() else f"dataset_{slug}".rstrip("_")


def _propose(root: Path) -> Proposal:
    if any((file.parent / "imagesTr").is_dir() for file in find_files(root, nnunet_raw.DESCRIPTION)):
        return _of_nnunet(root)
    paths = [path.relative_to(root).as_posix() for path in all_files(root)]
    volumes = layouts.recognise(paths, layouts.VOLUMES)
    pictures = layouts.recognise(paths, layouts.PICTURES)
    if volumes and not (pictures and len(pictures.pairs) > len(volumes.pairs)):
        return _of_pairs(root, volumes, "paired_volumes", survey_volumes)
    if pictures:
        return _of_pairs(root, pictures, "paired_images", survey_pictures)
    raise InputError(f"{root}: {_unrecognised(paths)}")


def _unrecognised(paths: Sequence[str]) -> str:
    counts: dict[str, int] = {}
    for path in paths:
        ending = layouts.ending_of(path) or "without ending"
        counts[ending] = counts.get(ending, 0) + 1
    kinds = ", ".join(f"{count} {ending}" for ending, count in sorted(counts.items(), key=lambda item: -item[1])[:5])
    seen = f"{len(paths)} files ({kinds}), {paths[0]} first" if paths else "no files"
    return (
        f"no images with masks are recognised in {seen}; name folders or files like images/001.png and masks/001.png, "
        "001.nii.gz and 001_seg.nii.gz, or as nnU-Net does, or write the dataset file by docs/add-a-dataset.md"
    )


def _of_pairs(
    root: Path, layout: layouts.Layout, reader: str, survey: Callable[[Sequence[tuple[Path, Path]]], Survey]
) -> Proposal:
    content = survey([(root / image, root / mask) for image, mask in layout.pairs])
    options: dict[str, Any] = {"images": layout.images, "masks": layout.masks, **content.reader_options}
    problems = [
        *content.problems,
        *_counted(layout.without_mask, "images have no mask, which the reader refuses", "complete or remove them"),
        *_counted(layout.without_image, "masks have no image, and will be recorded as excluded", "complete the images"),
    ]
    others = [path for path in layout.others if layouts.ending_of(path) in (*layouts.VOLUMES, *layouts.PICTURES)]
    problems += _counted(others, "other images or masks match neither pattern", "change the patterns to use them")
    facts = {
        "reader": reader,
        "images": f"{layout.images}",
        "masks": f"{layout.masks}",
        "pairs": f"{len(layout.pairs)}, {layout.pairs[0][0]} with {layout.pairs[0][1]} first",
        "unpaired": f"{len(layout.without_mask)} images, {len(layout.without_image)} masks",
        "other files": f"{len(layout.others)}" + (f", {layout.others[0]} first" if layout.others else ""),
        **content.facts,
        **_group_facts(layout.groups),
    }
    split, note = _split_of(layout.parts)
    facts["split"] = note
    if layout.groups.note:
        problems.append(f"{layout.groups.note}, so that each case is its own group; check whether they are patients")
    return Proposal(
        reader,
        options,
        content,
        tuple(f"class {label}" for label in range(1, content.classes + 1)),
        split,
        facts,
        tuple(problems),
        complete=not layout.without_mask,
    )


def _group_facts(groups: layouts.Groups) -> dict[str, str]:
    if groups.example:
        return {"groups": f"{groups.count}, guessed from names, '{groups.example}' for example"}
    return {"groups": f"{groups.count}, each case its own"}


def _split_of(parts: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    tests = [folder for folder, part in parts.items() if part == "test"]
    validation = [folder for folder, part in parts.items() if part == "validation"]
    if tests:
        rule: dict[str, Any] = {"attribute": "part", "test": tests}
        if validation:
            rule["validation"] = validation
        return rule, f"by the folders {', '.join(parts)}"
    return {"random": 0.2}, "none in the folders: a random fifth of the groups is for testing"


def _counted(paths: Sequence[str], state: str, remedy: str) -> list[str]:
    if not paths:
        return []
    names = ", ".join(paths[:_SHOWN]) + (" ..." if len(paths) > _SHOWN else "")
    return [f"{len(paths)} {state}: {names}; {remedy}"]


def _of_nnunet(root: Path) -> Proposal:
    description = nnunet_raw.read_description(root)
    options: dict[str, Any] = {}
    problems = []
    channels = list(description.channels)
    if len(channels) not in nnunet_raw.CHANNELS:
        options["channels"] = channels[:1]
        listed = ", ".join(f"{number} {name}" for number, name in description.channels.items())
        problems.append(f"{len(channels)} channels ({listed}): one is taken; 'channels' may name one or three")
    # Without 'cases', groups are unknown; they are guessed from the identifiers that the reader lists.
    cases = read_cases("nnunet_raw", root, options)
    parts = sorted({case.attributes["part"] for case in cases})
    groups = layouts.guess_groups([case.id for case in cases], fewest=2 if "test" in parts else 3)
    if groups.example:
        options["cases"] = groups.pattern
    elif groups.note:
        problems.append(f"{groups.note}, so that each case is its own group; check whether they are patients")
    pairs = [(image, nnunet_raw.labels_of(description, image)) for case in cases if (image := case.image)]
    survey = survey_pictures if description.ending in nnunet_raw.PICTURES else survey_volumes
    content = survey(pairs)
    taken = options.get("channels", channels)
    if description.ending not in nnunet_raw.PICTURES:
        content = replace(content, channels=len(taken))
    options |= {key: value for key, value in content.reader_options.items() if key == "slices"}
    split, note = _split_of({part: part for part in parts})
    unknown = sorted(set(content.values) - set(description.labels))
    if unknown:
        problems.append(f"masks hold the values {unknown}, which dataset.json does not list; correct one of them")
    facts = {
        "reader": "nnunet_raw",
        "channels": ", ".join(f"{number} {name}" for number, name in description.channels.items()),
        "labels": ", ".join(f"{value} {name}" for value, name in description.labels.items()),
        "cases": ", ".join(f"{sum(c.attributes['part'] == part for c in cases)} {part}" for part in parts),
        **content.facts,
        **_group_facts(groups),
        "split": note,
    }
    names = tuple(name for value, name in description.labels.items() if value)
    return Proposal("nnunet_raw", options, content, names, split, facts, (*problems, *content.problems))


def _checked(proposal: Proposal, root: Path) -> Proposal:
    """Let the reader list the cases, if the files are complete."""
    if proposal.complete:
        cases = read_cases(proposal.reader, root, proposal.options)
        return replace(proposal, facts={**proposal.facts, "listed": f"{len(cases)} cases by the reader"})
    return proposal


def _unknown(proposal: Proposal) -> list[str]:
    named = proposal.reader == "nnunet_raw"
    return [
        "title, licence, citation and homepage",
        "modality" + ("" if named else f", and the names of the classes ({', '.join(proposal.classes)})"),
        "whether groups are what must not be split between training and test, such as patients",
        "whether a split is published",
        *(["whether the intensity rule suits the modality"] if proposal.survey.intensity else []),
    ]


def dataset_file(name: str, proposal: Proposal) -> str:
    """Text of a dataset file."""
    survey = proposal.survey
    named = proposal.reader == "nnunet_raw"
    classes = "foreground classes in the order of their labels" + ("" if named else "; replace these names")
    entries = [
        ("name", name, ""),
        ("title", name.replace("_", " ").capitalize(), "as printed in tables"),
        ("modality", "unknown", "e.g. colonoscopy, portal venous CT"),
        ("classes", list(proposal.classes), classes),
        ("dimensions", survey.dimensions, ""),
        ("channels", survey.channels, ""),
        ("licence", "unknown", "terms of use of the data"),
        ("citation", "none", "of the data, with doi"),
        ("homepage", "none", ""),
        ("reader", proposal.reader, "a group of the patterns named 'group' is what must not be split, e.g. a patient"),
        ("reader_options", proposal.options, ""),
        *([("intensity", survey.intensity, survey.intensity_note)] if survey.intensity else []),
        ("split", proposal.split, "groups stay together"),
    ]
    facts = [f"{key}: {value}" for key, value in proposal.facts.items()]
    lines = [
        "# Written by 'spectralseg new-dataset', see docs/add-a-dataset.md: read and correct it.",
        *(f"# {one_line(fact)}" for fact in facts),
        *(f"# To correct: {one_line(problem)}" for problem in proposal.problems),
        "SPECIFICATION = {",
        *(f"    {_literal(key)}: {_literal(value)}," + (f"  # {note}" if note else "") for key, value, note in entries),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _literal(value: Any) -> str:
    """A value as Python source with double quotes; patterns as raw strings."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if not isinstance(value, str):
        return repr(value)
    if "\\" in value and '"' not in value and value.isprintable() and not value.endswith("\\"):
        return f'r"{value}"'
    return json.dumps(value)
