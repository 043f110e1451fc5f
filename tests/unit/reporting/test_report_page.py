"""The report page in a real browser, without network."""

import html
import itertools
import json
import re
import shutil
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from tests.standins import browser
from tests.standins.study import CONFIG, claim, describe_run, grid_of, write_claims
from tests.unit.reporting.conftest import CLASSES

from spectralseg import cli
from spectralseg.errors import InputError
from spectralseg.grid import Run
from spectralseg.reporting.cards import write_card
from spectralseg.reporting.claim_verdicts import build_claim_verdicts
from spectralseg.reporting.report import write_report
from spectralseg.reporting.results import BANNER, Results
from spectralseg.reporting.studies import build_study
from spectralseg.reporting.tables import build_table

EVIL = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"


@pytest.fixture(scope="session")
def finished_study(phantom, published, tmp_path_factory):
    """A results folder with all that the report shows; tests must not change it."""
    root = tmp_path_factory.mktemp("finished") / "study"
    shutil.copytree(phantom, root)
    records = pd.read_parquet(root / "records.parquet")
    config = {**CONFIG, "datasets": {name: {"source": "phantom"} for name in CLASSES}}
    config["architectures"] = {name: {"model": name} for name in ("unet", "transunet")}
    config["grid"] = grid_of(records, CONFIG["objectives"])
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    for objective, lam in (("spatial", "0"), ("spatial_spectral", "0.2")):
        describe_run(root, Run("kvasir_seg", "unet", objective, lam, 0))
    claims = [claim(n) for n in range(8)] + [
        claim(8, claim=EVIL, reason=EVIL, verdict="cannot be tested with this data", published="")
    ]
    write_claims(root, claims, untested=["GRCSF"])
    records.loc[records["case"] == "kvasir_seg_2", "case"] = EVIL
    records.to_parquet(root / "records.parquet")
    cases = pd.read_csv(root / "prepared" / "kvasir_seg" / "cases.csv", dtype=str, keep_default_na=False)
    cases["attributes"] = ['{"site": "A"}', '{"site": "B"}', '{"site": "B"}', '{"site": "A"}']
    cases.to_csv(root / "prepared" / "kvasir_seg" / "cases.csv", index=False)
    results = Results(root)
    build_table("table_3", Results(results.root, published)).write(root / "tables")
    build_table("summary", results).write(root / "tables")
    (root / "figures").mkdir()
    picture = np.random.default_rng(0).integers(0, 255, (300, 1000, 3)).astype(np.uint8)
    Image.fromarray(picture).save(root / "figures" / "figure_2.png")
    (root / "figures" / "figure_2.pdf").write_bytes(b"%PDF")
    (root / "cards").mkdir()
    (root / "cards" / "kvasir_seg.html").write_text("card")
    write_report(root)
    return root


