"""The results folder of a study: which runs, datasets and pages belong to the study, and what else lies there.

The configuration decides, not what lies in the folder: that may hold results of an earlier configuration, and temporary
files of killed processes. Everything in a folder without a configuration belongs to its study.
"""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from spectralseg.config import NOT_LEARNED, Config
from spectralseg.data.prepared import identity_of
from spectralseg.errors import InputError
from spectralseg.files import visible
from spectralseg.grid import Run
from spectralseg.grid import runs as runs_of
from spectralseg.parsing import read_json
from spectralseg.registry import weights_file
from spectralseg.training.settings import difference, settings_of

_LONGEST = 2**26  # bytes of a dataset.json
_SINGULAR = {"runs": "run", "datasets": "dataset", "tables": "table", "figures": "figure", "studies": "study"}
PAGES = {"tables": ".json", "figures": ".png", "studies": ".png"}  # kinds of pages, and the file that stands for one
_RUN = re.compile(r"([^/]+)/([^/]+)/([^/]+)/lambda(\d+(?:\.\d+)?)/seed(\d{1,19})", re.ASCII)


def _nearest(path: Path) -> str:
    """A question for the file of a similar name in the same folder; empty where there is none."""
    names = [one.name for one in visible(path.parent.glob("*"))] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f"did you mean {path.with_name(near[0])}?" if near else ""


