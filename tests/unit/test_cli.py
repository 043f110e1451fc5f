import contextlib
import errno
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys

import pandas as pd
import pytest
import yaml

from spectralseg import __version__, cli
from spectralseg.errors import InputError

COMMANDS = sorted(cli.parser()._subparsers._group_actions[0].choices)


def run(capsys, *arguments):
    """Exit status, standard output and standard error of a command."""
    status = cli.main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


def test_every_step_is_a_command():
    steps = {"phantom", "fetch", "prepare", "verify-dataset", "leakage", "train", "evaluate", "collect", "compare"}
    assert steps <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_describes_a_command_and_all_its_options(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    parser = cli.parser()._subparsers._group_actions[0].choices[command]
    assert " ".join(parser.description.split()) in " ".join(text.split())
    assert all(action.help for action in parser._actions), "an option without help"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_an_example_of_the_command_that_is_valid(name, capsys):
    with pytest.raises(SystemExit):
        cli.main([name, "--help"])
    _, _, example = " ".join(capsys.readouterr().out.split()).partition("example: spectralseg ")
    command = cli.parser().parse_args(shlex.split(example)).command
    assert command.name == name
    assert example == command.example


@pytest.mark.parametrize("name", COMMANDS)
def test_the_closing_sentence_has_values_of_the_example(name):
    parser = cli.parser()._subparsers._group_actions[0].choices[name]
    command = parser.get_default("command")
    arguments = cli.parser().parse_args(shlex.split(command.example))
    assert "None" not in command.closing.format_map(vars(arguments))


def test_a_long_command_ends_with_what_it_wrote(capsys, tmp_path, toy):
    page = tmp_path / "card.html"
    assert run(capsys, "card", toy.path, "--out", page)[:2] == (0, f"wrote {page}\n")
    assert page.is_file()


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_the_script_of_a_shell_completes_every_command_and_option(shell, capsys):
    status, script, _ = run(capsys, "completion", shell)
    assert status == 0
    for name, parser in cli.parser()._subparsers._group_actions[0].choices.items():
        assert re.search(rf"\b{name}\b", script)
        for option in parser._option_string_actions:
            assert option.lstrip("-") in script, (name, option)


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["pl"], {"plan"}),
        (["compare", "--ba"], {"--baseline"}),
        (["completion", ""], {"bash", "fish", "zsh"}),
        (["report", "resu"], {"results"}),
    ],
)
def test_bash_completes_a_command_an_option_a_choice_and_a_folder(words, completed, capsys, tmp_path):
    (tmp_path / "results").mkdir()
    script = tmp_path / "completion.sh"
    script.write_text(run(capsys, "completion", "bash")[1], encoding="utf-8")
    quoted = shlex.join(["spectralseg", *words])
    code = f"""
source {shlex.quote(str(script))}
COMP_WORDS=({quoted}) COMP_CWORD={len(words)}
_shtab_spectralseg
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == completed


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"spectralseg {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["none"], ["phantom"], ["phantom", "acdc"], ["train", "--seed", "x"]])
def test_invalid_usage_exits_with_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert "usage: spectralseg" in capsys.readouterr().err


@pytest.mark.parametrize("threads", ["0", "-1", "two", "1.5", "", "1025"])
def test_threads_must_be_a_positive_number(threads, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["prepare", "toy.smk", "--raw", "raw", "--out", "out", f"--threads={threads}"])
    assert stop.value.code == 2
    assert f"--threads: '{threads}' is not a valid number; give a whole number of 1 or more" in capsys.readouterr().err


def rejected(capsys, *arguments):
    status, _, errors = run(capsys, *arguments)
    assert status == 1
    assert "Traceback" not in errors
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert errors.rstrip().endswith(line), "the message is the last line"
    return line


class TestBadInput:
    @pytest.fixture
    def config_file(self, tmp_path, study):
        (tmp_path / "toy.yaml").write_text(yaml.safe_dump(study))
        return tmp_path / "toy.yaml"

    def test_an_unknown_phantom_is_rejected(self, capsys, tmp_path):
        assert "'acdd'" in rejected(capsys, "phantom", "acdd", "--out", tmp_path)

    def test_a_missing_specification_is_rejected(self, capsys, tmp_path):
        for command in ("prepare", "fetch"):
            more = ["--raw", tmp_path] if command == "prepare" else []
            line = rejected(capsys, command, tmp_path / "none.smk", "--out", tmp_path / "out", *more)
            assert "none.smk" in line

    def test_missing_raw_files_are_rejected(self, capsys, tmp_path, repository):
        specification = repository / "workflow" / "rules" / "datasets" / "acdc.smk"
        line = rejected(capsys, "prepare", specification, "--raw", tmp_path / "none", "--out", tmp_path / "out")
        assert str(tmp_path / "none") in line
        (tmp_path / "empty").mkdir()
        line = rejected(capsys, "prepare", specification, "--raw", tmp_path / "empty", "--out", tmp_path / "out")
        assert str(tmp_path / "empty") in line

    def test_a_folder_that_is_not_a_prepared_dataset_is_rejected(self, capsys, tmp_path):
        assert "spectralseg prepare" in rejected(capsys, "verify-dataset", tmp_path)

    def test_an_invalid_configuration_is_rejected(self, capsys, tmp_path, toy):
        (tmp_path / "bad.yaml").write_text("name: [")
        arguments = ["--data", toy.path, "--architecture", "unet", "--objective", "spatial", "--out", tmp_path / "out"]
        assert "bad.yaml" in rejected(capsys, "train", "--config", tmp_path / "bad.yaml", *arguments)

    @pytest.mark.parametrize(
        ("changes", "name"),
        [
            ({"--architecture": "unett"}, "unett"),
            ({"--objective": "spatil"}, "spatil"),
            ({"--objective": "mixed", "--lambda": "much"}, "much"),
            ({"--device": "tpu9"}, "tpu9"),
            ({"--lambda": "0.2"}, "lambda"),
        ],
        ids=["architecture", "objective", "lambda", "device", "lambda without auxiliary term"],
    )
    def test_a_run_outside_the_configuration_is_rejected(self, capsys, tmp_path, toy, config_file, changes, name):
        options = {"--architecture": "unet", "--objective": "spatial", "--device": "cpu", **changes}
        pairs = [part for pair in options.items() for part in pair]
        line = rejected(capsys, "train", "--config", config_file, "--data", toy.path, "--out", tmp_path / "out", *pairs)
        assert name in line

    @pytest.mark.parametrize(
        "change",
        [
            lambda study: study["architectures"]["unet"].update(options={"widht": 3}),
            lambda study: study["architectures"]["unet"].update(encoder="resnett50"),
            lambda study: study["objectives"]["mixed"].update(auxiliary_options={"bend": [1, 2]}),
        ],
        ids=["option of a model", "encoder", "option of an objective"],
    )
    def test_an_unknown_option_of_a_model_or_objective_is_rejected(self, capsys, tmp_path, toy, study, change):
        change(study)
        (tmp_path / "toy.yaml").write_text(yaml.safe_dump(study))
        run = ["--architecture", "unet", "--objective", "mixed", "--lambda", "0.2", "--out", tmp_path / "out"]
        rejected(capsys, "train", "--config", tmp_path / "toy.yaml", "--data", toy.path, "--device", "cpu", *run)

    @pytest.mark.parametrize("name", ["spectral", "frc"])
    def test_a_band_beyond_the_frequencies_of_the_images_is_rejected(self, capsys, tmp_path, toy, study, name):
        study["objectives"]["mixed"].update(auxiliary=name, auxiliary_options={"band": [500, 600]})
        (tmp_path / "toy.yaml").write_text(yaml.safe_dump(study))
        run = ["--architecture", "unet", "--objective", "mixed", "--lambda", "0.2", "--out", tmp_path / "out"]
        line = rejected(capsys, "train", "--config", tmp_path / "toy.yaml", "--data", toy.path, "--device", "cpu", *run)
        assert "the objective does not suit images of" in line
        assert "band" in line

    def test_an_untrained_run_folder_is_rejected(self, capsys, tmp_path, toy, config_file):
        rejected(capsys, "evaluate", "--run", tmp_path / "none", "--config", config_file, "--data", toy.path)

    def test_runs_without_evaluation_are_rejected(self, capsys, tmp_path, config_file):
        line = rejected(
            capsys, "collect", tmp_path / "runs", "--config", config_file, "--out", tmp_path / "out.parquet"
        )
        assert "toy/unet/spatial/lambda0/seed0/records.parquet" in line
        assert not (tmp_path / "out.parquet").exists()

    def test_records_that_are_not_parquet_are_rejected(self, capsys, tmp_path, config_file):
        file = tmp_path / "runs" / "toy/unet/spatial/lambda0/seed0/records.parquet"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"no parquet")
        rejected(capsys, "collect", tmp_path / "runs", "--config", config_file, "--out", tmp_path / "out.parquet")

    def test_missing_records_are_rejected(self, capsys, tmp_path):
        rejected(capsys, "compare", tmp_path / "none.parquet", "--out", tmp_path / "out.parquet")

    @pytest.mark.parametrize("margin", ["0", "-0.1", "nan", "inf", "2mm", "1", "50"])
    def test_an_invalid_margin_is_rejected(self, capsys, tmp_path, margin):
        with pytest.raises(SystemExit) as stopped:
            cli.main(
                ["compare", str(tmp_path / "r.parquet"), f"--margin={margin}", "--out", str(tmp_path / "o.parquet")]
            )
        assert stopped.value.code == 2
        assert f"'{margin}' is not a valid margin; give a positive number" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--method=", "--method: the name is empty"),
        ("--method= ", "--method: the name is empty"),
        ("--objective=", "--objective: the name is empty"),
        ("--trained-on=", "--trained-on: the name is empty"),
        ("--seed=-1", "--seed: '-1' is not a valid seed; give a whole number of 0 or more"),
        ("--seed=1.5", "--seed: '1.5' is not a valid seed"),
        (f"--seed={2**63}", f"--seed: '{2**63}' is not a valid seed"),
    ],
)
def test_invalid_keys_of_external_records_are_rejected(capsys, option, message):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["score", "--predictions=p", "--data=d", "--out=o.parquet", "--method=m", option])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "phantom acdc --out=o --cases=1000000000",
        "phantom acdc --out=o --side=1e9",
        "phantom acdc --out=o --side=100000",
        "prepare s --raw=r --out=o --image-size=100000",
        "prepare s --raw=r --out=o --image-size=0",
        "prepare s --raw=r --out=o --validation=nan",
        "prepare s --raw=r --out=o --validation=1",
        "train --config=c --data=d --out=o --architecture=a --objective=o --threads=1000000",
        "train --config=c --data=d --out=o --architecture=a --objective=o --time-limit=99999999999999999999",
        "status --watch=100000000",
        "doctor --seconds=inf",
        "doctor --seconds=0",
        "plan --price=nan",
        "plan --devices=10000000",
    ],
)
def test_numbers_beyond_the_limits_of_the_configuration_are_rejected(capsys, command):
    with pytest.raises(SystemExit) as stopped:
        cli.main(command.split())
    assert stopped.value.code == 2
    assert f"{command.split()[-1].split('=')[0]}: '" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "phantom acdc --out=o",
        "train --config=c --data=d --out=o --architecture=unet --objective=spatial",
    ],
)
def test_a_negative_seed_is_rejected(capsys, command):
    with pytest.raises(SystemExit) as stopped:
        cli.main([*command.split(), "--seed=-1"])
    assert stopped.value.code == 2
    assert "--seed: '-1' is not a valid seed" in capsys.readouterr().err


class TestLeakage:
    def test_leaks_are_printed_and_written(self, capsys, tmp_path, prepared_phantom):
        folders = [prepared_phantom(name).path for name in ("isic2018", "isic2017")]
        out = tmp_path / "leakage.parquet"
        status, output, _ = run(capsys, "leakage", *folders, "--out", out)
        assert status == 0
        assert re.search(r"^isic2018 → isic2017: \d of \d test cases match cases of isic2018 \(", output, re.MULTILINE)
        assert output.endswith(f"{out}: 3 pairs of datasets compared, 2 with matches\n")
        assert len(pd.read_csv(out.with_suffix(".csv"))) == 3
        assert {"id", "bytes", "near_duplicate"} == set(pd.read_parquet(out)["kind"])
        line = rejected(capsys, "leakage", *folders, "--out", out, "--fail-on-leakage")
        assert line.startswith("error: isic2018 → isic2017: ")

    def test_duplicates_within_the_training_data_are_reported_and_do_not_fail(self, capsys, tmp_path, prepared_phantom):
        folder = shutil.copytree(prepared_phantom("kvasir_seg").path, tmp_path / "kvasir_seg")
        cases = pd.read_csv(folder / "cases.csv", dtype=str, keep_default_na=False)
        by_part = {part: cases.index[cases["part"] == part][0] for part in ("train", "validation")}
        cases.loc[by_part["validation"], "image_sha256"] = cases.loc[by_part["train"], "image_sha256"]
        cases.to_csv(folder / "cases.csv", index=False)
        out = tmp_path / "leakage.parquet"
        status, output, _ = run(capsys, "leakage", folder, "--out", out, "--fail-on-leakage")
        assert status == 0
        assert re.search(r"^kvasir_seg: 1 of \d+ validation cases match training cases \(", output, re.MULTILINE)
        names = cases.loc[[by_part["validation"], by_part["train"]], "case"].tolist()
        repeats = pd.read_parquet(tmp_path / "leakage_development.parquet")
        assert repeats[["case", "kind", "match"]].to_numpy().tolist() == [[names[0], "bytes", names[1]]]
        assert pd.read_csv(tmp_path / "leakage_development.csv")["matching"].tolist() == [1, 0, 0]

    def test_an_audit_without_leaks_succeeds(self, capsys, tmp_path, prepared_phantom):
        folders = [prepared_phantom(name).path for name in ("kvasir_seg", "polypgen")]
        out = tmp_path / "leakage.parquet"
        status, output, _ = run(capsys, "leakage", *folders, "--out", out, "--fail-on-leakage")
        assert (status, output) == (0, f"{out}: 3 pairs of datasets compared, 0 with matches\n")

    def test_a_folder_that_is_not_a_prepared_dataset_is_rejected(self, capsys, tmp_path):
        assert "spectralseg prepare" in rejected(capsys, "leakage", tmp_path, "--out", tmp_path / "leakage.parquet")
        assert not list(tmp_path.iterdir())


def test_an_interrupt_exits_with_status_130_and_no_traceback(capsys, monkeypatch, tmp_path):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("spectralseg.data.phantom_archives.generate", interrupt)
    assert run(capsys, "phantom", "acdc", "--out", tmp_path) == (130, "", "interrupted\n")


def test_an_interrupt_that_an_import_turns_into_another_exception_exits_with_status_130(capsys, monkeypatch, tmp_path):
    def interrupt(*_, **__):
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        raise ImportError("numpy failed to import")

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr("spectralseg.data.phantom_archives.generate", interrupt)
    assert run(capsys, "phantom", "acdc", "--out", tmp_path) == (130, "", "interrupted\n")
    assert signal.getsignal(signal.SIGINT) == handler


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "", "/disk/file"), "/disk/file: no space left on device; free some disk space"),
        (OSError(errno.EDQUOT, "", "/disk/file"), "/disk/file: disk quota exceeded; free some disk space"),
        (OSError(errno.EROFS, "", "/disk/file"), "/disk/file: read-only file system; choose a folder that can"),
        (OSError(errno.EACCES, "", "/disk/a\nb"), r"/disk/a\nb: permission denied; change the permissions"),
        (OSError(errno.EIO, ""), "spectralseg phantom: input/output error; check the path and the disk"),
    ],
)
def test_errors_of_the_operating_system_are_one_sentence(capsys, monkeypatch, tmp_path, error, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("spectralseg.data.phantom_archives.generate", fail)
    assert message in rejected(capsys, "phantom", "acdc", "--out", tmp_path)


def test_an_os_error_without_a_number_keeps_its_traceback(monkeypatch, tmp_path):
    def fail(*_, **__):
        raise OSError("no number")

    monkeypatch.setattr("spectralseg.data.phantom_archives.generate", fail)
    with pytest.raises(OSError, match="no number"):
        cli.main(["phantom", "acdc", "--out", str(tmp_path)])


@contextlib.contextmanager
def closed_pipe(monkeypatch, **options):
    """Standard output without a reader."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb", **options) as raw, io.TextIOWrapper(raw, write_through=options != {}) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        yield
        stream.flush()  # as the interpreter does at its exit
        monkeypatch.undo()


