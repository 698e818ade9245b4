"""wend.reports.page and the pages made of it: escaped, readable, whole in one file."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_roles import TO_XYZ, linear

from wend.errors import InputError
from wend.evaluation.fixed_boxes import FixedBoxes
from wend.evaluation.per_image import score
from wend.evaluation.protocols import get_protocol
from wend.evaluation.scoring import score_all
from wend.reports.curve import Line, line_figure, read_curve, read_losses
from wend.reports.evaluation_page import evaluation_page
from wend.reports.figures import svg_text
from wend.reports.gallery import (
    Shown,
    by_truth,
    differing,
    disagreement,
    most_uncertain,
    spread_evenly,
)
from wend.reports.page import (
    Box,
    Figure,
    Figures,
    Gallery,
    Page,
    Section,
    Table,
    Tile,
    Words,
    render,
    write_page,
)
from wend.reports.roles import OURS, PSEUDO, ROLES, TRUTH
from wend.reports.words import verdict
from wend.run_files import read_advice
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
NASTY = "<script>alert(1)</script> \"a\" 'b' & ü\udcff"
VOID = {"meta", "link", "input", "img", "br", "hr"}


class Checked(HTMLParser):
    """Whether every element is closed, ids differ, and which addresses are named."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.addresses, self.images = [], [], [], []
        self.feed(text)
        assert not self.open
        assert len(set(self.ids)) == len(self.ids)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        assert tag != "script"
        if "id" in attributes:
            self.ids.append(attributes["id"])
        self.addresses += [attributes[k] for k in ("src", "href", "xlink:href") if k in attributes]
        if tag == "img":
            self.images.append(attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page():
    figure = Figure(
        "F", svg_text(line_figure({"a": line(3), NASTY: line(5)}, "x", "y"), "f1"), "alt"
    )
    uri = "data:image/jpeg;base64,AAAA"
    tile = Tile((20, 10), uri, [Box((1, 2, 8, 9), role) for role in ROLES], [NASTY], f"alt {NASTY}")
    absent = Tile((1, 1), "", [], ["x"], NASTY)
    table = Table(["name", "value"], [[NASTY, "1.5"], ["b", "–"]], NASTY, [NASTY], {1: NASTY})
    parts = [Words([NASTY]), table, Figures([figure]), Gallery("G", "m", [tile, absent])]
    sections = [Section(NASTY, parts), Section(NASTY, parts[:1])]
    roles = [(role, f"{role.title} {NASTY}") for role in ROLES]
    return Page(NASTY, NASTY, NASTY, NASTY, sections, [NASTY], roles)


def line(number):
    return Line(np.arange(number), np.arange(number) + 1.0)


def test_everything_is_escaped_and_well_formed(page):
    text = render(page)
    checked = Checked(text)
    assert "alert(1)</script>" not in text
    assert text.count("&lt;script&gt;") > 10
    assert all(a.startswith(("#", "data:")) for a in checked.addresses)
    assert not re.search(r"url\((?!#)|@import|https?://(?!www\.w3\.org)", text)
    links = {a[1:] for a in checked.addresses if a.startswith("#")}
    assert links <= set(checked.ids)
    (image,) = checked.images
    assert image["alt"].startswith("alt <script>")


def test_columns_of_numbers_stand_right():
    rows = [["a", "1.50", "1.0 – 2.0", "x"], ["b", "–", "0.1", "12"]]
    assert Table(["", "v", "interval", "z"], rows).numeric == [False, True, True, False]


def test_a_page_is_written_again_but_nothing_else_is_overwritten(tmp_path, page):
    path = tmp_path / "with space ü" / "report.html"
    for _ in range(2):
        write_page(path, page)
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    path.write_text("<html>my own notes</html>")
    with pytest.raises(InputError, match=r"report\.html: is no page of this program"):
        write_page(path, page)
    assert "my own" in path.read_text()
    with pytest.raises(InputError, match="is a folder"):
        write_page(tmp_path, page)


def contrast(first, second):
    low, high = sorted(TO_XYZ[1] @ linear(color) for color in (first, second))
    return (high + 0.05) / (low + 0.05)


def test_words_have_the_contrast_of_wcag_aa():
    style = (Path(__file__).parents[2] / "wend/reports/page.css").read_text()
    colors = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", style))
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # known to fail
    for ink in ("ink", "quiet", "accent"):
        for paper in ("paper", "wash"):
            assert contrast(colors[ink], colors[paper]) >= 4.5, (ink, paper)
    used = set(re.findall(r"(?<!-)color: ([^;}\s]+)", style)) - {"light"}
    assert used <= {f"var(--{name})" for name in ("ink", "quiet", "accent")}


# --- which images


def table(boxes, scores):
    return BoxTable.from_lists(boxes, scores)


@pytest.fixture
def photos(tmp_path):
    """Six images whose truth is 20, 20, 60, 60, and detections; the last file is not there."""
    boxes = [
        [[20, 20, 60, 60]],  # right
        [[22, 20, 60, 60], [0, 0, 10, 10]],  # right, a rival of 0.79 / 0.8
        [[20, 20, 40, 40]],  # a part
        [],
        [[70, 60, 90, 78]],  # elsewhere
        [[0, 0, 100, 80]],  # whole
    ]
    scores = [[0.9], [0.8, 0.79], [0.5], [], [0.95], [0.4]]
    pseudo = [
        [20, 20, 60, 60],
        [0, 0, 10, 10],
        [20, 20, 40, 40],
        [0, 0, 5, 5],
        [20, 20, 60, 60],
        None,
    ]
    records = []
    for i in range(6):
        path = tmp_path / f"ü '{i}\".png"
        if i != 5:
            Image.new("RGB", (100, 80), (90, 90 + i, 90)).save(path)
        known = [] if pseudo[i] is None else [pseudo[i]]
        records.append(
            ImageRecord(i, str(path), 100, 80, gt_boxes=[[20, 20, 60, 60]], pseudo_boxes=known)
        )
    return DataSet.from_records(records, "<script>"), table(boxes, scores)


def test_galleries_hold_what_their_titles_say(photos):
    data_set, detections = photos
    per_image = score(data_set, detections, get_protocol("original"))
    chosen = {choice.title: choice.images.tolist() for choice in by_truth(per_image)}
    assert chosen == {
        "Best of 2 hits": [0, 1],
        "Misses, none: 1 of 6 images": [3],
        "Misses, part: 1 of 6 images": [2],
        "Misses, whole: 1 of 6 images": [5],
        "Misses, place: 1 of 6 images": [4],
    }
    # the rival scores 0.79 of 0.8; with a threshold of 0.5 the part is nearer
    assert most_uncertain(detections, None).images.tolist() == [1]
    assert most_uncertain(detections, 0.5).images.tolist() == [2, 1, 5]
    assert most_uncertain(table([[[0, 0, 1, 1]]], [[0.3]]), None) is None
    # IoU 0 with scores 0.95 and 0.8; the third agrees, the fourth has no box
    disagreeing = disagreement(detections, data_set.pseudo_boxes)
    assert disagreeing.images.tolist() == [4, 1]
    assert disagreeing.title.endswith("2 of 4 images")
    assert spread_evenly(np.arange(6), 3).images[:3].tolist() == [0, 2, 5]
    assert disagreement(detections, BoxTable.empty(6)) is None


def test_of_several_runs_the_images_come_first_that_one_alone_hits(photos):
    data_set, detections = photos
    other = table([[[0, 0, 9, 9]], *([[[20, 20, 60, 60]]] * 5)], [[0.5]] * 6)
    scored = [score(data_set, each, get_protocol("original")) for each in (detections, other)]
    assert sorted(differing(scored)[:5].tolist()) == [0, 2, 3, 4, 5]
    assert differing(scored)[5] == 1


def test_tiles_show_boxes_at_their_places_and_say_what_cannot_be_shown(photos):
    data_set, detections = photos
    shown = Shown(data_set, [(OURS, detections)], None, 5)
    tile = shown.tile(1, "why")
    assert tile.size == (288, 230)
    truth, pseudo, further, best = tile.boxes  # 288 pixels show 100
    assert (truth.role, pseudo.role, further.role, best.role) == (TRUTH, PSEUDO, OURS, OURS)
    assert truth.corners == pytest.approx((57.6, 57.6, 172.8, 172.8))
    assert further.width < best.width
    assert tile.lines == ["score 0.800", "why", data_set.keys[1]]
    assert "1 true, 1 pseudo" in tile.alt
    (_, _, only) = Shown(data_set, [(OURS, detections)], 0.795, 5).tile(1).boxes
    assert only.corners == best.corners
    assert (
        Shown(data_set, [(OURS, detections)], 0.9, 5)
        .tile(2)
        .lines[0]
        .startswith("no box from 0.900 on (best 0.500)")
    )
    absent = shown.tile(5)
    assert absent.uri == ""
    assert "there is no" in absent.alt
    assert shown.there(np.array([5, 4, 3]), 2).tolist() == [4, 3]


def test_of_many_images_few_are_looked_for(photos, monkeypatch):
    data_set, _ = photos
    asked = []
    monkeypatch.setattr(Path, "is_file", lambda path: asked.append(path) and False)
    shown = Shown(data_set.take([0] * 50_000))
    assert not len(shown.there(np.arange(50_000), 6))
    assert len(asked) <= 60


# --- what is said


@pytest.mark.parametrize(
    ("right", "fixed_right", "said"),
    [(90, 10, ": better than"), (50, 50, ": NOT better than"), (10, 90, ": WORSE than")],
)
def test_the_sentence_is_honest(right, fixed_right, said):
    """Of 100 images the detector hits so many, a fixed box so many."""
    fixed = [0.0, 0.0, 0.5, 0.5]
    records, boxes = [], []
    for i in range(100):
        truth = [0, 0, 50, 50] if i < fixed_right else [50, 50, 100, 100]
        records.append(ImageRecord(i, "x", 100, 100, gt_boxes=[truth]))
        boxes.append([truth if i < right else [0, 90, 9, 99]])
    data_set = DataSet.from_records(records, "d")
    result = score_all(
        data_set,
        table(boxes, [[0.5]] * 100),
        [get_protocol("original")],
        [1],
        level=0.95,
        baseline=FixedBoxes.from_boxes([fixed], "f.json"),
    )["original"]
    sentence = verdict(result, "d")
    assert f"right in {right:.1f} % of 100 images" in sentence
    assert f"{said} one fixed box for all images ({fixed_right:.1f} %)" in sentence


# --- the files of a run


def test_losses_are_read_and_a_cut_off_end_is_said(tmp_path):
    path = tmp_path / "metrics.json"
    rows = [
        {"iteration": 19, "total_loss": 2.0, "loss_a": 1.5, "lr": 0.1, "time": 0.5},
        {"iteration": 39, "total_loss": 9.0, "loss_a": 9.0, "lr": 0.1, "time": 0.5},
        {"iteration": 39, "total_loss": 1.0, "loss_a": 0.5, "lr": 0.1, "time": 0.7},  # resumed
        {"iteration": 40, "original/gt_known_loc": 50.0},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    losses = read_losses(path)
    assert set(losses.lines) == {"total_loss", "loss_a"}
    assert losses.lines["total_loss"].x.tolist() == [19, 39]
    assert losses.lines["loss_a"].y.tolist() == [1.5, 0.5]
    assert not losses.cut_off
    path.write_text(path.read_text() + '{"iterat')
    assert read_losses(path).cut_off
    path.write_text("nothing\n" + path.read_text())
    with pytest.raises(InputError, match=r"metrics\.json, line 1"):
        read_losses(path)


def test_a_long_curve_is_thinned_to_means(tmp_path):
    rows = [{"iteration": i, "total_loss": float(i % 2)} for i in range(4000)]
    (tmp_path / "m.json").write_text("\n".join(map(json.dumps, rows)))
    (thin,) = read_losses(tmp_path / "m.json").lines.values()
    assert len(thin.x) == 400
    np.testing.assert_allclose(thin.y, 0.5)


def test_a_damaged_curve_is_named(tmp_path):
    (tmp_path / "c.csv").write_text("iteration,epoch,dataset,protocol,metric,value\n1,1,d,p,m,x\n")
    with pytest.raises(InputError, match=r"c\.csv, line 2: expected columns"):
        read_curve(tmp_path / "c.csv")


@pytest.mark.parametrize(
    ("text", "said"),
    [("[1]", "an object, got"), ('{"min_score": "x"}', "expected a number min_score, got 'x'")],
)
def test_damaged_advice_is_named(tmp_path, text, said):
    (tmp_path / "advice.json").write_text(text)
    with pytest.raises(InputError, match=rf"advice\.json: .*{said}"):
        read_advice(tmp_path)


def test_advice_is_a_score(tmp_path):
    assert read_advice(tmp_path) == {}
    (tmp_path / "advice.json").write_text('{"min_score": 0.25, "how": "h"}')
    assert read_advice(tmp_path)["min_score"] == 0.25


# --- in a browser

MEASURE = """<!doctype html><title>m</title><body><script>
const sizes = [1280, 390], out = {};
let waiting = sizes.length;
for (const size of sizes) {
  const frame = document.createElement("iframe");
  frame.style.width = size + "px"; frame.style.height = "800px";
  frame.src = "%s";
  frame.onload = () => {
    const page = frame.contentDocument, root = page.documentElement;
    const box = page.querySelector(".legend input");
    const hidden = () => getComputedStyle(page.querySelector(".picture .role-1")).display;
    const before = hidden(); box.click();
    out[size] = {
      scroll: root.scrollWidth - root.clientWidth,
      images: [...page.images].map(image => image.naturalWidth),
      tiles: page.querySelectorAll(".tile").length,
      loaded: frame.contentWindow.performance.getEntriesByType("resource").map(e => e.name),
      headings: page.querySelectorAll("h2").length,
      toggled: [before, hidden()],
      outside: [...page.querySelectorAll("main *")].filter(
        e => e.getBoundingClientRect().right > root.clientWidth + 1 && !e.closest("svg")
          && getComputedStyle(e).position !== "absolute").length,
    };
    if (!--waiting) document.body.innerHTML = "<pre>" + JSON.stringify(out) + "</pre>";
  };
  document.body.append(frame);
}
</script>"""


def chromium(*words, folder):
    flags = (
        "--headless --no-sandbox --disable-gpu --enable-logging=stderr --virtual-time-budget=5000"
    )
    flags += " --disable-background-networking --disable-extensions --no-first-run"
    profile = f"--user-data-dir={folder / 'profile'}"
    done = subprocess.run(
        [str(CHROMIUM), *flags.split(), profile, *words],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="neither chromium nor google-chrome is installed")
def test_a_browser_shows_the_page_from_a_file_without_errors_or_requests(photos, tmp_path):
    data_set, detections = photos
    fixed = FixedBoxes.from_boxes([[0.1, 0.1, 0.6, 0.6]], "fixed.json")
    protocols = [get_protocol(name) for name in ("original", "wsoleval-v2")]
    scores = score_all(data_set, detections, protocols, [1, 5], level=0.95, baseline=fixed)
    name = "a very_long_name_" + "x" * 120 + ".json"
    page = evaluation_page(name, scores, located=data_set, notes=["n" * 300])
    written = write_page(tmp_path / "pa ge ü.html", page)
    shot = tmp_path / "shot.png"
    window = "--window-size=1280,2000"
    done = chromium(f"--screenshot={shot}", window, written.as_uri(), folder=tmp_path)
    assert "CONSOLE" not in done.stderr
    picture = np.asarray(Image.open(shot).convert("RGB"))
    assert picture.shape == (2000, 1280, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    measure = tmp_path / "measure.html"
    measure.write_text(MEASURE % written.as_uri())
    done = chromium(
        "--allow-file-access-from-files", "--dump-dom", measure.as_uri(), folder=tmp_path
    )
    measured = json.loads(re.search(r"<pre>(.*)</pre>", done.stdout)[1])
    for size in ("1280", "390"):
        numbers = measured[size]
        assert numbers["scroll"] == 0, size
        assert numbers["outside"] == 0, size
        assert min(numbers["images"]) == 288
        assert all(name.startswith("data:") for name in numbers["loaded"])
        assert numbers["tiles"] > 5
        assert numbers["headings"] == 3
        assert numbers["toggled"] == ["inline", "none"]
