"The report in a real browser: it asks for nothing, and every picture is there."
import json
import shutil

import pytest

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
         '--disable-component-update', '--disable-sync']

@pytest.fixture(params=[(1200,900), (390,844)], ids=['desktop','phone'])
def page(request):
    if not CHROMIUM: pytest.skip('no chromium on this machine (Debian: apt-get install chromium)')
    why = 'playwright is not installed (pip install -e ".[dev]")'
    playwright = pytest.importorskip('playwright.sync_api', reason=why)
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser.new_page(viewport=dict(width=request.param[0], height=request.param[1]))
        browser.close()

def test_report_stands_alone(tiny_study, page):
    asked,errors = [],[]
    page.on('request', lambda r: asked.append(r.url))
    page.on('requestfailed', lambda r: errors.append(r.url))
    page.on('console', lambda m: errors.append(m.text) if m.type=='error' else None)
    report = (tiny_study/'report'/'report.html').resolve().as_uri()
    page.goto(report)
    page.wait_for_load_state('networkidle')
    assert not errors
    assert [u for u in asked if not u.startswith('data:')]==[report]
    pictures = page.evaluate('Array.from(document.images, i => [i.complete, i.naturalWidth, i.alt])')
    assert len(pictures)>=8 and all(done and width>50 and alt for done,width,alt in pictures)
    # nothing sticks out, on a phone either
    assert page.evaluate('document.documentElement.scrollWidth <= window.innerWidth + 1')

def test_report_says_what_the_record_says(tiny_study, page):
    page.goto((tiny_study/'report'/'report.html').resolve().as_uri())
    text,study = page.inner_text('body'),json.loads((tiny_study/'study.json').read_text())
    for score in study['results'].values(): assert f'{score["dice"]["mean"]:.3f}' in text
    for stage in study['stages']: assert stage=='report' or stage in text
    assert 'edmxl study' in text and 'HD95 mean (mm)' in text
