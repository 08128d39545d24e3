"The report in a real browser: it asks for nothing, sorts, prints, is legible at night and on a phone; what is missing is said."
import hashlib
import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from edmxl.workbench import report
from edmxl.workbench.command_line import parser
from edmxl.workbench.model_cards import untraced
from edmxl.workbench.page_style import Page, page_html
from edmxl.workbench.pages import Figure, Section, Table
from edmxl.workbench.plots import label_key, score_points
from edmxl.workbench.report import StudyFiles, write_report

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
         '--disable-component-update', '--disable-sync']
SIZES = [(1200,900), (390,844)]
ADDED = ['fidelity', 'replicas', 'mixing_curve', 'pareto']

@pytest.fixture(scope='module')
def browser():
    if not CHROMIUM: pytest.skip('no chromium on this machine (Debian: apt-get install chromium)')
    why = 'playwright is not installed (pip install -e ".[dev]")'
    playwright = pytest.importorskip('playwright.sync_api', reason=why)
    with playwright.sync_playwright() as p:
        b = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield b
        b.close()

@pytest.fixture
def page(browser, request):
    w,h = getattr(request, 'param', SIZES[0])
    p = browser.new_page(viewport=dict(width=w, height=h))
    yield p
    p.close()

each_size = pytest.mark.parametrize('page', SIZES, ids=['desktop','phone'], indirect=True)

def stand_in(folder):
    "What a section function gives, for a run with one number."
    r = json.loads((folder/'run.json').read_text())
    return Section(f'About {r["name"]}', f'It is {r["metrics"]["x"]:.3f}.',
        [Table(f'Numbers of {r["name"]}', ['what','x'], [['a', r['metrics']['x']], ['b', '0.52 [0.50, 0.53]'], ['c', None]]),
         Figure('A plot.', score_points({'real': dict(la=.5)}, {'real': dict(la=[.4,.6])}), False)], f'{r["name"]}/run.json',
        (f'{r["name"]} is worse.',) if r['name']=='mixing_curve' else ())

@pytest.fixture(scope='module')
def built(tiny_study, tmp_path_factory):
    "A whole study with runs of every kind, the sections of which are stand-ins."
    out = tmp_path_factory.mktemp('report')/'S'
    shutil.copytree(tiny_study, out, ignore=shutil.ignore_patterns('checkpoints','tensorboard','snapshots','report', 'fidelity',
                                                                   'replicas'))
    template = json.loads((out/'evaluate'/'run.json').read_text())
    for i,n in enumerate(ADDED):
        (out/n).mkdir()
        (out/n/'run.json').write_text(json.dumps(template | dict(name=n, metrics=dict(x=.5131+i/10, ends=[.52,.5,.53]), products=[])))
    return out

@pytest.fixture
def whole(built, tmp_path, monkeypatch):
    "A copy of it to break."
    module = ModuleType('stand_ins')
    module.section = stand_in
    monkeypatch.setitem(sys.modules, 'stand_ins', module)
    kept = {n: report.SECTIONS[n] for n in ('evaluate','generate')}
    monkeypatch.setattr(report, 'picture_rows', lambda rows,*_,**__: label_key()) # the real ones are in the study's own report
    monkeypatch.setattr(report, 'SECTIONS', dict.fromkeys(ADDED, None) | {n: (f'About {n}', 'stand_ins',
        'section') for n in ADDED} | kept)
    out = tmp_path/'S'
    shutil.copytree(built, out, copy_function=lambda a,b: Path(b).symlink_to(a) if Path(a).name!='run.json' else shutil.copy(a, b))
    return out

def written(study):
    said = write_report(study/'page.html', StudyFiles(study))
    return said,(study/'page.html').read_text()

def visible(html): return re.sub(r'<[^>]+>', ' ', re.sub(r'<(style|script|svg|pre|code)\b.*?</\1>', ' ', html, flags=re.S))

@each_size
def test_report_stands_alone(tiny_study, page):
    asked,errors = [],[]
    page.on('request', lambda r: asked.append(r.url))
    page.on('requestfailed', lambda r: errors.append(r.url))
    page.on('console', lambda m: errors.append(m.text) if m.type=='error' else None)
    address = (tiny_study/'report'/'report.html').resolve().as_uri()
    page.goto(address)
    page.wait_for_load_state('networkidle')
    assert not errors
    assert [u for u in asked if not u.startswith('data:')]==[address]
    pictures = page.evaluate('Array.from(document.images, i => [i.complete, i.naturalWidth, i.alt])')
    drawn = page.evaluate('Array.from(document.querySelectorAll("[role=img]"), d => '
                          '[d.firstElementChild.getBoundingClientRect().width>50, d.ariaLabel])')
    assert len(pictures)+len(drawn)>=8 and all(done and width>50 and alt for done,width,alt in pictures) and all(all(d) for d in drawn)
    # nothing sticks out, on a phone either
    assert page.evaluate('document.documentElement.scrollWidth <= window.innerWidth + 1')
    assert (tiny_study/'report'/'report.html').stat().st_size < 5e6

