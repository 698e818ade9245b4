"""The page of ``wend boxes audit``: what it asks, what it hides, and its script in a browser."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from test_page import CHROMIUM

from wend.audit import Evidence
from wend.audit.answers import read_answers
from wend.audit.design import draw_sample
from wend.audit.signals import columns
from wend.audit.suspicion import suspicion
from wend.audit.table import audit_digest, read_audit, write_audit
from wend.reports.audit_page import ASLANT, LARGER, SIDEWAYS, SMALLER, Audited, audit_page
from wend.reports.page import render, write_page
from wend.structures.box_table import BoxTable
from wend.structures.boxes import paired_iou
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

NASTY = "<script>alert(1)</script>&\"'.png"


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """Twelve boxes of eleven images, the truth known, two sources and a detector."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    records, boxes = [], []
    for number in range(11):
        path = folder / (f"{number}.png" if number else NASTY.replace("/", "-"))
        Image.fromarray(random.integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(path)
        records.append(ImageRecord(number, str(path), 80, 60, gt_boxes=[[1, 1, 79, 59]]))
        corner = random.uniform(0, 30, (1 + (number == 3), 2))
        boxes.append(np.concatenate([corner, corner + random.uniform(5, 30, corner.shape)], 1))
    data_set = DataSet.from_records(records, "photos")
    table = BoxTable.from_lists(boxes)
    others = BoxTable.from_lists([[[20, 20, 50, 50]]] * 11)
    predicted = BoxTable.from_lists([[[10, 20, 40, 50]]] * 11, [[0.7]] * 11)
    named = {"one": others, "two": others}
    evidence = Evidence(table, data_set.sizes, named, predicted, predicted)
    signals = columns(evidence)
    marks = suspicion(signals, 12)
    design = draw_sample(marks, 6)
    digest = audit_digest(data_set.keys, table, design)
    return Audited(data_set, evidence, signals, marks, design, digest, ["right", *[""] * 11])


def page_of(audited):
    return audit_page("my <boxes>", audited, 3, ["a limit"], "out")


def test_the_sample_is_asked_in_its_order_and_shows_no_signal(audited):
    text = render(page_of(audited))
    sample, most = text.split('<h2 id="most-suspicious">')
    asked = re.findall(r'class="question" data-box="(\d+)"', sample)
    assert list(map(int, asked)) == audited.design.sample.tolist()
    shown = re.findall(r'class="question" data-box="(\d+)"', most)
    assert list(map(int, shown)) == np.argsort(-audited.suspicion, kind="stable")[:3].tolist()
    roles = dict(re.findall(r'id="show-(\d+)".*?<span>(.*?)</span>', text))
    assert list(roles.values())[1:] == [
        "ruler: IoU 0.5 with the box, if centred",
        *("one", "two", "detector, best box thick", "detector, mirrored image"),
    ]
    tiles = sample.split('<figure class="tile">')[1:]
    assert all(set(re.findall(r"role-(\d+)", tile)) == {"1", "2"} for tile in tiles)
    assert "suspicion 0" not in sample.split("Is this box right?")[1]
    assert set(re.findall(r'class="role-(\d+)"', most)) == {"1", "3", "4", "5", "6"}
    assert "truth" not in roles.values()
    assert f'data-boxes="{" ".join(asked)}"' in text
    assert 'data-answer="right"' in text or 0 not in audited.design.sample


def test_the_script_alone_may_run_and_nothing_be_asked_for(audited):
    text = render(page_of(audited))
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', text)[1]
    assert re.fullmatch(
        r"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-.{44}'",
        policy,
    )
    assert text.count("<script>") == 1
    addresses = re.findall(r'(?:src|href)="(?!data:|#)([^"]*)"', text)
    assert not addresses
    script = text.split("<script>")[1].split("</script>")[0]
    assert not re.search(r"fetch|XMLHttp|import|WebSocket|sendBeacon|https?:", script)


def test_the_ruler_is_true():
    box = np.array([0.0, 0.0, 30.0, 20.0])
    centre, half = np.array([15, 10]), np.array([15, 10])
    for factor in (LARGER, SMALLER):
        other = np.concatenate([centre - factor * half, centre + factor * half])
        assert paired_iou(box, other) == pytest.approx(0.5)
    for x, y in ((SIDEWAYS, 0), (0, SIDEWAYS), (ASLANT, ASLANT)):
        assert paired_iou(box, box + np.array([30 * x, 20 * y] * 2)) == pytest.approx(0.5)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="neither chromium nor google-chrome is installed")
def test_answers_go_through_a_browser_into_the_estimate(audited, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    page_file = write_page(tmp_path / "an audit ü.html", page_of(audited))
    requests, problems = [], []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which(CHROMIUM), args=["--no-sandbox"]
        )
        page = browser.new_page(accept_downloads=True)
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(page_file.as_uri())
        questions = page.locator("#the-sample >> xpath=.. >> .question")
        words = ["right", "wrong", "unsure", "right", "wrong", "right"]
        for i, word in enumerate(words[:4]):
            questions.nth(i).get_by_text(word).click()
        questions.nth(3).locator("input").first.focus()
        for key in ("r", "w", "r"):  # the fourth again, and the last two
            page.keyboard.press(key)
        assert page.locator(".saving output").inner_text().startswith("6 of 6 answered")
        page.reload()  # kept
        with page.expect_download() as download:
            page.get_by_role("button", name="Save answers.json").click()
        saved = tmp_path / download.value.suggested_filename
        download.value.save_as(saved)
        browser.close()
    assert not problems
    assert all(url.startswith(("file:", "data:", "blob:")) for url in requests)
    assert saved.name == "answers.json"
    sample = audited.design.sample.tolist()
    write_audit(
        tmp_path,
        {"audit": audited.digest, "boxes": 12, "strata": audited.design.sizes.tolist()},
        audited.data_set.keys,
        audited.evidence.boxes,
        audited.data_set.sizes,
        audited.suspicion,
        audited.columns,
        audited.design,
        [""] * 12,
    )
    answers = read_answers(read_audit(tmp_path), [saved])
    assert [answers[box] for box in sample] == words
    extra = {box for box in range(12) if answers[box]} - set(sample)
    assert extra <= {0}  # what the page held already
    assert json.loads(saved.read_text())["audit"] == audited.digest
