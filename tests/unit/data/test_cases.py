"""Find files below a folder, through links and without clutter."""

import errno
import os

import pytest

from spectralseg.data.cases import find_files, require_files
from spectralseg.data.patterns import PathPattern
from spectralseg.errors import InputError


def write(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def matches(root, pattern):
    return [path.relative_to(root).as_posix() for path in find_files(root, pattern)]


def test_a_pattern_may_start_at_any_folder(tmp_path):
    write(tmp_path, "top/images/b.png", "top/images/a.png", "images/c.png", "top/masks/a.png", "top/images/a.txt")
    assert matches(tmp_path, "images/*.png") == ["images/c.png", "top/images/a.png", "top/images/b.png"]


def test_clutter_is_ignored(tmp_path):
    write(tmp_path, "a.png", "._a.png", "__MACOSX/a.png", "b/.DS_Store", "b/Thumbs.db")
    assert matches(tmp_path, "*") == ["a.png"]


def test_linked_folders_are_followed_under_each_of_their_names(tmp_path):
    write(tmp_path / "elsewhere", "a.png", "b.txt")
    root = tmp_path / "root"
    root.mkdir()
    for name in ("images", "texts"):
        (root / name).symlink_to(tmp_path / "elsewhere")
    assert matches(root, "images/*.png") == ["images/a.png"]
    assert matches(root, "texts/*.txt") == ["texts/b.txt"]


@pytest.mark.parametrize("target", [".", "..", "../other", "itself"])
def test_a_cycle_of_links_ends(tmp_path, target):
    write(tmp_path / "root", "one/a.png", "other/b.png")
    (tmp_path / "root" / "one" / "itself").symlink_to(target)
    (tmp_path / "root" / "other" / "back").symlink_to("../one")
    names = {path.name for path in find_files(tmp_path / "root", "*.png")}
    assert names == {"a.png", "b.png"}
    assert len(find_files(tmp_path / "root", "*.png")) <= 6


def test_a_cycle_through_the_root_ends(tmp_path):
    write(tmp_path, "a.png")
    (tmp_path / "b").symlink_to(tmp_path)
    assert matches(tmp_path, "*.png") == ["a.png"]


def test_patterns_are_case_insensitive(tmp_path):
    write(tmp_path, "Images/A.PNG", "images/b.png")
    assert matches(tmp_path, "images/*.png") == ["Images/A.PNG", "images/b.png"]


def test_an_expression_matches_the_whole_path(tmp_path):
    write(tmp_path, "a.png", "top/b.png", "top/c.txt")
    assert matches(tmp_path, PathPattern(r"top/.*\.png")) == ["top/b.png"]
    assert matches(tmp_path, PathPattern(r"\w\.png")) == ["a.png", "top/b.png"]


def test_folders_that_link_to_one_another_are_listed_up_to_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("spectralseg.data.cases._MOST_ENTRIES", 1000)
    for number in range(9):
        (tmp_path / str(number)).mkdir()
        for other in range(9):
            (tmp_path / str(number) / f"to {other}").symlink_to(tmp_path / str(other))
    with pytest.raises(InputError, match="holds more than 1000 files and folders"):
        find_files(tmp_path, "*.png")


def test_a_folder_with_the_name_of_a_file_is_an_input_error(tmp_path):
    write(tmp_path, "images/a.png/b.txt", "v1.2/images/a.png")
    with pytest.raises(InputError, match=r"images/a\.png: is a folder instead of a file"):
        find_files(tmp_path, "images/*.png")
    assert matches(tmp_path, "*.txt") == ["images/a.png/b.txt"]


def test_a_folder_that_cannot_be_listed_is_not_skipped(tmp_path, monkeypatch):
    write(tmp_path, "a/a.png", "b/b.png")
    scan = os.scandir

    def refusing(path):
        if os.fspath(path).endswith("/b"):
            raise PermissionError(errno.EACCES, "", os.fspath(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(InputError, match=r"/b: cannot be listed: permission denied; change the permissions"):
        find_files(tmp_path, "*.png")


def test_no_match_is_an_input_error_that_names_the_pattern(tmp_path):
    with pytest.raises(InputError, match=r"no file matches 'images/\*\.png'"):
        require_files(tmp_path, "images/*.png")