def test_report_says_what_the_record_says(tiny_study, page):
    page.goto((tiny_study/'report'/'report.html').resolve().as_uri())
    text,study = page.inner_text('body'),json.loads((tiny_study/'study.json').read_text())
    for score in study['results'].values(): assert f'{score["dice"]["mean"]:.3f}' in text
    for stage in study['stages']: assert stage=='report' or f'{stage}/run.json' in text
    assert 'edmxl study' in text and 'real test images' in text
    for n in ('header','nav','main','footer'): assert page.locator(n).count()==1
    labels = page.evaluate('Array.from(document.querySelectorAll("section"), s => '
                           'document.getElementById(s.getAttribute("aria-labelledby")).textContent)')
    assert labels[0]=='Real and synthetic echoes' and labels[-1]=='Sources'

def test_whole_study(whole):
    "Every record is a source with its checksum, no gap is claimed, and what is worse stands before everything."
    said,html = written(whole)
    assert said['missing']==[] and 'id="missing"' not in html and set(ADDED)<=set(said['records'])
    for n in said['records']:
        assert hashlib.sha256((whole/n/'run.json').read_bytes()).hexdigest() in html and f'id="source-{n}"' in html
    body = html[html.index('<main'):]
    assert body.index('mixing_curve is worse.')<body.index('class="card"')<body.index('<section')
    assert said['first']==['mixing_curve is worse.']
    links = set(re.findall(r'href="#([^"]+)"', re.sub(r'<svg.*?</svg>', '', html, flags=re.S)))
    assert links<=set(re.findall(r'id="([^"]+)"', html))
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids)==len(set(ids)) # also inside drawings

def test_every_number_is_in_a_record(whole):
    _,html = written(whole)
    records = [json.loads(p.read_text()) for p in whole.glob('*/run.json')]
    sources = [json.loads(p.read_text()) for p in whole.glob('*/*/dataset.json')] # whose words name the data
    ratio = re.search(r'a ratio of ([\d.]+\d)', html)
    text = re.sub(r'\b[0-9a-f]{12,}\b|SHA-256', ' ', visible(html))
    assert set(untraced(text, [*records, *([s['source'], s['licence']] for s in sources)]))<={ratio[1]}
    assert untraced(text.replace('test images', 'test images 0.98765'), records).count('0.98765')

@pytest.mark.parametrize('name', [*report.STAGES, 'mixing_curve', 'pareto'])
def test_a_missing_record_is_named(whole, name):
    (whole/name/'run.json').unlink()
    said,html = written(whole)
    assert said['missing']==[f'{name}/run.json'] and name not in said['records']
    box = html[html.index('id="missing"'):html.index('class="columns"')]
    assert f'<b>{name}/run.json</b>' in box and box.count('<li>')==1
    parts = re.split('<section ', html[html.index('class="body"'):])[1:]
    gone = [p for p in parts if 'box gone' in p]
    assert gone and all(f'<b>{name}/run.json</b>' in p for p in gone)         # in its place
    assert all(f'{n}/run.json' in html for n in said['records'])              # the rest stands
    command = re.search(r'<pre>(.*?)</pre>', box)[1].replace('&#39;', "'").replace('&#34;', '"')
    asked = parser().parse_args(shlex.split(command)[1:])
    assert (asked.name, Path(asked.out))==(name, whole/name)

def test_a_damaged_record_is_named(whole):
    (whole/'evaluate'/'run.json').write_text('{"name": "evaluate", ')
    said,html = written(whole)
    assert said['missing']==['evaluate/run.json'] and 'is not a valid record' in html

def test_a_record_of_another_version_does_not_take_the_page_with_it(whole):
    r = json.loads((whole/'pareto'/'run.json').read_text())
    (whole/'pareto'/'run.json').write_text(json.dumps(r | dict(metrics={})))
    said,html = written(whole)
    assert said['missing']==['pareto/run.json'] and 'KeyError' in html and 'About fidelity' in html

def test_without_its_images_a_study_still_tells_its_numbers(whole):
    shutil.rmtree(whole/'prepare'/'dataset')
    said,html = written(whole)
    assert said['missing'] and 'prepare/dataset' in html and 'About fidelity' in html

TABLE = Table('Scores', ['who','Dice','p','when','note'], [
    ['b', '0.92 [0.90, 0.93]', '< 0.001', '2026-11-02', 'x'], ['a', None, '0.040', '2026-10-30', None], ['c', '0.1 [0.0, 0.2]', None,
        None, 'w'],
    ['e10', 12.3456, 0.5, '2025-01-01', 'z'], ['e9', -3.25, '0.2', '2026-11-01', 'y']])

