import hashlib
import io
import json
import shutil
import stat
import zipfile

import numpy as np
import pandas as pd
import pytest
import yaml
from tests.standins.laboratory import rewrite

from spectralseg import cli
from spectralseg.metrics.records import COLUMNS
from spectralseg.reporting.rendering import read_page
from spectralseg.reporting.results import BANNER
from spectralseg.sharing.differences import compatible_version
from spectralseg.statistics.laboratories import ALL

pytestmark = pytest.mark.slow


@pytest.fixture
def north(bundled):
    return bundled("north", seed=1, gain=0.02)


@pytest.fixture
def south(bundled):
    return bundled("south", seed=2, gain=0.04)


def nested(depth):
    """Mappings in mappings."""
    return {"x": nested(depth - 1)} if depth else {}


def reseal(bundle, out, name, content):
    """Change a file of a bundle and its checksum in the manifest."""
    content = content.encode() if isinstance(content, str) else content
    with zipfile.ZipFile(bundle) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    return rewrite(bundle, out, {name: content, "manifest.json": json.dumps(manifest)})


def merged(capsys, *arguments):
    """The output of a merge that succeeds."""
    assert cli.main(["merge", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_two_laboratories_become_one_study(north, south, tmp_path, capsys):
    out = tmp_path / "merged"
    lines = merged(capsys, north, south, "--out", out).splitlines()
    assert len(lines) == 1, "there is nothing to remark"
    assert lines[0].startswith(f"{out}: 144 records of 2 laboratories (north, south), ")
    records = pd.read_parquet(out / "records.parquet")
    assert list(records.columns) == ["laboratory", *COLUMNS]
    assert records["laboratory"].value_counts().to_dict() == {"north": 72, "south": 72}
    assert (out / "laboratories" / "south" / "config.yaml").is_file()
    description = json.loads((out / "merge.json").read_text())
    assert list(description["laboratories"]) == ["north", "south"]
    assert description["differences"] == []


def test_the_table_has_intervals_within_and_across_laboratories(north, south, tmp_path, capsys):
    out = tmp_path / "merged"
    merged(capsys, north, south, "--out", out)
    table = pd.read_csv(out / "laboratories.csv")
    rows = table[table["protocol"] == "sound"].set_index("laboratory")
    assert list(rows.index) == ["north", "south", ALL]
    assert rows.loc["north", "low"] < 2 < rows.loc["north", "high"], "in percentage points"
    assert rows.loc["south", "low"] < 4 < rows.loc["south", "high"]
    assert rows.loc[ALL, "difference"] == pytest.approx(3, abs=0.5)
    assert rows.loc[ALL, "low"] < 0, "two laboratories that differ settle nothing"
    assert rows.loc[ALL, "tau"] == pytest.approx(np.sqrt(rows.loc[ALL, "tau2"]))
    assert rows.loc[ALL, "i2"] > 0.5
    page = read_page(out / "laboratories.json")
    assert page.warnings[0] == BANNER, "the data are phantoms"
    assert page.warnings[1].startswith("2 laboratories: the variance between them rests on 1 degree of freedom. ")
    kinds = [line.kind for line in page.sections[1].blocks[0].rows]
    assert kinds == ["north", "south", ALL]
    for suffix in ("html", "md", "tex"):
        assert "all laboratories" in (out / f"laboratories.{suffix}").read_text()


def test_compare_works_on_merged_records(north, south, tmp_path, capsys):
    out = tmp_path / "merged"
    merged(capsys, north, south, "--out", out)
    assert cli.main(["compare", str(out / "records.parquet"), "--out", str(tmp_path / "c.parquet")]) == 0
    row = pd.read_parquet(tmp_path / "c.parquet").iloc[0]
    assert (row["seeds"], row["cases"], row["unpaired"]) == (6, 6, 0)


def test_another_baseline_can_be_given(north, south, tmp_path, capsys):
    out = tmp_path / "merged"
    merged(capsys, north, south, "--out", out, "--baseline", "spatial_spectral")
    assert set(pd.read_csv(out / "laboratories.csv")["objective"]) == {"spatial"}


def test_an_equal_bundle_counts_once(north, south, tmp_path, capsys):
    copy = shutil.copy(north, tmp_path / "copy.zip")
    lines = merged(capsys, north, south, copy, "--out", tmp_path / "merged").splitlines()
    assert lines[0] == f"{copy} has the same content as {north} and counts once."
    assert "2 laboratories (north, south)" in lines[-1]


def test_equal_runs_of_two_names_count_once(bundled, tmp_path, capsys):
    first, second, third = bundled("a", seed=1), bundled("b", seed=1), bundled("c", seed=3)
    out = tmp_path / "merged"
    text = merged(capsys, first, second, third, "--out", out, "--baseline", "spatial")
    assert "b: 6 runs equal those of another laboratory: kvasir_seg/unet/spatial/lambda0/seed0 (a), " in text
    assert set(pd.read_parquet(out / "records.parquet")["laboratory"]) == {"a", "c"}
    assert "6 runs equal" in (out / "laboratories.md").read_text()


def test_laboratories_without_a_common_comparison_are_reported(north, south, tmp_path, capsys):
    with zipfile.ZipFile(south) as archive:
        records = pd.read_parquet(io.BytesIO(archive.read("records.parquet"))).astype({"objective": "str"})
    for kept, sentences in (
        (records.assign(test_dataset="other"), ["No comparison is common to two laboratories, so there is no row"]),
        (records[records["objective"] == "spatial"], ["south: no method", "No comparison is common"]),
    ):
        changed = reseal(south, tmp_path / "changed.zip", "records.parquet", kept.to_parquet(index=False))
        out = tmp_path / f"merged{len(sentences)}"
        lines = merged(capsys, north, changed, "--out", out).splitlines()
        assert [line.startswith(start) for line, start in zip(lines, sentences, strict=False)] == [True] * len(
            sentences
        )
        assert "No comparison is common" in (out / "laboratories.md").read_text()


class TestRefusals:
    def test_a_changed_file(self, north, south, tmp_path, refused):
        changed = rewrite(north, tmp_path / "changed.zip", {"config.yaml": "name: toy\n"})
        message = refused("merge", changed, south, "--out", tmp_path / "merged")
        assert message == (
            f"{changed}: config.yaml was changed after bundling, as its checksum is another one; ask for the bundle "
            "again"
        )
        assert not (tmp_path / "merged").exists()

    def test_a_missing_and_an_added_file(self, north, south, tmp_path, refused):
        changed = rewrite(north, tmp_path / "a.zip", without=["datasets/polypgen.json"])
        message = refused("merge", changed, south, "--out", tmp_path / "merged")
        assert "datasets/polypgen.json is missing, which the manifest lists" in message
        changed = rewrite(north, tmp_path / "b.zip", {"more.txt": "x"})
        message = refused("merge", changed, south, "--out", tmp_path / "merged")
        assert "more.txt was added after bundling" in message

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda content: content.update(format=2), "has format 2 and this version reads format 1"),
            (
                lambda content: content.update(laboratory="../x"),
                "manifest.json: laboratory: string should match pattern '^[A-Z",
            ),
            (lambda content: content.pop("runs"), "manifest.json: runs: field required"),
            (lambda content: content.update(more=1), "manifest.json: more: extra inputs are not permitted"),
        ],
    )
    def test_a_manifest_that_is_not_valid(self, north, south, tmp_path, refused, change, message):
        with zipfile.ZipFile(north) as archive:
            content = json.loads(archive.read("manifest.json"))
        change(content)
        changed = rewrite(north, tmp_path / "changed.zip", {"manifest.json": json.dumps(content)})
        assert f"{changed}: {message}" in refused("merge", changed, south, "--out", tmp_path / "merged")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda content: content.update(commits=["\ud800"]), "surrogates not allowed"),
            (
                lambda content: content["datasets"]["polypgen"].update(identity=nested(200)),
                "nested more than 64 levels",
            ),
        ],
    )
    def test_values_that_no_page_can_show(self, north, south, tmp_path, refused, change, message):
        with zipfile.ZipFile(north) as archive:
            content = json.loads(archive.read("manifest.json"))
        change(content)
        changed = rewrite(north, tmp_path / "changed.zip", {"manifest.json": json.dumps(content)})
        assert message in refused("merge", changed, south, "--out", tmp_path / "merged", "--allow-different-data")

    @pytest.mark.parametrize("section", ["objectives", "datasets", "comparison"])
    def test_a_configuration_with_a_section_of_another_type(self, north, south, tmp_path, refused, section):
        changed = reseal(north, tmp_path / "changed.zip", "config.yaml", yaml.safe_dump({section: 3}))
        message = refused("merge", changed, south, "--out", tmp_path / "merged")
        assert message == f"{changed}: config.yaml: {section} is not a mapping; bundle the study again"

    def test_a_checksum_of_weights_of_another_type_is_no_checksum(self, north, south, tmp_path, capsys):
        name = "runs/kvasir_seg/unet/spatial/lambda0/seed0/run.json"
        with zipfile.ZipFile(north) as archive:
            content = json.loads(archive.read(name)) | {"weights_sha256": [1]}
        changed = reseal(north, tmp_path / "changed.zip", name, json.dumps(content))
        assert len(merged(capsys, changed, south, "--out", tmp_path / "merged").splitlines()) == 1

    def test_an_archive_that_is_no_bundle(self, north, tmp_path, refused):
        with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
            archive.writestr("x.txt", "x")
        message = refused("merge", north, tmp_path / "other.zip", "--out", tmp_path / "merged")
        assert message.endswith("has no manifest.json, so it is not a bundle; make one with 'spectralseg bundle'")

    def test_two_bundles_of_one_name(self, north, bundled, tmp_path, refused):
        other = bundled("North", seed=5)
        message = refused("merge", north, other, "--out", tmp_path / "merged")
        assert message.startswith(f"{other}: has the laboratory 'North', as {north} has; keep the newer one")

    def test_a_single_bundle(self, north, tmp_path, refused):
        message = refused("merge", north, north, "--out", tmp_path / "merged")
        assert message == f"{north}: is the only bundle; give those of two laboratories or more"

    def test_the_same_weights_with_other_records(self, north, tmp_path, bundled, refused):
        other = bundled("south", seed=1, gain=0.5)
        message = refused("merge", north, other, "--out", tmp_path / "merged")
        assert "has the same weights of run kvasir_seg/unet/spatial_spectral/lambda0.2/seed0 as" in message

    def test_an_existing_folder(self, north, south, tmp_path, refused):
        (tmp_path / "merged").mkdir()
        (tmp_path / "merged" / "x").touch()
        message = refused("merge", north, south, "--out", tmp_path / "merged")
        assert "already exists and is not empty" in message

    def test_different_baselines(self, north, bundled, tmp_path, refused):
        other = bundled("south", seed=2, changes={"comparison": {"baseline": "spatial_spectral"}})
        message = refused("merge", north, other, "--out", tmp_path / "merged")
        assert message == (
            "the laboratories have different baselines: 'spatial' (north), 'spatial_spectral' (south); choose one with "
            "--baseline"
        )


