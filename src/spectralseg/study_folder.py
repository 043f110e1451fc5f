"""The results folder of a study: its runs, datasets and pages, and other content.

The configuration defines what belongs to the study: the folder may also contain results of an earlier configuration and
temporary files of killed processes. Without a configuration, the entire content of the folder belongs to the study.
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

from spectralseg.config import NOT_LEARNED, QUOTED_NUMBER, Config
from spectralseg.data.prepared import identity_of
from spectralseg.errors import InputError
from spectralseg.files import visible
from spectralseg.grid import Autoencoder, Run
from spectralseg.grid import autoencoders as autoencoders_of
from spectralseg.grid import runs as runs_of
from spectralseg.parsing import read_json
from spectralseg.registry import weights_file
from spectralseg.run_folder import CHECKSUM, DESCRIPTION
from spectralseg.training.settings import difference, settings_of

_LONGEST = 2**26  # bytes of a dataset.json
_SINGULAR = {
    **{"runs": "run", "autoencoders": "autoencoder", "datasets": "dataset"},
    **{"tables": "table", "figures": "figure", "studies": "study"},
}
# Kinds of pages, and the ending of the file that stands for one.
PAGES = {"tables": ".json", "figures": ".png", "studies": ".png"}
_RUN = re.compile(
    r"(?P<dataset>[^/]+)/(?P<architecture>[^/]+)/(?P<objective>[^/]+)"
    rf"/lambda(?P<lam>{QUOTED_NUMBER.pattern})/seed(?P<seed>\d{{1,19}})",
    re.ASCII,
)


def _nearest(path: Path) -> str:
    """A question that suggests the file with the nearest name in the folder; empty if there is none."""
    names = [file.name for file in visible(path.parent.glob("*"))] if path.parent.is_dir() else []
    matches = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f"did you mean {path.with_name(matches[0])}?" if matches else ""


@dataclass(frozen=True)
class StudyFolder:
    """A results folder and the configuration of its study; None if the configuration is unknown."""

    root: Path
    config: Config | None

    @property
    def home(self) -> Path:
        """Working directory of the workflow, which contains ``results/<name>``; paths of the configuration are relative
        to it.
        """
        parents = self.root.parents
        return parents[1] if len(parents) > 1 else self.root.absolute().parents[1]

    def run_folder(self, run: Run | Autoencoder) -> Path:
        """The folder of a run or of a masked autoencoder."""
        return self.root / run.parent / run.folder

    @cached_property
    def runs(self) -> list[Run]:
        """Runs of the study in the order of the grid, including those without a folder."""
        return runs_of(self.config) if self.config else self._present_runs

    @cached_property
    def autoencoders(self) -> list[Autoencoder]:
        """Masked autoencoders that the runs of the study use, including those without a folder."""
        return autoencoders_of(self.config) if self.config else self._present_autoencoders

    def autoencoders_of(self, run: Run) -> list[Autoencoder]:
        """Masked autoencoders that a run uses; empty if the configuration is unknown."""
        names = self.config.architectures[run.architecture].pretrained if self.config and not run.external else []
        return [Autoencoder(run.dataset, name) for name in names]

    def runs_with(self, file: str) -> list[Run]:
        """Runs of the study whose folder contains a file, sorted."""
        return sorted(run for run in self.runs if (self.run_folder(run) / file).is_file())

    @cached_property
    def datasets(self) -> list[str]:
        """Prepared datasets of the study, sorted."""
        return [name for name in self._present_datasets if self.config is None or name in self.config.datasets]

    def pages(self, kind: str, suffix: str = "") -> list[Path]:
        """Files of the existing pages of a kind, in the order of the configuration; see :data:`PAGES`.

        All of them, if the configuration leaves it to the workflow which ones there are.
        """
        files = {file.stem: file for file in self._present_pages(kind, suffix)}
        names = getattr(self.config, kind) if self.config else None
        return [files[name] for name in (files if names is None else names) if name in files]

    @cached_property
    def left_out(self) -> dict[str, int]:
        """Numbers of runs, masked autoencoders, datasets and pages in the folder that are not part of the study.

        By kind, without zeros.
        """
        present: dict[str, tuple[Sequence[object], Sequence[object]]] = {
            "runs": (self._present_runs, self.runs),
            "autoencoders": (self._present_autoencoders, self.autoencoders),
            "datasets": (self._present_datasets, self.datasets),
            **{kind: (self._present_pages(kind), self.pages(kind)) for kind in PAGES},
        }
        counts = {kind: len(set(content) - set(in_study)) for kind, (content, in_study) in present.items()}
        return {kind: count for kind, count in counts.items() if count}

    def outdated(self, run: Run | Autoencoder, recorded: Mapping[str, Any]) -> str:
        """The first setting that has changed since a training, such as ``training.learning_rate``; empty if the run or
        masked autoencoder need not be retrained.

        Args:
            run: a run or a masked autoencoder of the study.
            recorded: the content of its ``run.json``.
        """
        if self.config is None:
            return ""
        card = self._cards.get(run.dataset)
        expected = self._expected(run, card)
        settings = {key: recorded.get(key) for key in expected}
        if expected.get("encoder_sha256", "") is None:  # no file of weights, or one that no longer exists
            del expected["encoder_sha256"], settings["encoder_sha256"]
        if isinstance(training := settings.get("training"), dict):
            settings["training"] = {key: value for key, value in training.items() if key not in NOT_LEARNED}
        if card is None and isinstance(data := settings["data"], dict):
            settings["data"] = {key: data.get(key) for key in expected["data"]}
        changed = difference(settings, expected)
        return changed or (self._replaced_autoencoder(run, recorded) if isinstance(run, Run) else "")

    def _expected(self, run: Run | Autoencoder, card: Mapping[str, Any] | None) -> dict[str, Any]:
        """Settings that a run would be trained with now. If its dataset is not prepared with the current settings, only
        name, image size and source of the dataset are known.
        """
        assert self.config is not None
        if card is None:
            source = self.config.datasets[run.dataset].source
            data = {"name": run.dataset, "image_size": self.config.size_of(run.dataset), "source": source}
            return settings_of(self.config, run, data)
        return settings_of(self.config, run, identity_of(card))

    def _replaced_autoencoder(self, run: Run, recorded: Mapping[str, Any]) -> str:
        """The first masked autoencoder whose weights are not those that a run was trained with; empty if none."""
        entries = recorded.get("pretrained")
        entries = entries if isinstance(entries, list) else []
        checksums = [entry.get("sha256") if isinstance(entry, dict) else None for entry in entries]
        for autoencoder, checksum in zip(self.autoencoders_of(run), checksums, strict=False):
            if self._autoencoder_checksums.get(autoencoder, checksum) != checksum:
                return f"pretrained.{autoencoder.name}"
        return ""

    @cached_property
    def _autoencoder_checksums(self) -> dict[Autoencoder, str]:
        """Checksums of the weights of finished masked autoencoders, from their descriptions."""
        checksums = {}
        for autoencoder in self.autoencoders:
            with contextlib.suppress(OSError, InputError):  # reported by the status of the autoencoder
                description = read_json(self.run_folder(autoencoder) / DESCRIPTION, _LONGEST, "pretrain again")
                if isinstance(description, dict) and CHECKSUM in description:
                    checksums[autoencoder] = description[CHECKSUM]
        return checksums

    def unprepared(self, dataset: str) -> str:
        """The first setting that has changed since a dataset was prepared; empty if there is none."""
        card = self._card(dataset)
        return self._changed(dataset, card) if card else ""

    def _changed(self, dataset: str, card: Mapping[str, Any]) -> str:
        if self.config is None:
            return ""
        expected = {"image_size": self.config.size_of(dataset), "source": self.config.datasets[dataset].source}
        return difference({key: card.get(key) for key in expected}, expected)

    def _card(self, dataset: str) -> dict[str, Any]:
        """Description of a prepared dataset; empty if it is damaged, which is reported when the dataset is read."""
        with contextlib.suppress(OSError, InputError):
            card = read_json(self.root / "prepared" / dataset / "dataset.json", _LONGEST, "prepare the dataset again")
            return card if isinstance(card, dict) else {}
        return {}

    @cached_property
    def _cards(self) -> dict[str, dict[str, Any]]:
        """Descriptions of the prepared datasets of the study that need not be prepared again."""
        cards = {name: self._card(name) for name in self.datasets}
        return {name: card for name, card in cards.items() if card and not self._changed(name, card)}

    def refuse_missing_files(self, file: str) -> None:
        """Reject a configuration that names missing files which pending jobs need.

        Raw files and split lists may be missing once their dataset is prepared, weights once their runs are trained.

        Args:
            file: the configuration, for messages.

        Raises:
            InputError: names the key, the file and the nearest file in its folder.
        """
        for key, path in self._files_to_read():
            if not (self.home / path).exists():
                suggestion = _nearest(self.home / path)
                raise InputError(f"{file}: {key}: {path} does not exist; {suggestion or 'correct the path'}")

    def _files_to_read(self) -> Iterator[tuple[str, Path]]:
        assert self.config is not None
        for name, dataset in self.config.datasets.items():
            if name in self.datasets:
                continue
            if dataset.path is not None:
                yield f"datasets.{name}.path", Path(dataset.path)
            if dataset.split is not None and dataset.split.endswith(".csv"):
                yield f"datasets.{name}.split", Path(dataset.split)
        for name, architecture in self.config.architectures.items():
            weights = weights_file(architecture.encoder_weights)
            untrained = (run for run in self.runs if not (self.run_folder(run) / "model.pt").exists())
            if weights is not None and any(run.architecture == name for run in untrained):
                yield f"architectures.{name}.encoder_weights", weights
        for name, method in self.config.external.items():
            untrained = (run for run in self.runs if not (self.run_folder(run) / DESCRIPTION).exists())
            if any(run.external and run.architecture == name for run in untrained):
                yield from ((f"external.{name}.files", Path(file)) for file in method.files)
                if method.environment is not None:
                    yield f"external.{name}.environment", Path(method.environment)

    def left_out_sentence(self) -> str:
        """``left_out`` as a sentence; empty if nothing is left out."""
        parts = (f"{count} {kind if count > 1 else _SINGULAR[kind]}" for kind, count in self.left_out.items())
        text = ", ".join(parts)
        return f"Left out, as the configuration does not name them: {text}." if text else ""

    @cached_property
    def _present_runs(self) -> list[Run]:
        folders = (folder.relative_to(self.root / "runs").as_posix() for folder in self._run_folders())
        matches = (_RUN.fullmatch(folder) for folder in folders)
        return sorted(
            Run(match["dataset"], match["architecture"], match["objective"], match["lam"], int(match["seed"]))
            for match in matches
            if match
        )

    @cached_property
    def _present_autoencoders(self) -> list[Autoencoder]:
        datasets = [folder for folder in visible(self.root.glob(f"{Autoencoder.parent}/*")) if folder.is_dir()]
        folders = [folder for dataset in datasets for folder in visible(dataset.glob("*")) if folder.is_dir()]
        return sorted(Autoencoder(folder.parent.name, folder.name) for folder in folders)

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