@pytest.fixture
def table(page, tmp_path):
    (tmp_path/'t.html').write_text(page_html(Page('T', 'H', 'A', [], [Section('S', 'A.', [TABLE], '')])), encoding='utf-8')
    page.goto((tmp_path/'t.html').as_uri())
    return page

def order(page): return page.evaluate('Array.from(document.querySelector("table.sorts").tBodies[0].rows, r => '
                                      'r.cells[0].textContent).join(" ")')
def said_order(page): return page.evaluate('Array.from(document.querySelectorAll("thead th"), h => '
                                           'h.getAttribute("aria-sort")).join(" ")')

@pytest.mark.parametrize('column,up,down', [('who','a b c e9 e10','e10 e9 c b a'), ('Dice','e9 c b e10 a','e10 b c e9 a'),
    ('p','b a e9 e10 c','e10 e9 a b c'), ('when','e10 a e9 b c','b e9 a e10 c'), ('note','c b e9 e10 a','e10 e9 b c a')])
def test_tables_sort_by_click(table, column, up, down):
    "Numbers as numbers, intervals by their value, words as words, dates by day, dashes last both ways."
    head = table.get_by_role('button', name=column)
    assert order(table)=='b a c e10 e9' and 'ascending' not in said_order(table)
    head.click()
    assert order(table)==up
    head.click()
    assert order(table)==down
    i = TABLE.head.index(column)
    assert said_order(table)==' '.join('descending' if k==i else 'none' for k in range(5))

@pytest.mark.parametrize('key', ['Enter','Space'])
def test_tables_sort_by_keyboard(table, key):
    while table.evaluate('document.activeElement.textContent')!='Dice': table.keyboard.press('Tab')
    table.keyboard.press(key)
    assert order(table)=='e9 c b e10 a' and said_order(table)=='none ascending none none none'

CONTRAST = '''() => {
  const parse = c => { const m = c.match(/[\\d.]+/g).map(Number); return m.length<4 ? [...m, 1] : m }
  const light = c => { const [r,g,b] = c.map(v => v/255)
    .map(v => v<=.04045 ? v/12.92 : ((v+.055)/1.055)**2.4); return .2126*r+.7152*g+.0722*b }
  const under = e => {
    for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3]>.99) return c.slice(0, 3) }
    return [255,255,255] }
  const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  while (walk.nextNode()) { const e = walk.currentNode.parentElement
    if (!walk.currentNode.textContent.trim() || !e.checkVisibility() || e.closest('svg,script,style')) continue
    const a = light(parse(getComputedStyle(e).color).slice(0, 3)), b = light(under(e))
    found.push([(Math.max(a,b)+.05)/(Math.min(a,b)+.05), walk.currentNode.textContent.trim().slice(0, 30)]) }
  return found }'''

@pytest.mark.parametrize('scheme', ['light','dark'])
def test_words_can_be_read_by_day_and_by_night(whole, page, scheme):
    (whole/'replicas'/'run.json').unlink() # so that every box is there
    written(whole)
    page.emulate_media(color_scheme=scheme)
    page.goto((whole/'page.html').as_uri())
    found = page.evaluate(CONTRAST)
    assert len(found)>100 and min(found)[0]>=4.5, min(found)
    paper = page.evaluate('getComputedStyle(document.body).backgroundColor')
    assert (paper=='rgb(255, 255, 255)')==(scheme=='light')
    line = page.evaluate('getComputedStyle(document.querySelector("figure svg")).fill') # drawings take the colour of the text
    assert line==page.evaluate('getComputedStyle(document.body).color')

def test_on_paper(whole, page):
    "Nothing is wider than the paper, no navigation, sections begin pages, tables are not cut, and the night does not print."
    written(whole)
    page.set_viewport_size(dict(width=680, height=980)) # A4 within its margins, at 96 dots an inch
    page.emulate_media(media='print', color_scheme='dark')
    page.goto((whole/'page.html').as_uri())
    assert page.evaluate('document.documentElement.scrollWidth')<=680
    wide = page.evaluate('Array.from(document.querySelectorAll("table,figure,.card,pre"), e => [e.getBoundingClientRect().right, '
                         'e.textContent.slice(0, 40)])')
    assert max(wide)[0]<=681, max(wide)
    assert not page.locator('nav').is_visible()
    assert page.evaluate('getComputedStyle(document.body).backgroundColor')=='rgb(255, 255, 255)'
    style = lambda of,what: set(page.evaluate(f'Array.from(document.querySelectorAll("{of}"), e => getComputedStyle(e).{what})'))
    assert style('table,figure,tr', 'breakInside')=={'avoid'} and style('section.new', 'breakBefore')=={'page'}
    pages = page.pdf(prefer_css_page_size=True).count(b'/Type /Page\n')
    assert pages>=page.locator('section.new').count()
