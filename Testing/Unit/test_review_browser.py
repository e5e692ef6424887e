"""The review page in a real browser: it opens, sorts, filters, and runs nothing that came from a file."""

from __future__ import annotations

import pytest

from ReShapeITLib.cli.main import main
from Testing.browser import open_browser
from Testing.review_files import ISLAND, ORGAN, box, write_case

EVIL = '<img src="x" onerror="document.title=\'owned\'">'


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """A page about four cases, one of them failed, in a folder."""
    folder = tmp_path_factory.mktemp("cohort")
    write_case(folder, "case2", ORGAN | ISLAND, ORGAN)
    write_case(folder, "case10", ORGAN, box(6, 20, 6, 16, 5, 15))
    write_case(folder, "same", organ=EVIL)
    write_case(folder, "gone")
    (folder / "gone.nrrd").unlink()
    assert main(["report", str(folder), "--output", str(folder / "page.html"), "--title", "Four cases"]) == 0
    return folder / "page.html"


@pytest.fixture(scope="module")
def page(cohort):
    """The page, opened from its file, with ``told``: what the console said, and what it asked for."""
    with open_browser() as browser:
        opened = browser.new_page(viewport={"width": 1280, "height": 900})
        opened.told = []
        opened.on("console", lambda message: opened.told.append(message.text))
        opened.on("pageerror", lambda error: opened.told.append(str(error)))
        opened.on("request", lambda request: opened.told.append(request.url) if "data:" not in request.url else None)
        opened.goto(cohort.as_uri())
        yield opened


@pytest.fixture(autouse=True)
def as_loaded(page):
    """Every test starts from the page as it opens."""
    page.reload()
    page.told.clear()


def shown(page) -> list[str]:
    """Names of the visible rows, from above."""
    return [row.locator("td").nth(1).inner_text() for row in page.locator("#cases tbody tr:visible").all()]


def sort_by(page, name: str) -> None:
    page.locator("#cases th button").get_by_text(name, exact=True).click()


def test_it_opens_with_the_worst_first_and_all_pictures_drawn(page):
    assert page.title() == "Four cases" and shown(page) == ["gone", "case10", "case2", "same"]
    widths = page.evaluate("Array.from(document.images, (image) => image.complete ? image.naturalWidth : 0)")
    assert len(widths) == 9 and min(widths) > 50  # three cases: thumbnail, surfaces, slices


def test_a_click_on_a_heading_sorts_and_another_turns_the_order(page):
    sort_by(page, "before mL")
    volumes = [float(cell) for cell in page.locator("#cases tbody td:nth-child(5)").all_inner_texts()]
    assert volumes == sorted(volumes) and volumes[-1] > volumes[0]
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("before mL")
    sort_by(page, "before mL")
    assert shown(page)[0] == "case2" and page.locator("th[aria-sort=descending]").count() == 1


def test_names_sort_as_people_count_and_missing_numbers_come_last_either_way(page):
    sort_by(page, "case")
    assert shown(page) == ["case2", "case10", "gone", "same"]
    sort_by(page, "furthest voxel mm")
    assert shown(page)[-1] == "gone" and shown(page)[0] == "same"
    sort_by(page, "furthest voxel mm")
    assert shown(page)[-1] == "gone" and shown(page)[0] == "case2"


def test_the_filter_looks_at_words_and_status(page):
    page.locator("#words").fill("CASE1")
    assert shown(page) == ["case10"] and page.locator("#shown").inner_text() == "1 of 4 shown"
    page.locator("#words").fill("")
    page.locator("#status").select_option("failed")
    assert shown(page) == ["gone"]
    page.locator("#status").select_option("")
    assert len(shown(page)) == 4


def test_a_case_leads_to_its_section(page):
    page.get_by_role("link", name="case2", exact=True).click()
    heading = page.locator("section:target h2")
    assert heading.inner_text().startswith("case2") and heading.bounding_box()["y"] < 900


def test_what_stands_in_a_file_is_shown_and_not_run(page):
    assert EVIL in page.locator("#cases").inner_text()
    with page.expect_console_message(lambda told: "Content Security Policy" in told.text):
        page.evaluate("document.body.insertAdjacentHTML('beforeend', `<img src=x onerror=\"document.title='owned'\">`)")
    assert page.title() == "Four cases"  # even a text that got through unescaped would not run
    assert any("Content Security Policy" in text for text in page.told)


def test_it_asks_for_nothing_outside_itself_and_complains_of_nothing(page, cohort):
    page.reload(wait_until="networkidle")
    assert page.told == [cohort.as_uri()]


def test_a_case_without_a_result_shows_no_empty_measures(page, cohort):
    gone = page.locator("section").filter(has=page.locator("h2", has_text="gone"))
    assert gone.locator(".trouble").count() and "–" not in gone.locator(".facts").inner_text()
    done = page.locator("section").filter(has=page.locator("h2", has_text="case2"))
    assert "added, removed" in done.locator(".facts").inner_text()
