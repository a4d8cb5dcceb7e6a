"""One visit: the page's own time, the same each time, and nothing of the machine."""

from __future__ import annotations

import pytest

from telechat.web.visit import Findings, Visit

from .pages import GAME, page


@pytest.fixture
def visiting(in_browser):
    """`visiting(html, do)` opens a page and awaits `do(visit)`."""

    def run(html, do):
        async def work(browser):
            async with Visit(browser, html, Findings()) as visit:
                return await do(visit)

        return in_browser(work)

    return run


def test_time_stands_still_and_goes_as_told(visiting):
    timers = page(
        "<script>window.log = []; const at = (what) => log.push([what, performance.now(), Date.now() % 1e6]);"
        "setTimeout(at, 100, 'once');"
        "const every = setInterval(() => { at('every'); if (log.length > 4) clearInterval(every); }, 40);"
        "requestAnimationFrame((t) => log.push(['frame', t])); const gone = setTimeout(at, 10, 'gone'); clearTimeout(gone);"
        "Promise.resolve().then(() => log.push(['micro', performance.now()]));</script>"
    )

    async def do(visit):
        before = await visit.run("log.length")
        await visit.advance(500)
        return before, await visit.run("log"), await visit.run("performance.now()")

    before, log, now = visiting(timers, do)
    assert (before, now) == (1, 500)
    assert [entry[:2] for entry in log] == [
        ["micro", 0], ["frame", pytest.approx(1000 / 60)], ["every", 40], ["every", 80], ["once", 100], ["every", 120],
    ]  # fmt: skip
    assert (log[2][2] - 40) % 1000 == 0


def test_two_visits_are_equal_to_the_pixel(visiting):
    async def play(visit):
        await visit.do(visit.page.click("#start"), "start")
        await visit.do(visit.page.keyboard.down("ArrowRight"), "key")
        await visit.advance(700)
        return await visit.look()

    first, second = visiting(GAME, play), visiting(GAME, play)
    assert first.state == second.state
    assert first.picture.tobytes() == second.picture.tobytes()


def test_animations_move_with_the_time(visiting):
    moving = page(
        "<style>@keyframes go { to { margin-left: 100px } } p { animation: go 1s linear forwards }</style><p id=p>x</p>"
        "<script>window.ended = 0; p.addEventListener('animationend', () => ended++)</script>"
    )

    async def do(visit):
        places = []
        for _ in range(4):
            places.append(await visit.run("parseFloat(getComputedStyle(p).marginLeft)"))
            await visit.advance(500)
        return places, await visit.run("ended")

    places, ended = visiting(moving, do)
    assert places == pytest.approx([0, 50, 100, 100], abs=2)
    assert ended == 1


def test_a_timer_that_never_rests_ends_the_visit(visiting):
    async def do(visit):
        await visit.advance(100_000)

    from telechat.web.visit import Broken

    with pytest.raises(Broken):
        visiting(page("<script>setInterval(() => {}, 0)</script>"), do)


def test_a_page_can_keep_things_and_sees_no_judge(visiting):
    async def do(visit):
        return await visit.run(
            "(localStorage.setItem('a', '1'), [localStorage.getItem('a'), isSecureContext, navigator.webdriver, "
            "/headless/i.test(navigator.userAgent), Object.keys(window).some((name) => /^_[0-9a-f]{16}$/.test(name))])"
        )

    assert visiting(page(""), do) == ["1", True, False, False, False]


def test_a_page_reads_no_file(visiting):
    async def do(visit):
        await visit.advance(1000)
        return [frame.url for frame in visit.page.frames]

    urls = visiting(page("<iframe src='file:///etc/hostname'></iframe>"), do)
    assert not any(url.startswith("file:") for url in urls)
