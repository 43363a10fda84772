"""Files that take each other's place together: all of them or none."""

from __future__ import annotations

import json
import shutil

import pytest

from autocoa_plugin.runs.files import commit, exchanging, finish, is_pending

OLD = {"a": "old a", "b": "old b", "notes": "mine"}
NEW = {"b": "new b", "c": "new c", "d": "new d"}
AFTER = {"b": "new b", "c": "new c", "d": "new d", "notes": "mine"}


def is_old(name):
    return name in ("a", "b", "c", "d")


def write(folder, files):
    for name, text in files.items():
        (folder / name).write_text(text)


def files_of(folder):
    return {each.name: each.read_text() for each in folder.iterdir() if each.is_file()}


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, OLD)
    return tmp_path


def test_new_files_take_the_place_of_the_old_ones_and_strangers_stay(folder):
    with exchanging(folder, is_old) as staged:
        write(staged, NEW)
        assert files_of(folder) == OLD
    assert files_of(folder) == AFTER
    assert [each.name for each in folder.iterdir() if each.is_dir()] == []


def test_a_folder_that_is_not_there_is_made(tmp_path):
    with exchanging(tmp_path / "deep" / "er", is_old) as staged:
        write(staged, NEW)
    assert files_of(tmp_path / "deep" / "er") == NEW


def test_what_raises_leaves_the_old_files(folder):
    with pytest.raises(OSError, match="disk full"), exchanging(folder, is_old) as staged:
        write(staged, NEW)
        raise OSError("disk full")
    assert files_of(folder) == OLD
    assert not is_pending(folder)


def test_what_a_killed_writer_left_is_forgotten(folder):
    (folder / ".staged").mkdir()
    write(folder / ".staged", {"c": "half"})
    assert not is_pending(folder)
    with exchanging(folder, is_old) as staged:
        write(staged, {"a": "new a"})
    assert files_of(folder) == {"a": "new a", "notes": "mine"}


# the steps of `finish`: a is removed; b, c and d are moved; the list is removed, then the folder
@pytest.mark.parametrize("steps", range(6))
def test_an_exchange_that_was_killed_after_any_step_is_finished_later(folder, steps):
    (folder / ".staged").mkdir()
    write(folder / ".staged", NEW)
    commit(folder, is_old)
    pending = folder / ".exchange"
    done = [
        (folder / "a").unlink,
        *(lambda name=name: (pending / name).replace(folder / name) for name in NEW),
        (pending / ".exchange.json").unlink,
    ]
    for step in done[:steps]:
        step()
    assert is_pending(folder) == (steps < 5)
    finish(folder)
    assert files_of(folder) == AFTER
    assert not pending.exists()
    finish(folder)
    assert files_of(folder) == AFTER


def test_the_next_exchange_finishes_the_one_before(folder):
    (folder / ".staged").mkdir()
    write(folder / ".staged", NEW)
    commit(folder, is_old)
    with exchanging(folder, is_old) as staged:
        assert files_of(folder) == AFTER
        shutil.copy(folder / "c", staged / "c")
    assert files_of(folder) == {"c": "new c", "notes": "mine"}


def test_the_list_says_what_comes_and_what_goes(folder):
    (folder / ".staged").mkdir()
    write(folder / ".staged", NEW)
    commit(folder, is_old)
    assert json.loads((folder / ".exchange" / ".exchange.json").read_text()) == {"new": ["b", "c", "d"], "old": ["a"]}