@pytest.mark.parametrize("options", [{}, {"buffering": 0}])
@pytest.mark.parametrize("lines", [1, 10_000])
def test_a_closed_pipe_ends_a_command_silently(capfd, monkeypatch, tmp_path, lines, options):
    """It is detected while the command prints, or at its end."""
    monkeypatch.setattr("spectralseg.data.phantom_archives.deliver", lambda *_, **__: ["a line"] * lines)
    with closed_pipe(monkeypatch, **options):
        assert cli.main(["phantom", "acdc", "--out", str(tmp_path)]) == 141
    assert capfd.readouterr().err == ""


def test_an_error_is_reported_despite_a_closed_pipe(capfd, monkeypatch, tmp_path):
    with closed_pipe(monkeypatch):
        assert cli.main(["verify-dataset", str(tmp_path)]) == 1
    assert "spectralseg prepare" in capfd.readouterr().err


def test_a_broken_pipe_inside_the_program_is_an_error(capsys, monkeypatch, tmp_path):
    def fail(*_, **__):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("spectralseg.data.phantom_archives.generate", fail)
    assert "spectralseg phantom: broken pipe" in rejected(capsys, "phantom", "acdc", "--out", tmp_path)


@pytest.mark.parametrize("arguments", [["--help"], ["verify-dataset", "--help"]])
def test_a_process_without_a_reader_of_its_output_ends_silently(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "spectralseg", *arguments]
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_full_disk_of_standard_output_is_reported(capfd, monkeypatch, tmp_path):
    monkeypatch.setattr("spectralseg.data.phantom_archives.deliver", lambda *_, **__: ["a line"])
    with open("/dev/full", "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert cli.main(["phantom", "acdc", "--out", str(tmp_path)]) == 1
        monkeypatch.undo()
    assert capfd.readouterr().err == (
        "error: standard output: no space left on device; free some disk space or choose another folder\n"
    )


def test_an_input_error_is_one_line_for_all_file_names():
    assert str(InputError("a\nb\udcff\x07: ä λ; é")) == r"a\nb\udcff\x07: ä λ; é"


def test_an_internal_error_keeps_its_traceback(monkeypatch, tmp_path):
    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr("spectralseg.data.phantom_archives.generate", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main(["phantom", "acdc", "--out", str(tmp_path)])


@pytest.mark.parametrize(
    "module",
    [
        "spectralseg",
        "spectralseg.config",
        "spectralseg.cli",
        "spectralseg.grid",
        "spectralseg.data.specification",
        "spectralseg.files",
    ],
)
def test_modules_that_the_workflow_imports_do_not_import_torch(module):
    heavy = "{'torch', 'segmentation_models_pytorch', 'albumentations', 'cv2'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_configuration_is_checked_without_torch(repository):
    code = (
        "import sys; from pathlib import Path; from spectralseg.config import load_config\n"
        f"load_config(Path({str(repository / 'config' / 'demo.yaml')!r})); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_module_runs_as_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "spectralseg", "phantom", "nothing", "--out", "unused"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert re.match(r"error: .*'nothing'.*\n$", done.stderr)


@pytest.mark.slow
def test_all_steps_from_phantom_to_comparison(capsys, tmp_path, repository, study):
    specification = repository / "workflow" / "rules" / "datasets" / "kvasir_seg.smk"
    study |= {"datasets": {"kvasir_seg": {"source": "phantom"}}}
    study["grid"]["main"]["datasets"] = study["evaluation"]["noise"]["datasets"] = ["kvasir_seg"]
    config = tmp_path / "toy.yaml"
    config.write_text(yaml.safe_dump(study))
    raw, data, runs = tmp_path / "raw", tmp_path / "prepared", tmp_path / "runs"

    status, output, _ = run(capsys, "phantom", "kvasir_seg", "--out", raw, "--cases", 8, "--side", 40)
    assert (status, output) == (0, f"{raw / 'kvasir-seg.zip'}\n")
    prepare = ["--image-size", 32, "--source", "phantom", "--validation", 0.3, "--allow-partial"]
    prepare += ["--full-decoding", "--threads", 2]
    assert run(capsys, "prepare", specification, "--raw", raw, "--out", data, *prepare)[0] == 0
    assert json.loads((data / "dataset.json").read_text())["reduced_decoding"] is False
    status, output, _ = run(capsys, "verify-dataset", data)
    assert status == 0
    assert re.fullmatch(rf"{re.escape(str(data))}: \d+ test, \d+ train, \d+ validation\n", output)
    shared = ["--config", config, "--data", data, "--device", "cpu", "--threads", 1]
    for objective, lam in (("spatial", "0"), ("mixed", "0.2")):
        folder = runs / f"kvasir_seg/unet/{objective}/lambda{lam}/seed0"
        identity = ["--architecture", "unet", "--objective", objective, "--lambda", lam, "--seed", 0]
        assert run(capsys, "train", *shared, *identity, "--out", folder)[0] == 0
        assert run(capsys, "evaluate", *shared, "--run", folder)[0] == 0
    assert run(capsys, "collect", runs, "--config", config, "--out", tmp_path / "records.parquet")[0] == 0
    assert run(capsys, "compare", tmp_path / "records.parquet", "--out", tmp_path / "comparison.parquet")[0] == 0
    records, comparison = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("records", "comparison"))
    study = yaml.safe_load(config.read_text()) | {"comparison": {"baseline": "mixed", "margins": {"dsc": 0.02}}}
    (tmp_path / "margins.yaml").write_text(yaml.safe_dump(study))
    options = ["--config", tmp_path / "margins.yaml", "--margin", 0.01, "--out", tmp_path / "again.parquet"]
    assert run(capsys, "compare", tmp_path / "records.parquet", *options)[0] == 0
    margins = pd.read_parquet(tmp_path / "again.parquet").groupby("metric")["margin"].first()
    assert set(pd.read_parquet(tmp_path / "again.parquet")["baseline"]) == {"mixed"}
    assert (margins["dsc"], margins["iou"]) == (0.02, 0.01)
    assert set(records["objective"]) == {"spatial", "mixed"}
    assert set(comparison["objective"]) == {"mixed"}
    assert (
        len(comparison)
        == comparison[["suite", "corruption", "severity", "protocol", "metric"]].drop_duplicates().shape[0]
    )