class TestDifferences:
    def test_other_data_are_refused_unless_allowed(self, north, bundled, tmp_path, capsys, refused):
        other = bundled("south", seed=2, pixel=7)
        message = refused("merge", north, other, "--out", tmp_path / "merged")
        assert (
            f"{north}, {other}: the laboratories have different data: dataset 'kvasir_seg', files.images.npy" in message
        )
        assert "dataset 'polypgen'" in message
        assert message.endswith("prepare the same data, or give --allow-different-data")
        text = merged(capsys, north, other, "--out", tmp_path / "merged", "--allow-different-data")
        assert text.startswith("Different data (the differences between laboratories include that): dataset 'kvasir_")
        assert "Different data" in (tmp_path / "merged" / "laboratories.md").read_text()

    def test_incompatible_versions_are_refused_unless_allowed(self, north, bundled, tmp_path, capsys, refused):
        other = bundled("south", seed=2, version="0.2.3")
        message = refused("merge", north, other, "--out", tmp_path / "merged")
        assert "version of the package that trained: 0.1.0 (north), 0.2.3 (south)" in message
        assert message.endswith("train again with one version, or give --allow-different-versions")
        text = merged(capsys, north, other, "--out", tmp_path / "merged", "--allow-different-versions")
        assert text.startswith("Different versions (the numbers may differ for this reason): ")

    def test_compatible_versions_are_reported(self, north, bundled, tmp_path, capsys):
        other = bundled("south", seed=2, version="0.1.4")
        text = merged(capsys, north, other, "--out", tmp_path / "merged")
        assert "version of the package that trained: 0.1.0 (north), 0.1.4 (south)" in text

    def test_changed_settings_are_reported_by_key(self, north, bundled, tmp_path, capsys):
        other = bundled("south", seed=2, changes={"training": {"learning_rate": 0.5}, "runs_per_gpu": 4})
        text = merged(capsys, north, other, "--out", tmp_path / "merged")
        assert text.startswith("Different settings: training.learning_rate: not set (north), 0.5 (south).\n")

    def test_methods_of_one_name_must_be_the_same(self, north, bundled, tmp_path, refused):
        objectives = {"spatial": {"base": "dice"}, "spatial_spectral": {"base": "bce_dice", "auxiliary": "spectral"}}
        other = bundled("south", seed=2, changes={"objectives": objectives})
        message = refused("merge", north, other, "--out", tmp_path / "merged")
        assert "methods of the same name differ: objectives.spatial.base: bce_dice (north), dice (south)" in message

    @pytest.mark.parametrize(
        ("version", "part"), [("0.1.7", "0.1"), ("0.2", "0.2"), ("2.3.4", "2"), ("unknown", "unknown")]
    )
    def test_the_part_of_a_version_that_changes_numbers(self, version, part):
        assert compatible_version(version) == part


