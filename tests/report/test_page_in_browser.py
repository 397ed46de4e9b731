"""The page is opened in a real browser: the figures are there, in both colour schemes, without the network."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

SCHEMES = {"light": 1, "dark": 0}
WIDTH, HEIGHT = 1200, 5200


class Drawings(HTMLParser):
    """Collects, for every <svg> of the parsed page, its data lines as points and its words."""

    def __init__(self):
        super().__init__()
        self.svgs, self.depth, self.line = [], 0, None

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        if tag == "svg":
            self.svgs.append({"lines": [], "text": "", "role": named.get("role")})
        if tag == "g":
            self.depth += 1
            if "data" in (named.get("class") or "").split():
                self.line = self.depth
        if tag == "path" and self.line is not None:
            self.svgs[-1]["lines"].append(np.array(re.findall(r"-?\d+\.?\d*", named["d"]), float).reshape(-1, 2))

    def handle_endtag(self, tag):
        if tag == "g":
            if self.line == self.depth:
                self.line = None
            self.depth -= 1

    def handle_data(self, data):
        if self.svgs:
            self.svgs[-1]["text"] += data


@pytest.fixture(scope="module")
def dom(chromium, page_path):
    return chromium("--dump-dom", page_path.as_uri())


@pytest.fixture(scope="module")
def shots(chromium, page_path, tmp_path_factory):
    """A picture of the page in each colour scheme, as (rows, columns, 3) from 0 to 255."""
    from matplotlib.image import imread

    pictures = {}
    for scheme, number in SCHEMES.items():
        picture = tmp_path_factory.mktemp("shot") / f"{scheme}.png"
        chromium(f"--window-size={WIDTH},{HEIGHT}", f"--blink-settings=preferredColorScheme={number}",
                 f"--screenshot={picture}", page_path.as_uri())  # fmt: skip
        pictures[scheme] = imread(picture)[..., :3] * 255
    return pictures


def test_every_figure_has_lines_that_span_its_plot(dom, report):
    drawings = Drawings()
    drawings.feed(dom)
    figures = [figure for section in report.sections for figure in section.figures]
    assert len(drawings.svgs) == len(figures) >= 5
    for figure, drawing in zip(figures, drawings.svgs, strict=True):
        assert drawing["role"] == "img"
        assert drawing["lines"], f"{figure.title} shows no data"
        points = np.concatenate(drawing["lines"])
        assert np.ptp(points[:, 0]) > 150 and np.ptp(points[:, 1]) > 50, f"{figure.title} is flat"
        assert figure.title in drawing["text"] and figure.description in drawing["text"]


def test_axis_labels_are_text_that_can_be_searched(dom):
    assert "r / nm" in dom and "angle / rad" in dom


def test_colours_are_those_of_the_page(dom):
    assert "var(--model)" in dom and "var(--reference)" in dom and "var(--rival)" in dom
    assert not re.search(r"#0[1-9]0[1-9]0[1-9]", dom)


def rgb(code):
    return np.array([int(code[k : k + 2], 16) for k in (1, 3, 5)])


def count(picture, colour, tolerance=24):
    return int((np.abs(picture - rgb(colour)).max(-1) < tolerance).sum())


@pytest.mark.parametrize(
    ("scheme", "page", "model", "rival"),
    [("light", "#f6f7f8", "#0072b2", "#d55e00"), ("dark", "#121518", "#56b4e9", "#f0944d")],
)
def test_curves_are_painted_in_both_schemes(shots, scheme, page, model, rival):
    picture = shots[scheme]
    assert np.abs(picture[5, 5] - rgb(page)).max() < 3
    assert count(picture, model) > 3000, "the model's curves are not to be seen"
    assert count(picture, rival) > 1000, "the rival's curves are not to be seen"


def test_what_is_drawn_stands_out_from_the_paper(shots):
    """Contrast of WCAG: 4.5 for text, 3 for what is drawn, against the paper of either scheme."""

    def luminance(code):
        c = rgb(code) / 255
        return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    def contrast(a, b):
        high, low = sorted((luminance(a), luminance(b)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    from importlib import resources

    style = (resources.files("meanforce.report") / "templates" / "page.css").read_text()
    light, dark = (dict(re.findall(r"--([a-z]+): (#\w{6})", block)) for block in style.split("@media", 2)[:2])
    for scheme in (light, dark):
        for text in ("ink", "muted", "agrees", "differs", "open"):
            assert contrast(scheme[text], scheme["surface"]) >= 4.5, text
        for drawn in ("reference", "model", "rival"):
            assert contrast(scheme[drawn], scheme["surface"]) >= 3, drawn


def test_nothing_is_fetched(page_path, dom):
    text = page_path.read_text()
    assert not re.search(r"""(?:src|href)=["'](?!#)""", re.sub(r'xlink:href="#', "", text).replace('href="#', ""))
    assert "<script" not in dom and "@import" not in text and "url(http" not in text


def test_a_hostile_recipe_stays_text(dom):
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in dom
