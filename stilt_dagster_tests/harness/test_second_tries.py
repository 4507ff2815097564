"""What needs a second try is counted, named, and fails unless it is explained."""

from __future__ import annotations

from pathlib import Path

import pytest

from stilt_dagster_tests.harness.second_tries import LIST, explained, run

#: ``late`` passes the second time it is run.
TESTS = """
import pathlib
import pytest

def test_sound():
    pathlib.Path("sound").open("a").write("x")

def test_late():
    seen = pathlib.Path("seen")
    before = seen.exists()
    seen.touch()
    assert before

def test_broken():
    assert False

@pytest.mark.skip
def test_skipped():
    assert False
"""
LATE = "test_it.py::test_late"


@pytest.mark.parametrize(
    ("selected", "reason", "code", "says"),
    [
        ("sound", "", 0, "second tries: none"),
        ("skipped", "", 0, "second tries: none"),
        ("late or sound", "", 1, f"  {LATE}: passed then: NOT EXPLAINED"),
        ("late or sound", f"{LATE} # a slow machine", 0, f"  {LATE}: passed then: a slow machine"),
        ("late or broken", f"{LATE} # a slow machine", 1, "  test_it.py::test_broken: failed twice"),
        ("broken", "test_it.py::test_broken # none", 1, "1 failed the first time, 1 of them the second time too"),
        ("nothing", "", 5, "pytest ended with code 5"),
    ],
)
def test_a_second_try(
    selected: str, reason: str, code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "list.txt").write_text(f"# explained\n{reason}\n")
    assert run(["-q", "-k", selected], tmp_path / "list.txt", tmp_path) == code
    assert says in capsys.readouterr().out
    if "sound" in selected:
        assert (tmp_path / "sound").read_text() == "x", "what passed is not run again"


def test_a_test_that_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("import nothing_of_this_name\n")
    (tmp_path / "list.txt").touch()
    assert run(["-q"], tmp_path / "list.txt", tmp_path) != 0


def test_each_on_the_list_says_why(tmp_path: Path) -> None:
    assert len(explained(LIST)) <= 3, "a short list"
    (tmp_path / "list.txt").write_text(LATE)
    with pytest.raises(ValueError, match="say why"):
        explained(tmp_path / "list.txt")
