import getpass
import json
import shutil
import socket
import tempfile
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml
from matplotlib.figure import Figure
from PIL import Image
from pyarrow import parquet

from spectralseg import __version__, cli
from spectralseg.data import archives
from spectralseg.files import sha256_of
from spectralseg.metrics.records import COLUMNS, COMPACT, SCHEMA, read_table
from spectralseg.sharing.croissant import COLUMNS as DESCRIBED
from spectralseg.sharing.manifest import read_manifest


@pytest.fixture(scope="module")
def bundle(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundle") / "north.zip"
    assert cli.main(["bundle", str(study), "--laboratory", "north", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def unpacked(bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked") / "north"
    archives.unpack(bundle, folder)
    return folder


@pytest.fixture
def changed(study, tmp_path):
    """A copy of the study to change."""
    return Path(shutil.copytree(study, tmp_path / "results" / "toy"))


RUN = "runs/kvasir_seg/unet/spatial/lambda0/seed0"


def test_a_bundle_has_the_results_and_no_images_weights_and_logs(unpacked):
    names = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    expected = {"config.yaml", "records.parquet", "comparisons.parquet", "manifest.json", "croissant.json"}
    expected |= {"datasets/kvasir_seg.json", "datasets/polypgen.json", "figures/forest.png"}
    expected |= {f"{RUN}/{name}" for name in ("run.json", "history.jsonl", "model_card.md")}
    assert expected <= names
    assert not [name for name in names if name.endswith((".pt", ".npy", ".npz", ".log", ".bin"))]
    assert "figures/figure_5.png" not in names, "it shows images of cases"
    assert not [name for name in names if name.startswith("prepared/")]


def test_the_manifest_describes_the_study(unpacked, bundle):
    manifest = read_manifest(unpacked, bundle)
    assert (manifest.laboratory, manifest.study, manifest.version) == ("north", "toy", __version__)
    assert (manifest.versions, manifest.commits, manifest.seeds) == (["0.1.0"], ["c0ffee"], [0, 1, 2])
    assert manifest.runs.model_dump() == {"planned": 6, "recorded": 6, "diverged": 0}
    assert manifest.datasets["kvasir_seg"].identity["files"] == {"images.npy": "0" * 64}
    assert manifest.missing == {"tables": ["summary"], "files": ["claims", "report"]}
    assert manifest.left_out["files of weights"] == manifest.left_out["logs"] == 6
    assert manifest.left_out["figures with images of cases"] == 1
    assert manifest.left_out["prepared datasets"] == 2
    assert set(manifest.files) == {
        path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()
    } - {"manifest.json"}


def test_the_records_are_those_of_the_study(unpacked, study):
    shared, own = (pd.read_parquet(folder / "records.parquet") for folder in (unpacked, study))
    pd.testing.assert_frame_equal(shared.astype(own.dtypes), own)


def test_a_study_has_the_same_bundle_twice(study, bundle, tmp_path):
    out = tmp_path / "again.zip"
    cli.main(["bundle", str(study), "--laboratory", "north", "--out", str(out)])
    assert out.read_bytes() == bundle.read_bytes()
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == sorted(archive.namelist())
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert not list(study.glob(".bundle*"))


def test_the_last_lines_say_what_was_written_and_left_out(changed, capsys):
    assert cli.main(["bundle", str(changed)]) == 0
    first, missing, deposit, left_out = capsys.readouterr().out.splitlines()
    out = changed / "bundle.zip"
    with zipfile.ZipFile(out) as archive:
        count = len(archive.namelist())
    assert first.startswith(f"{out}: {count} files, ")
    assert first.endswith(f"KiB, 6 of 6 runs of laboratory 'toy'; sha256 {sha256_of(out)}")
    assert missing == "Missing in the study: 1 tables, 2 files; manifest.json lists them."
    assert deposit.startswith("croissant.json lacks license, url, datePublished")
    assert left_out.startswith("Left out: 1 figures with images of cases, 6 files of weights, 6 logs, ")


def test_a_model_card_needs_no_weights(unpacked):
    card = (unpacked / RUN / "model_card.md").read_text()
    assert "# unet, spatial, on kvasir_seg" in card
    assert "| kvasir_seg | sound | dsc | 0.62" in card


def test_a_partly_finished_study_says_what_is_missing(changed, tmp_path):
    (changed / "records.parquet").unlink()
    (changed / "comparisons.parquet").unlink()
    for name in ("records.parquet", "run.json"):
        (changed / RUN / name).unlink()
    for file in changed.glob("runs/*/*/*/*/*/run.json"):  # records without notes are of an earlier version
        content = json.loads(file.read_text())
        del content["weights_sha256"]
        file.write_text(json.dumps(content))
    out = tmp_path / "part.zip"
    assert cli.main(["bundle", str(changed), "--out", str(out)]) == 0
    archives.unpack(out, tmp_path / "part")
    manifest = read_manifest(tmp_path / "part", out)
    assert manifest.runs.model_dump() == {"planned": 6, "recorded": 5, "diverged": 0}
    assert manifest.missing["runs"] == [RUN.removeprefix("runs/")]
    assert manifest.missing["files"] == ["comparisons", "claims", "report"]
    assert len(pd.read_parquet(tmp_path / "part" / "records.parquet")) == 5 * 12


def test_runs_of_an_earlier_configuration_are_left_out(changed, tmp_path):
    config = yaml.safe_load((changed / "config.yaml").read_text())
    config["grid"]["main"]["seeds"] = [0, 1]
    (changed / "config.yaml").write_text(yaml.safe_dump(config))
    assert cli.main(["bundle", str(changed), "--out", str(tmp_path / "x.zip")]) == 0
    archives.unpack(tmp_path / "x.zip", tmp_path / "x")
    assert set(pd.read_parquet(tmp_path / "x" / "records.parquet")["seed"]) == {0, 1}
    assert not list((tmp_path / "x").glob("runs/*/*/*/*/seed2"))


def test_ids_of_cases_of_runs_that_are_left_out_are_not_shared(changed, tmp_path):
    """A filtered column of a parquet file keeps the dictionary of all its values."""
    table = read_table(changed / "records.parquet").cast(SCHEMA)
    ids = table.filter(pc.equal(table["seed"], 2)).to_pandas().assign(seed=9, case="patient 4711")
    parquet.write_table(
        pa.concat_tables([table, pa.Table.from_pandas(ids).cast(SCHEMA)]).cast(COMPACT), changed / "records.parquet"
    )
    assert cli.main(["bundle", str(changed), "--out", str(tmp_path / "x.zip")]) == 0
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert b"4711" not in archive.read("records.parquet")


def test_the_results_folder_may_be_read_only(changed, tmp_path, monkeypatch):
    """The files of a finished study may belong to another user."""
    made = []
    monkeypatch.setattr(tempfile, "mkdtemp", lambda *a, d=tempfile.mkdtemp, **k: made.append(k["dir"]) or d(*a, **k))
    assert cli.main(["bundle", str(changed), "--out", str(tmp_path / "x.zip")]) == 0
    assert set(made) == {tmp_path}


class TestReport:
    def test_the_report_shows_no_images(self, changed, tmp_path):
        shutil.rmtree(changed / "figures")
        (changed / "report").mkdir()
        (changed / "report" / "index.html").write_text("<img src='data:image/jpeg;base64,patient'>")
        assert cli.main(["bundle", str(changed), "--out", str(tmp_path / "x.zip")]) == 0
        archives.unpack(tmp_path / "x.zip", tmp_path / "x")
        page = (tmp_path / "x" / "report" / "index.html").read_text()
        assert "6 of 6" in page
        assert "image/jpeg;base64,patient" not in page
        assert '"pictures":{}' in page
        assert not list((tmp_path / "x").glob("prepared"))


@pytest.mark.slow
class TestPrivacy:
    def test_absolute_paths_of_the_configuration_lose_their_folder(self, changed, tmp_path):
        config = yaml.safe_load((changed / "config.yaml").read_text())
        config["datasets"]["polypgen"] = {"source": "path", "path": "/home/anna/private data/polypgen.zip"}
        (changed / "config.yaml").write_text(yaml.safe_dump(config))
        assert cli.main(["bundle", str(changed), "--out", str(tmp_path / "x.zip")]) == 0
        with zipfile.ZipFile(tmp_path / "x.zip") as archive:
            shared = yaml.safe_load(archive.read("config.yaml"))
        assert shared["datasets"]["polypgen"]["path"] == "elsewhere/polypgen.zip"

    @pytest.mark.parametrize(
        ("line", "what"),
        [
            ("# from /home/anna/study", "the path /home/anna of a machine"),
            ("# see C:\\Users\\anna\\data", "the path C:\\Users\\ of a machine"),
            ("# file:///archive/x", "the path file:/ of a machine"),
            ("# /cluster/home/anna/x", "the path /cluster/home of a machine"),
            ("# rsync anna@login:/data/acdc", "the path /data/acdc of a machine"),
            ("# log:/Volumes/USB/x", "the path /Volumes/USB of a machine"),
            ("# %2Fhome%2Fanna%2Fx", "the path /home/anna of a machine"),
            ("# D:/data/anna", "the path D:/data/ of a machine"),
            ("# \\\\server\\share\\x", "the path \\server\\share of a machine"),
            ("# eyJ0eXAiOiJKV1QiLCJhbGciOiJS.eyJhY2Nlc3MiOnsic2Nv.abc", "a password, token or other secret"),
            ("# AWS_SECRET_ACCESS_KEY=abcdefgh1", "a password, token or other secret"),
            ("# password: abcdefgh1", "a password, token or other secret"),
            ("# https://anna:secret1@example.org/data", "a password, token or other secret"),
            ("# https://example.org/x?X-Amz-Signature=abc", "a password, token or other secret"),
            ("# Authorization: Bearer abcdefghijkl", "a password, token or other secret"),
            ("# the_token_of_a_service", "a password, token or other secret"),
            ("# trained by annabelle", "the name 'annabelle' of this user or machine"),
            ("# trained on gpu17.example.org", "the name 'gpu17' of this user or machine"),
            ("# trained on GPU17", "the name 'GPU17' of this user or machine"),
        ],
    )
    def test_what_remains_in_the_configuration_is_refused(self, changed, tmp_path, refused, monkeypatch, line, what):
        monkeypatch.setattr(getpass, "getuser", lambda: "annabelle")
        monkeypatch.setattr(socket, "gethostname", lambda: "gpu17")
        monkeypatch.setenv("SOME_TOKEN", "the_token_of_a_service")
        file = changed / "config.yaml"
        lines = [*file.read_text().splitlines(), line]
        file.write_text("\n".join(lines))
        out = tmp_path / "x.zip"
        message = refused("bundle", changed, "--out", out)
        expected = f"{file}, line {len(lines)}: contains {what}; remove it and bundle the study again"
        assert message.replace("\\\\", "\\") == expected
        assert not out.exists()

    def test_the_results_folder_itself_is_a_path_of_the_machine(self, changed, tmp_path, refused):
        (changed / RUN / "history.jsonl").write_text(f'{{"iteration": 1, "note": "in {changed}/x"}}\n')
        message = refused("bundle", changed, "--out", tmp_path / "x.zip")
        assert message.startswith(f"{changed / RUN}/history.jsonl, line 1: contains the path {changed}")

    def test_text_in_records_is_checked(self, changed, tmp_path, refused):
        frame = pd.read_parquet(changed / "records.parquet")
        frame.loc[3, "flag"] = "cannot read /scratch/anna/c1.png"
        frame.to_parquet(changed / "records.parquet")
        message = refused("bundle", changed, "--out", tmp_path / "x.zip")
        assert "records.parquet, column 'flag': contains the path /scratch/anna of a machine" in message

    @pytest.mark.parametrize("text", [r"\/home\/anna\/x", r"\u002fhome\u002fanna", r"C:\\Users\\anna"])
    def test_escaped_text_is_checked(self, changed, tmp_path, refused, text):
        (changed / RUN / "history.jsonl").write_text(f'{{"iteration": 1, "note": "{text}"}}\n')
        assert "history.jsonl, line 1: contains the path " in refused("bundle", changed, "--out", tmp_path / "x.zip")

    @pytest.mark.parametrize(
        ("place", "table"),
        [
            ("metadata", pa.table({"a": [1]}, metadata={"source": "/home/anna/x"})),
            ("columns", pa.table({"/home/anna/x": [1]})),
            ("column 'a'", pa.table({"a": [["/home/anna/x"]]})),
            ("column 'a'", pa.table({"a": pa.DictionaryArray.from_arrays([0], ["used", "/home/anna/x"])})),
        ],
    )
    def test_all_texts_of_tables_are_checked(self, changed, tmp_path, refused, place, table):
        parquet.write_table(table, changed / "leakage.parquet")
        message = refused("bundle", changed, "--out", tmp_path / "x.zip")
        assert f"leakage.parquet, {place}: contains the path /home/anna of a machine" in message

    def test_metadata_of_figures_are_checked(self, changed, tmp_path, refused):
        figure = Figure()
        for suffix, options in (("png", {"Source": "/home/anna/x"}), ("pdf", {"Title": "/home/anna/x"})):
            shutil.rmtree(changed / "figures")
            (changed / "figures").mkdir()
            Image.new("L", (4, 4)).save(changed / "figures" / "forest.png")
            figure.savefig(changed / "figures" / f"forest.{suffix}", metadata=options)
            message = refused("bundle", changed, "--out", tmp_path / "x.zip")
            assert f"forest.{suffix}, metadata: contains the path /home/anna of a machine" in message

    def test_a_damaged_figure_is_refused(self, changed, tmp_path, refused):
        (changed / "figures" / "forest.png").write_bytes(b"\x89PNG")
        message = refused("bundle", changed, "--out", tmp_path / "x.zip")
        assert f"{changed / 'figures/forest.png'}: cannot be read as a picture" in message

    @pytest.mark.parametrize(
        ("option", "value", "what"),
        [
            ("--url", "https://anna:secret1@example.org/x", "a password, token or other secret"),
            ("--licence", "/home/anna/LICENCE", "the path /home/anna of a machine"),
        ],
    )
    def test_metadata_of_the_deposit_are_checked(self, study, tmp_path, refused, option, value, what):
        message = refused("bundle", study, "--out", tmp_path / "x.zip", option, value)
        assert message.startswith(f"{option}: contains {what}; give ")
        assert "secret1" not in message

    def test_addresses_and_options_are_no_secrets(self, changed, tmp_path):
        file = changed / "config.yaml"
        file.write_text(file.read_text() + "# https://example.org/home/index?page=2#top\n# class_token: true\n")
        assert cli.main(["bundle", str(changed), "--out", str(tmp_path / "x.zip")]) == 0


class TestCroissant:
    @pytest.fixture
    def metadata(self, study, tmp_path):
        deposit = ["--licence", "https://spdx.org/licenses/CC0-1.0", "--url", "https://example.org/x"]
        out = tmp_path / "x.zip"
        assert cli.main(["bundle", str(study), "--out", str(out), *deposit, "--date", "2026-01-31"]) == 0
        with zipfile.ZipFile(out) as archive:
            return json.loads(archive.read("croissant.json")), archive.namelist()

    def test_required_properties_are_there(self, metadata):
        content, _ = metadata
        required = {"@context", "@type", "conformsTo", "name", "description", "license", "url", "creator"}
        assert required | {"datePublished", "citeAs", "version", "distribution", "recordSet"} <= set(content)
        assert content["conformsTo"] == "http://mlcommons.org/croissant/1.0"
        assert content["datePublished"] == "2026-01-31"
        assert "kvasir_seg et al." in content["citeAs"]

    def test_files_have_checksums(self, metadata, unpacked):
        content, names = metadata
        files = {file["@id"]: file for file in content["distribution"]}
        assert set(files) == set(names) - {"manifest.json", "croissant.json"}
        for name, file in files.items():
            assert {"@type", "name", "contentUrl", "contentSize", "encodingFormat", "sha256"} <= set(file)
            assert file["encodingFormat"] != "application/octet-stream", name
        assert files["config.yaml"]["sha256"] == sha256_of(unpacked / "config.yaml")

    def test_columns_of_the_records_are_fields(self, metadata):
        content, _ = metadata
        records, comparisons = content["recordSet"]
        assert [field["name"] for field in records["field"]] == list(COLUMNS)
        kinds = {field["name"]: field["dataType"] for field in records["field"]}
        assert (kinds["seed"], kinds["value"], kinds["case"]) == ("sc:Integer", "sc:Float", "sc:Text")
        assert all(field["description"] for field in records["field"])
        assert {"sc:Boolean"} < {field["dataType"] for field in comparisons["field"]}
        for table in (records, comparisons):
            for field in table["field"]:
                assert field["source"]["extract"]["column"] == field["name"]
                assert field["source"]["fileObject"]["@id"] == f"{table['name']}.parquet"

    def test_every_column_of_the_records_is_described(self):
        assert list(DESCRIBED) == list(COLUMNS)


class TestBadInput:
    def test_a_folder_without_a_configuration(self, tmp_path, refused):
        message = refused("bundle", tmp_path, "--out", tmp_path / "x.zip")
        assert message.startswith(f"{tmp_path / 'config.yaml'}: is missing; give the results folder of a study")

    def test_a_study_without_evaluated_runs(self, changed, refused):
        for file in changed.rglob("records.parquet"):
            file.unlink()
        assert refused("bundle", changed) == (
            f"{changed}: no run is evaluated, so there is nothing to share; run the workflow first"
        )

    def test_another_suffix(self, study, refused):
        assert "x.tar: is not the name of a zip file" in refused("bundle", study, "--out", "x.tar")

    @pytest.mark.parametrize("name", ["../north", "north lab", "-x", "a" * 65])
    def test_the_name_of_a_laboratory(self, study, refused, tmp_path, name):
        message = refused("bundle", study, f"--laboratory={name}", "--out", tmp_path / "x.zip")
        assert message.startswith(f"laboratory '{name}': is not a valid name")

    def test_a_date(self, study, capsys):
        with pytest.raises(SystemExit):
            cli.main(["bundle", str(study), "--date", "31.1.2026"])
        assert "--date: '31.1.2026' is not a valid date; give YYYY-MM-DD" in capsys.readouterr().err


def test_studies_of_different_content_have_different_bundles(bundled):
    assert bundled("a", seed=1).read_bytes() != bundled("b", seed=2).read_bytes()
