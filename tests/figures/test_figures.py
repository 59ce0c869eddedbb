"""Every figure in the documents is what the code draws today, and a well-formed picture."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from tests.figures.__main__ import FOLDER, main
from tests.figures.drawings import FIGURES
from tests.figures.svg import HEIGHT, WIDTH


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_a_figure_is_drawn_to_the_same_bytes_as_in_the_documents(name: str) -> None:
    drawn = FIGURES[name]()
    assert drawn == FIGURES[name]()
    assert (FOLDER / f"{name}.svg").read_text(encoding="utf-8") == drawn


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_a_figure_has_a_title_and_stays_in_its_frame(name: str) -> None:
    root = ET.fromstring(FIGURES[name]())
    svg = "{http://www.w3.org/2000/svg}"
    assert root.findtext(f"{svg}title")
    assert root.findtext(f"{svg}desc")
    for text in root.iter(f"{svg}text"):
        assert 0 <= float(text.attrib["x"]) <= WIDTH
        assert 0 <= float(text.attrib["y"]) <= HEIGHT
    assert "nan" not in FIGURES[name]()


def test_only_what_is_asked_for_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0
    assert main(["--wrong"]) == 2
    assert "--check" in capsys.readouterr().err