@dataclass(frozen=True)
class StudyFolder:
    """A results folder and the configuration of its study; None where that is not known."""

    root: Path
    config: Config | None

    @property
    def home(self) -> Path:
        """Working directory of the workflow, from which paths of the configuration start: results are in
        ``results/<name>`` below it.
        """
        parents = self.root.parents
        return parents[1] if len(parents) > 1 else self.root.absolute().parents[1]

    def run_folder(self, run: Run) -> Path:
        """Folder of a run."""
        return self.root / "runs" / run.folder

    @cached_property
    def runs(self) -> list[Run]:
        """Runs of the study in the order of the grid, also those without a folder."""
        return runs_of(self.config) if self.config else self._present_runs

    def runs_with(self, file: str) -> list[Run]:
        """Runs of the study whose folder holds a file, sorted."""
        return sorted(run for run in self.runs if (self.run_folder(run) / file).is_file())

    @cached_property
    def datasets(self) -> list[str]:
        """Prepared datasets of the study, sorted."""
        return [name for name in self._present_datasets if self.config is None or name in self.config.datasets]

    def pages(self, kind: str, suffix: str = "") -> list[Path]:
        """One file per page of a kind that is there, in the order of the configuration; see :data:`PAGES`."""
        files = {file.stem: file for file in self._present_pages(kind, suffix)}
        names = getattr(self.config, kind) if self.config else files
        return [files[name] for name in names if name in files]

    @cached_property
    def left_out(self) -> dict[str, int]:
        """Numbers of runs, datasets and pages in the folder that the study does not name, by kind; none is zero."""
        present: dict[str, tuple[Sequence[object], Sequence[object]]] = {
            "runs": (self._present_runs, self.runs),
            "datasets": (self._present_datasets, self.datasets),
            **{kind: (self._present_pages(kind), self.pages(kind)) for kind in PAGES},
        }
        counts = {kind: len(set(there) - set(ours)) for kind, (there, ours) in present.items()}
        return {kind: count for kind, count in counts.items() if count}

    def outdated(self, run: Run, recorded: Mapping[str, Any]) -> str:
        """The first setting of a trained run that the study has changed since, as ``training.learning_rate``; empty
        where there is none, so that the run is not trained again.

        Args:
            run: a run of the study.
            recorded: the content of its ``run.json``.
        """
        if self.config is None:
            return ""
        card = self._cards.get(run.dataset)
        expected = self._expected(run, card)
        settings = {key: recorded.get(key) for key in expected}
        if expected["encoder_sha256"] is None:  # no file, or one that is not here any more
            del expected["encoder_sha256"], settings["encoder_sha256"]
        if isinstance(training := settings["training"], dict):
            settings["training"] = {key: value for key, value in training.items() if key not in NOT_LEARNED}
        if card is None and isinstance(data := settings["data"], dict):
            settings["data"] = {key: data.get(key) for key in expected["data"]}
        return difference(settings, expected)

    def _expected(self, run: Run, card: Mapping[str, Any] | None) -> dict[str, Any]:
        """Settings that a run would be trained with now. Of data that are not prepared, or not as the study has them
        now, only name, image size and source are known.
        """
        assert self.config is not None
        if card is None:
            source = self.config.datasets[run.dataset].source
            known = {"name": run.dataset, "image_size": self.config.size_of(run.dataset), "source": source}
            return settings_of(self.config, run, known)
        return settings_of(self.config, run, identity_of(card))

    def unprepared(self, dataset: str) -> str:
        """The first key of a prepared dataset that the study has changed since; empty where there is none."""
        card = self._card(dataset)
        return self._changed(dataset, card) if card else ""

    def _changed(self, dataset: str, card: Mapping[str, Any]) -> str:
        if self.config is None:
            return ""
        wanted = {"image_size": self.config.size_of(dataset), "source": self.config.datasets[dataset].source}
        return difference({key: card.get(key) for key in wanted}, wanted)

    def _card(self, dataset: str) -> dict[str, Any]:
        """Description of a prepared dataset; empty where it is damaged, which reading the dataset tells."""
        with contextlib.suppress(OSError, InputError):
            card = read_json(self.root / "prepared" / dataset / "dataset.json", _LONGEST, "prepare the dataset again")
            return card if isinstance(card, dict) else {}
        return {}

    @cached_property
    def _cards(self) -> dict[str, dict[str, Any]]:
        """Descriptions of the prepared datasets of the study that need not be prepared again."""
        found = {name: self._card(name) for name in self.datasets}
        return {name: card for name, card in found.items() if card and not self._changed(name, card)}

    def refuse_missing_files(self, file: str) -> None:
        """Refuse files of the configuration that jobs have yet to read and that do not exist.

        Raw files and lists of splits may be gone once their dataset is prepared, weights once their runs are trained.

        Args:
            file: the configuration, for messages.

        Raises:
            InputError: names the key, the file and the nearest one in its folder.
        """
        for key, path in self._files_to_read():
            if not (self.home / path).exists():
                near = _nearest(self.home / path)
                raise InputError(f"{file}: {key}: {path} does not exist; {near or 'correct the path'}")

    def _files_to_read(self) -> Iterator[tuple[str, Path]]:
        assert self.config is not None
        for name, choice in self.config.datasets.items():
            if name in self.datasets:
                continue
            if choice.path is not None:
                yield f"datasets.{name}.path", Path(choice.path)
            if choice.split is not None and choice.split.endswith(".csv"):
                yield f"datasets.{name}.split", Path(choice.split)
        for name, architecture in self.config.architectures.items():
            weights = weights_file(architecture.encoder_weights)
            untrained = (run for run in self.runs if not (self.run_folder(run) / "model.pt").exists())
            if weights is not None and any(run.architecture == name for run in untrained):
                yield f"architectures.{name}.encoder_weights", weights

    def left_out_sentence(self) -> str:
        """``left_out`` in words; empty where there is nothing."""
        parts = (f"{count} {kind if count > 1 else _SINGULAR[kind]}" for kind, count in self.left_out.items())
        text = ", ".join(parts)
        return f"Left out, as the configuration does not name them: {text}." if text else ""

    @cached_property
    def _present_runs(self) -> list[Run]:
        folders = (folder.relative_to(self.root / "runs").as_posix() for folder in self._run_folders())
        found = (_RUN.fullmatch(folder) for folder in folders)
        return sorted(Run(one[1], one[2], one[3], one[4], int(one[5])) for one in found if one)

    def _run_folders(self) -> Iterator[Path]:
        level = [self.root / "runs"]
        for _ in range(5):
            level = [folder for parent in level for folder in visible(parent.glob("*")) if folder.is_dir()]
        yield from level

    @cached_property
    def _present_datasets(self) -> list[str]:
        return [folder.name for folder in visible(self.root.glob("prepared/*")) if (folder / "dataset.json").is_file()]

    def _present_pages(self, kind: str, suffix: str = "") -> list[Path]:
        return visible(self.root.glob(f"{kind}/*{suffix or PAGES[kind]}"))