@pytest.fixture(scope="session")
def text(finished_study):
    return (finished_study / "report" / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    if browser.PROGRAM is None:
        pytest.skip("there is no Chromium on this machine")
    with browser.Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def page(chromium, finished_study):
    """Opens the page with a fragment, as from a link, and returns the browser."""

    def load(fragment=""):
        chromium.open("about:blank")
        chromium.open((finished_study / "report" / "index.html").as_uri() + fragment)
        return chromium

    return load


def column_texts(opened, table, column):
    """Texts of a column in the visible rows of a table, from top to bottom."""
    rows = f"[...document.querySelectorAll('#{table} tbody tr')].filter(row => row.getClientRects().length)"
    return opened.evaluate(f"{rows}.map(row => row.cells[{column}].textContent.trim())")


def place_of(opened, heading):
    """Number of a column of the leaderboard."""
    return opened.evaluate(
        "[...document.querySelectorAll('#leaderboard-table thead th')].findIndex(h => h.textContent === "
        f"{json.dumps(heading)})"
    )


def saved(opened, table):
    """Lines of the CSV file of the visible rows of a table."""
    opened.evaluate("URL.createObjectURL = blob => { blob.text().then(text => { window.saved = text; }); return '#'; }")
    opened.click(f"#{table} button[name=csv]")
    opened.until("window.saved")
    *lines, end = opened.evaluate("window.saved").removeprefix("\ufeff").split("\r\n")
    assert end == ""
    return lines


def contrast(first, second):
    """Ratio of the relative luminances of two colours, by WCAG 2.2."""

    def luminance(colour):
        digits = colour.lstrip("#")
        digits = digits if len(digits) == 6 else "".join(digit * 2 for digit in digits)
        values = np.array([int(digits[n : n + 2], 16) for n in (0, 2, 4)]) / 255
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    darker, lighter = sorted((luminance(first), luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.fixture(scope="session")
def pages(finished_study, published, tmp_path_factory):
    """Every kind of page of a study, by its path in the results folder."""
    root = tmp_path_factory.mktemp("pages") / "study"
    shutil.copytree(finished_study, root, symlinks=True)
    (root / "report" / "index.html").unlink()  # the workflow writes the other pages first
    results = Results(root, published)
    build_claim_verdicts(results, published).write(root)
    build_study("study_protocols", results).write(root / "studies")
    build_table("leaderboard", results).write(root / "tables")
    write_card(root / "prepared" / "kvasir_seg", root / "cards" / "kvasir_seg.html")
    config = yaml.safe_load((root / "config.yaml").read_text())
    changed = {**config, "studies": ["study_protocols"], "tables": ["leaderboard", *config["tables"]]}
    (root / "config.yaml").write_text(yaml.safe_dump(changed))
    write_report(root)
    pages = {file.relative_to(root).as_posix(): file for file in root.rglob("*.html")}
    assert set(pages) == {
        *("report/index.html", "claims.html", "studies/study_protocols.html", "cards/kvasir_seg.html"),
        *(f"tables/{name}.html" for name in ("leaderboard", "summary", "table_3")),
    }
    return pages


@pytest.mark.slow
class TestFile:
    def test_the_page_loads_no_other_file(self, text):
        addresses = re.findall(r"""(?:src|href|action|data|poster)\s*=\s*["']?([^"'\s>]+)""", text)
        assert addresses
        assert not [a for a in addresses if re.match(r"(?!data:)(\w+:|//)", a)]
        assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\(|WebSocket", text)
        assert "default-src 'none'" in text

    def test_link_targets_exist(self, finished_study, text):
        links = {a for a in re.findall(r'href="([^"#]+)"', text) if not a.startswith("data:")}
        assert links >= {"../figures/figure_2.png", "../figures/figure_2.pdf", "../tables/table_3.tex"}
        assert "../cards/kvasir_seg.html" in links
        for link in links:
            assert (finished_study / "report" / link).is_file(), link

    def test_every_relative_link_of_every_page_has_a_target(self, pages):
        root = pages["report/index.html"].parents[1].resolve()
        back = {}
        for name, file in pages.items():
            text = file.read_text(encoding="utf-8")
            targets = set()
            for link in map(html.unescape, re.findall(r'<a\b[^>]*? href="([^"]*)"', text)):
                address, _, fragment = link.partition("#")
                if not re.match(r"\w+:", address):
                    target = (file.parent / unquote(address)).resolve() if address else file
                    assert target.is_file(), f"{name}: {link}"
                    assert "=" in fragment or not fragment or f'id="{fragment}"' in text, f"{name}: {link}"
                    targets.add(target.resolve().relative_to(root).as_posix())
            back[name] = "report/index.html" in targets
        assert all(linked for name, linked in back.items() if name != "report/index.html"), back

    def test_pages_share_their_head_and_are_accessible(self, pages):
        for name, file in pages.items():
            text = file.read_text(encoding="utf-8")
            for part in (
                '<html lang="en">',
                'name="viewport"',
                "prefers-color-scheme: dark",
                "@media print",
                "<title>",
            ):
                assert part in text, f"{name}: {part}"
            body = re.sub(r"<script.*?</script>", "", text.split("<body")[1], flags=re.S)
            levels = [int(level) for level in re.findall(r"<h([1-6])\b", body)]
            assert levels[0] == levels.count(1) == 1, name
            assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), f"{name}: {levels}"
            for attributes, content in re.findall(r"<th\b([^>]*)>(.*?)</th>", body, re.S):
                assert "scope=" in attributes, f"{name}: {attributes}"
                assert re.sub(r"<[^>]*>", "", content).strip(), f"{name}: an empty heading of a table"
            for attributes in re.findall(r'<div class="scroll"([^>]*)>', body):
                assert 'tabindex="0"' in attributes, name
                assert "aria-label=" in attributes, name

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_colours_of_text_have_a_contrast_of_at_least_four_and_a_half(self, text, scheme):
        light, dark = (dict(re.findall(r"--([\w-]+): (#\w+)", block)) for block in re.findall(r":root \{(.*?)\}", text))
        colours = {**light, **dark} if scheme == "dark" else light
        texts = dict.fromkeys(("ink", "soft", "accent"), ("paper", "panel"))
        texts |= {name: ("paper", f"{name}-paper") for name in ("good", "bad", "open", "none")}
        for name, grounds in {**texts, "ink": ("paper", "panel", "warn")}.items():
            for ground in grounds:
                assert contrast(colours[name], colours[ground]) >= 4.5, f"{scheme}: {name} on {ground}"

    def test_a_page_of_no_study_has_no_link(self, official, published, tmp_path):
        build_table("table_3", Results(official, published)).write(tmp_path / "tables")
        assert 'class="back"' not in (tmp_path / "tables" / "table_3.html").read_text(encoding="utf-8")

    def test_the_same_results_give_the_same_bytes(self, finished_study, text, tmp_path):
        again = write_report(finished_study, finished_study / "again")
        assert again.read_text(encoding="utf-8") == text
        again.unlink()

    def test_links_are_relative_to_the_page(self, finished_study, tmp_path):
        elsewhere = write_report(finished_study, tmp_path / "a" / "b")
        (link,) = re.findall(r'href="([^"]+table_3\.csv)"', elsewhere.read_text(encoding="utf-8"))
        assert (elsewhere.parent / link).resolve() == (finished_study / "tables" / "table_3.csv").resolve()

    def test_the_banner_stands_above_the_answer_and_leaks_in_it(self, text):
        assert BANNER in text.split("<h2>Answer")[0]
        answer = text.split("<h2>Answer")[1].split("<h2>Cases")[0]
        assert "isic2018 → isic2017: 2 of 3 test cases match" in answer

    def test_missing_runs_are_counted(self, text):
        assert "<b>2 of 45</b> runs evaluated" in text
        assert "43 runs of the grid are not trained." in text

    def test_text_is_escaped_in_scripts(self, text):
        assert text.count("</script>") == 2
        assert "<img src=x" not in text

    def test_a_folder_with_records_only(self, official, tmp_path):
        page = write_report(official, tmp_path).read_text(encoding="utf-8")
        for output in ("tables", "figures"):
            assert f"The results folder contains no {output}" in page
        assert BANNER not in page

    def test_the_command(self, finished_study, tmp_path, capsys):
        assert cli.main(["report", str(finished_study), "--out", str(tmp_path / "r")]) == 0
        assert capsys.readouterr().out.strip() == str(tmp_path / "r" / "index.html")
        assert cli.main(["report", str(tmp_path / "none")]) == 1
        assert "the results folder does not exist" in capsys.readouterr().err

    def test_no_records_raise(self, tmp_path):
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match="no metric records"):
            write_report(tmp_path / "empty")
        assert not (tmp_path / "empty" / "report").exists()


@pytest.mark.slow
class TestBrowser:
    def test_it_opens_without_requests_or_errors(self, page):
        opened = page()
        assert opened.evaluate("document.title") == "toy: report"
        headings = opened.evaluate("[...document.querySelectorAll('h2')].map(h => h.textContent)")
        assert headings == [
            *("Answer", "Cases", "Tables", "Figures", "Claims"),
            *("Datasets", "Runs", "Cost", "Provenance"),
        ]
        outside = [a for a in opened.requested if not a.startswith(("data:", "file:", "about:"))]
        assert not outside
        assert len({a for a in opened.requested if a.startswith("file:")}) == 1, "the page needs no other file"
        assert not opened.faults

    def test_clicking_a_heading_sorts(self, page):
        opened = page()
        before = column_texts(opened, "claims-harmonized", 4)
        selector = "#claims-harmonized thead th:nth-child(5) button"
        opened.click(selector)
        sort = "document.querySelector('#claims-harmonized thead th:nth-child(5)').getAttribute('aria-sort')"
        assert opened.evaluate(sort) == "descending"
        assert column_texts(opened, "claims-harmonized", 4) == [*(f"{10.5 - n:+.2f}" for n in range(8)), "–"]
        opened.click(selector)
        assert opened.evaluate(sort) == "ascending"
        assert column_texts(opened, "claims-harmonized", 4) == [*(f"{10.5 - n:+.2f}" for n in reversed(range(8))), "–"]
        opened.click(selector)
        assert opened.evaluate(sort) is None
        assert column_texts(opened, "claims-harmonized", 4) == before
        assert not opened.faults

    def test_the_keyboard_sorts_and_filters(self, page):
        opened = page()
        opened.evaluate("document.querySelector('#claims-harmonized input').focus()")
        opened.type("4.3 claim c3")
        assert column_texts(opened, "claims-harmonized", 0) == ["c3"]
        status = opened.evaluate("document.querySelector('#claims-harmonized .status').textContent")
        assert status == "1 of 9 rows (filter: 4.3 claim c3)"
        choices = opened.evaluate("document.querySelectorAll('#claims-harmonized select').length")
        for _ in range(choices + 1):  # to "Show all"
            opened.press("Tab")
        opened.press("Enter")
        assert len(column_texts(opened, "claims-harmonized", 0)) == 9
        opened.press("Tab")  # "CSV of these rows"
        opened.press("Tab")  # the region that scrolls
        opened.press("Tab")
        assert opened.evaluate("document.activeElement.textContent") == "Id"
        opened.press(" ")
        opened.press(" ")
        assert column_texts(opened, "claims-harmonized", 0) == [f"c{n}" for n in reversed(range(9))]

    def test_the_first_tab_stop_is_a_skip_link(self, page):
        opened = page()
        opened.press("Tab")
        assert opened.evaluate("document.activeElement.className") == "skip"
        opened.press("Enter")
        opened.until("document.activeElement.id === 'main'")

    def test_a_verdict_above_the_claims_filters_them(self, page):
        opened = page()
        opened.click("#claims .verdicts li:nth-child(2) a")
        opened.until("location.hash.includes('claims')")
        opened.until("document.querySelector('#claims-harmonized select').value === 'does not hold'")
        assert column_texts(opened, "claims-harmonized", 0) == ["c1", "c5"]

    def test_the_answer_comes_first_and_shows_dice_on_clean_images(self, page, finished_study):
        opened = page()
        assert opened.evaluate("document.querySelector('main section').id") == "answer"
        assert opened.evaluate("document.querySelector('.answer').getBoundingClientRect().top < innerHeight / 2")
        assert set(column_texts(opened, "leaderboard-table", place_of(opened, "Images"))) == {"clean"}
        assert set(column_texts(opened, "leaderboard-table", place_of(opened, "Metric"))) == {"DSC"}
        records = Results(finished_study).read(metric={"dsc"}, suite={"iid", "ood"}, protocol={"sound"})
        methods = records[["dataset", "test_dataset", "architecture", "objective", "lambda"]].drop_duplicates()
        texts = column_texts(opened, "leaderboard-table", 1)
        assert len([text for text in texts if "leak-free" not in text]) == len(methods)
        opened.click("#leaderboard-table button[type=reset]")
        assert len(column_texts(opened, "leaderboard-table", 0)) > 2 * len(methods)

    def test_a_group_of_cases_is_selected_and_saved(self, page):
        opened = page()
        place = place_of(opened, "Group of cases")
        assert set(column_texts(opened, "leaderboard-table", place)) == {"all cases"}
        worst = column_texts(opened, "leaderboard-table", place_of(opened, "Worst group"))
        assert any(text.startswith("site = ") for text in worst)
        opened = page(f"#at=answer&leaderboard-table.{place}=site%20=%20B")
        methods = column_texts(opened, "leaderboard-table", 0)
        assert len(methods) == len(set(methods)) == 4
        assert set(column_texts(opened, "leaderboard-table", place_of(opened, "Cases"))) == {"1"}
        lines = saved(opened, "leaderboard-table")
        assert len(lines) == 5
        assert all(line.split(",")[0] and "site = B" in line for line in lines[1:])

    def test_the_columns_up_to_the_worst_group_fit_on_a_screen_and_a_shadow_marks_the_others(self, page, chromium):
        box = "document.querySelector('#leaderboard-table .scroll')"
        try:
            chromium.resize(1400, 900)
            opened = page()
            head = f"{box}.querySelectorAll('thead th')[{place_of(opened, 'Worst group')}]"
            edges = f"[{head}.getBoundingClientRect().right, {box}.getBoundingClientRect().right]"
            column, edge = opened.evaluate(edges)
            assert column <= edge
            assert opened.evaluate(f"{box}.scrollWidth > {box}.clientWidth"), "columns follow on the right"
            shadow = f"/-\\d+px .* inset/.test(getComputedStyle({box}).boxShadow)"
            opened.until(shadow)
            opened.evaluate(f"{box}.scrollLeft = 1e6")
            opened.until(f"!{shadow}")
        finally:
            chromium.resize(1280, 900)

    def test_the_attribute_of_the_worst_group_is_a_tooltip_where_there_is_a_mouse(self, page, chromium):
        opened = page()
        cell = (
            f"[...document.querySelectorAll('#leaderboard-table td:nth-child({place_of(opened, 'Worst group') + 1})')]"
            ".find(e => e.textContent.includes('site') && e.getClientRects().length)"
        )
        width = f"{cell}.querySelector('.prefix').getBoundingClientRect().width"
        assert opened.evaluate(f"{cell}.title") == opened.evaluate(f"{cell}.textContent.trim()")
        assert re.fullmatch(r"site = [AB] \([−+].*\)", opened.evaluate(f"{cell}.title"))
        assert opened.evaluate(width) <= 1
        chromium.send("Emulation.setTouchEmulationEnabled", enabled=True)
        try:
            assert opened.evaluate("matchMedia('(pointer: coarse)').matches")
            assert opened.evaluate(width) > 20
        finally:
            chromium.send("Emulation.setTouchEmulationEnabled", enabled=False)

    def test_rows_of_a_method_stay_together_when_sorted(self, page):
        opened = page()

        def lines():
            rows = zip(*(column_texts(opened, "table_3-0", column) for column in (0, 1)), strict=True)
            return [(name, [line for _, line in part]) for name, part in itertools.groupby(rows, lambda row: row[0])]

        before = lines()
        opened.click("#table_3-0 thead tr:last-child th:nth-child(3) button")
        assert lines() != before
        assert sorted(lines()) == sorted(before), "every method keeps its lines in their order"

    def test_visible_rows_are_saved_as_csv(self, page):
        opened = page()
        opened.evaluate("document.querySelector('#claims-harmonized input').focus()")
        opened.type("c3")
        header, line = saved(opened, "claims-harmonized")
        assert header.startswith("Id,Claim,Verdict,")
        assert line.startswith("c3,claim 3,")

    def test_a_link_restores_sorting_and_filters(self, page):
        opened = page("#at=claims&claims-harmonized.sort=4a&claims-harmonized.2=holds")
        assert column_texts(opened, "claims-harmonized", 0) == ["c4", "c0"]
        opened = page("#at=table-table_3&table_3-0.filter=leak-free&table_3-0.sort=2d")
        values = [
            text
            for text, line in zip(*(column_texts(opened, "table_3-0", column) for column in (2, 1)), strict=True)
            if line == "measured"
        ]
        assert len(values) == 4
        assert values == sorted(values, key=lambda text: float(text.split(" ")[0]), reverse=True)

    def test_cases_are_listed_worst_first(self, page):
        opened = page("#at=cases&cases.data=Kvasir-SEG&cases.metric=hd95")
        *values, last = column_texts(opened, "case-list", 1)
        assert last == "undef."
        assert len(values) == 2
        assert float(values[0]) > float(values[1])
        opened = page("#at=cases&cases.data=Kvasir-SEG&cases.metric=dsc&cases.protocol=published")
        values = [float(v) for v in column_texts(opened, "case-list", 1)]
        assert values == sorted(values)

    def test_cases_are_listed_by_their_difference_to_a_method(self, page):
        fragment = "#at=cases&cases.data=Kvasir-SEG&cases.metric=dsc&cases.sort=casea&cases.protocol=published"
        plain = page(fragment)
        heads = plain.evaluate("[...document.querySelectorAll('#case-list thead th')].map(h => h.textContent)")
        first, second = (heads.index(name) for name in ("unet spatial", "unet spatial_spectral, λ = 0.2"))
        values = np.array([[float(text) for text in column_texts(plain, "case-list", n)] for n in (first, second)])
        opened = page(f"{fragment}&cases.against=unet spatial")
        shown = [text.replace("−", "-") for text in column_texts(opened, "case-list", second)]
        assert np.array(shown, float) == pytest.approx(values[1] - values[0], abs=0.011)
        assert set(column_texts(opened, "case-list", first)) == {"+0.00"}
        assert "less unet spatial" in opened.evaluate("document.querySelector('#case-list caption').textContent")

    def test_a_picture_enlarges(self, page):
        opened = page("#at=cases&cases.data=Kvasir-SEG&cases.case=kvasir_seg_1")
        assert opened.evaluate("document.getElementById('large').open") is False
        opened.click("#case .enlarge")
        assert opened.evaluate("document.getElementById('large').open")
        assert opened.evaluate("document.querySelectorAll('#large svg image').length") == 1
        opened.press("Escape")
        opened.until("!document.getElementById('large').open")
        assert not opened.evaluate("document.getElementById('case').hidden")
        assert opened.evaluate("document.activeElement === document.querySelector('#case .enlarge')")

    def test_a_case_opens_with_its_pictures_and_closes(self, page):
        opened = page("#at=cases&cases.data=Kvasir-SEG&cases.filter=kvasir_seg_1")
        opened.click("#case-list tbody button")
        opened.until("!document.getElementById('case').hidden")
        assert opened.evaluate("document.activeElement.textContent") == "Case kvasir_seg_1"
        panel = "document.getElementById('case')"
        assert opened.evaluate(f"{panel}.querySelectorAll('tbody tr').length") == 4
        assert opened.evaluate(f"{panel}.querySelectorAll('svg image').length") == 6
        assert opened.evaluate(f"{panel}.querySelectorAll('svg path.prediction').length") == 4
        assert opened.evaluate(f"[...{panel}.querySelectorAll('image')].every(i => i.getBBox().width === 32)")
        assert "cases.case=kvasir_seg_1" in opened.evaluate("location.hash")
        opened.press("Escape")
        assert opened.evaluate(f"{panel}.hidden")
        assert opened.evaluate("document.activeElement.textContent") == "kvasir_seg_1"
        assert not opened.faults

    def test_values_of_a_case_are_those_of_the_records(self, page, finished_study):
        records = pd.read_parquet(finished_study / "records.parquet")
        values = records[(records["case"] == "kvasir_seg_1") & (records["test_dataset"] == "kvasir_seg")]
        values = values[(values["architecture"] == "unet") & (values["objective"] == "spatial")]
        opened = page("#at=cases&cases.data=Kvasir-SEG&cases.case=kvasir_seg_1")
        row = "[...document.querySelectorAll('#case tbody tr')].find(r => r.cells[0].textContent === 'unet spatial')"
        texts = opened.evaluate(f"[...{row}.cells].slice(1).map(c => c.firstChild.textContent)")
        order = [(p, m) for p in ("published", "sound") for m in ("dsc", "hd95", "ece")]
        for text, (protocol, metric) in zip(texts, order, strict=True):
            rows = values[(values["protocol"] == protocol) & (values["metric"] == metric) & (values["suite"] == "iid")]
            assert len(rows) == 2
            factor = 1 if metric == "hd95" else 100
            assert float(text) == pytest.approx(factor * rows["value"].mean(), abs=0.011)  # each seed is rounded

    def test_classes_and_undefined_values(self, page):
        opened = page("#at=cases&cases.data=ACDC&cases.class=right ventricle&cases.case=acdc_2")
        cells = "[...document.querySelectorAll('#case tbody tr:last-child td')].map(c => c.firstChild.textContent)"
        published, sound = np.split(np.array(opened.evaluate(cells)), 2)
        assert "undef." not in published
        assert set(sound) == {"undef."}
        opened.evaluate("document.getElementById('case-controls').elements.class.value = 'mean'")
        opened.evaluate("document.getElementById('case-controls').dispatchEvent(new Event('input', {bubbles: true}))")
        assert "undef." not in opened.evaluate(cells)

    def test_leaked_cases_are_marked(self, page):
        opened = page("#at=cases&cases.data=ISIC-18 → ISIC-17")
        cells = "[r.cells[0].textContent, r.lastChild.textContent]"
        rows = opened.evaluate(f"[...document.querySelectorAll('#case-list tbody tr')].map(r => {cells})")
        remarks = dict(rows)
        assert "leaked test case" in remarks["isic2017_0"]
        assert "leaked" not in remarks["isic2017_1"] + remarks["isic2017_2"]

    def test_names_are_escaped(self, page):
        opened = page("#at=cases&cases.data=Kvasir-SEG&cases.filter=script")
        assert column_texts(opened, "case-list", 0) == [EVIL]
        opened.click("#case-list tbody button")
        assert EVIL in opened.evaluate("document.getElementById('case-title').textContent")
        assert opened.evaluate("document.title") == "toy: report"

    def test_the_window_does_not_scroll_sideways(self, page, chromium):
        try:
            for width in (360, 800, 1400):
                chromium.resize(width, 800)
                opened = page()
                assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        finally:
            chromium.resize(1280, 900)

    def test_no_column_covers_another_on_any_page(self, pages, chromium):
        overlaps = (
            "[...document.querySelectorAll('table.two-keys tbody tr')].filter(r => r.getClientRects().length && "
            "r.cells[2] && r.cells[1].getBoundingClientRect().right > r.cells[2].getBoundingClientRect().left + 1)"
            ".length"
        )
        for name, file in pages.items():
            chromium.open("about:blank")
            chromium.open(file.as_uri())
            assert chromium.evaluate(overlaps) == 0, name

    def test_it_prints_without_controls_and_with_all_sections(self, page):
        opened = page()
        assert opened.pdf().startswith(b"%PDF")
        opened.send("Emulation.setEmulatedMedia", media="print")
        try:
            visible = "[...document.querySelectorAll('{}')].filter(e => e.getClientRects().length).length"
            assert opened.evaluate(visible.format("nav, form, input, select")) == 0
            assert opened.evaluate(visible.format("section")) == 9
            assert opened.evaluate(visible.format("details pre")) == 1
        finally:
            opened.send("Emulation.setEmulatedMedia", media="")

    def test_paper_cuts_nothing_off_and_repeats_no_filter(self, page, chromium):
        opened = page("#at=answer&leaderboard-table.filter=unet")
        opened.send("Emulation.setEmulatedMedia", media="print")
        chromium.resize(1032, 700)  # A4 landscape without margins
        try:
            wide = "[...document.querySelectorAll('table')].filter(t => t.getBoundingClientRect().right > innerWidth)"
            assert opened.evaluate(f"{wide}.map(t => t.caption.textContent)") == []
            assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
            heads = (
                "[...document.querySelectorAll('#leaderboard-table thead th')].filter(h => h.getClientRects().length)"
            )
            headings = opened.evaluate(f"{heads}.map(h => h.textContent)")
            assert {"Method", "Test set", "Verdict", "Worst group", "Reference"} <= set(headings)
            assert not {"Group of cases", "Images", "Metric", "Protocol"} & set(headings)
            status = opened.evaluate("document.querySelector('#leaderboard-table .status').textContent")
            assert "Group of cases: all cases; Images: clean; Metric: DSC; Protocol: sound; filter: unet" in status
        finally:
            opened.send("Emulation.setEmulatedMedia", media="")
            chromium.resize(1280, 900)

    def test_the_keyboard_reaches_every_control_with_visible_focus(self, page):
        opened = page("#at=cases&cases.data=Kvasir-SEG&cases.case=kvasir_seg_1")
        opened.evaluate("document.activeElement.blur()")
        controls = (
            "[...document.querySelectorAll('a[href], button, input, select, summary, [tabindex=\"0\"]')]"
            ".filter(e => e.getClientRects().length && !e.disabled)"
        )
        expected = opened.evaluate(f"{controls}.forEach((e, n) => {{ e.dataset.control = n; }}), {controls}.length")
        opened.evaluate("getSelection().setPosition(document.body, 0)")
        reached, invisible = set(), []
        for _ in range(expected + 5):
            opened.press("Tab")
            focus = "document.activeElement"
            number, outline = opened.evaluate(
                f"[{focus}.dataset.control ?? null, getComputedStyle({focus}).outlineStyle]"
            )
            if number is not None:
                reached.add(int(number))
                invisible += [number] if outline == "none" else []
        missed = sorted(set(range(expected)) - reached)
        assert [opened.evaluate(f"document.querySelector('[data-control=\"{n}\"]').outerHTML") for n in missed] == []
        assert invisible == []

    def test_sticky_headings_cover_no_focused_control(self, page):
        opened = page("#at=cases&cases.data=Kvasir-SEG&cases.case=kvasir_seg_1")
        opened.evaluate("getSelection().setPosition(document.body, 0)")
        covered = (
            "(() => { const e = document.activeElement, r = e.getBoundingClientRect(); const on = ([x, y]) => "
            "document.elementFromPoint(r.x + r.width * x, r.y + r.height * y); "
            "const points = [[.5, .5], [.1, .5], [.9, .5], [.5, .1], [.5, .9]].map(on); "
            "return points.some(p => e.contains(p)) ? '' : e.outerHTML })()"
        )
        count, hidden = 0, []
        for _ in range(opened.evaluate("document.querySelectorAll('a[href], button, input, select').length")):
            opened.press("Tab")
            if opened.evaluate("document.activeElement !== document.body"):
                count += 1
                hidden += filter(None, [opened.evaluate(covered)])
        assert count > 100
        assert hidden == []

    def test_every_control_has_a_name_and_every_table_a_caption(self, page):
        opened = page("#at=cases&cases.data=Kvasir-SEG&cases.case=kvasir_seg_1")
        unnamed = (
            "[...document.querySelectorAll('button, input, select, a, [role=region], svg[role=img]')].filter(e => !("
            "e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.[0]?.textContent.trim() || "
            "e.querySelector('img[alt]'))).length"
        )
        assert opened.evaluate(unnamed) == 0
        assert opened.evaluate("[...document.querySelectorAll('table')].every(t => t.caption.textContent.trim())")
        assert opened.evaluate(
            "[...document.querySelectorAll('thead th')].every(t => ['col', 'colgroup'].includes(t.scope))"
        )
        assert opened.evaluate(
            "new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size === "
            "document.querySelectorAll('[id]').length"
        )