class TestHostileArchives:
    @pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "C:\\x"])
    def test_members_outside_the_folder(self, north, south, tmp_path, refused, name):
        hostile = rewrite(north, tmp_path / "hostile.zip", {name: "x"})
        message = refused("merge", hostile, south, "--out", tmp_path / "merged")
        assert message.endswith("would be written outside on some system; do not use this file")
        assert not (tmp_path / "x").exists()

    def test_links(self, north, south, tmp_path, refused):
        hostile = rewrite(north, tmp_path / "hostile.zip")
        link = zipfile.ZipInfo("link")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        with zipfile.ZipFile(hostile, "a") as archive:
            archive.writestr(link, "/etc/passwd")
        assert "member 'link' is a link or device" in refused("merge", hostile, south, "--out", tmp_path / "merged")

    def test_a_bomb(self, north, south, tmp_path, refused):
        hostile = rewrite(north, tmp_path / "hostile.zip", {"zeros": bytes(2**28 + 2**20)})
        message = refused("merge", hostile, south, "--out", tmp_path / "merged")
        assert "as a bomb does" in message

    def test_a_truncated_archive(self, north, south, tmp_path, refused):
        (tmp_path / "half.zip").write_bytes(north.read_bytes()[:1000])
        assert "half.zip: cannot be unpacked" in refused(
            "merge", tmp_path / "half.zip", south, "--out", tmp_path / "merged"
        )
