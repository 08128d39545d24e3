"Datasets and runs browsed in a real browser: what is shown is what the plain functions give, by mouse and by keyboard."
import json
import shutil
import time

import pytest
from browser import barriers, lab, shown_bytes, write_notebook  # noqa: F401

from edmxl.data.phantom import write_phantom
from edmxl.workbench.dataset_browser import described, matching, page_picture
from edmxl.workbench.path_pictures import quick_png
from edmxl.workbench.run_browser import find_runs, run_curves

NOTEBOOK = """
from edmxl.workbench.{0}_browser import {0}_browser
{0}_browser({1!r})
"""

@pytest.fixture(scope='module')
def ds(lab): return write_phantom(lab.folder/'echoes', 32, (3,1,2), 0, workers=1, progress=False)  # noqa: F811

def write_run(folder, name, level, **config):
    "A run as a training leaves it."
    (folder/name).mkdir(parents=True)
    about = dict(name='train_diffusion', config=config, inputs={}, metrics=dict(val_loss=level), cost=None, seed=0, seconds=100*level,
                 peak_memory_mb=512., device='cpu', finished='2026-01-02T03:04:05+00:00', versions={})
    (folder/name/'run.json').write_text(json.dumps(about))
    lines = (dict(step=t, steps=40, loss=level+1/t, seconds=t) | (dict(val_loss=level+2/t) if t%10==0 else {}) for t in range(1, 41))
    (folder/name/'metrics.jsonl').write_text(''.join(json.dumps(l)+'\n' for l in lines))

@pytest.fixture(scope='module')
def runs(lab):  # noqa: F811
    for name,level,lr in (('first', .3, .001), ('second', .1, .001), ('third', .2, .01)): write_run(lab.folder/'out', name, level, lr=lr)
    (lab.folder/'out'/'torn').mkdir()
    (lab.folder/'out'/'torn'/'run.json').write_text('{"name": "eval')
    return find_runs(lab.folder/'out')[0]

def opened(lab, kind, folder, selector):  # noqa: F811
    "A page with one browser in it."
    write_notebook(lab.folder/f'{kind}.ipynb', NOTEBOOK.format(kind, str(folder)))
    with lab.open(f'{kind}.ipynb') as page:
        page.wait_for_selector(selector, timeout=120_000)
        yield page

@pytest.fixture(scope='module')
def echoes(lab, ds): yield from opened(lab, 'dataset', ds.folder, 'img.edmxl-picture')  # noqa: F811

@pytest.fixture(scope='module')
def table(lab, runs): yield from opened(lab, 'run', lab.folder/'out', '.edmxl-table tbody input')  # noqa: F811

def shows(page, selector, wanted, seconds=90):
    "Wait until a picture has these bytes."
    end = time.monotonic()+seconds
    while shown_bytes(page, selector)!=wanted: assert time.monotonic()<end

def reads(page, selector, words, seconds=90):
    page.wait_for_function("([c, w]) => document.querySelector(c)?.innerText.includes(w)", arg=[selector, words], timeout=1000*seconds)

def pages(page, ds, index):
    shows(page, 'img.edmxl-picture', quick_png(page_picture(ds, index)))
    alt = described(ds, index, 'anatomy')
    page.wait_for_function("a => document.querySelector('img.edmxl-picture').alt === a", arg=alt)

def test_a_view_is_chosen_by_keyboard(echoes, ds):
    pages(echoes, ds, [*range(12)])
    menu = echoes.get_by_label('view', exact=True)
    menu.focus()
    for _ in range(2): echoes.keyboard.press('ArrowDown')
    reads(echoes, '.edmxl-count', 'images 1–12 of 12')
    pages(echoes, ds, matching(ds, view='4CH'))
    assert menu.evaluate('e => e === document.activeElement')            # the notebook did not take the key for itself
    for _ in range(2): echoes.keyboard.press('ArrowUp')
    reads(echoes, '.edmxl-count', 'images 1–12 of 24')

def test_pages_turn_by_button_and_by_keyboard(echoes, ds):
    echoes.get_by_role('button', name='next').click()
    reads(echoes, '.edmxl-count', 'images 13–24 of 24')
    pages(echoes, ds, [*range(12, 24)])
    assert echoes.get_by_role('button', name='next').is_disabled()
    echoes.get_by_role('slider', name='page').press('ArrowLeft')
    reads(echoes, '.edmxl-count', 'images 1–12 of 24')
    pages(echoes, ds, [*range(12)])

def test_a_patient_is_found_and_nobody_is_said(echoes, ds):
    echoes.get_by_label('patient').fill('0005')
    reads(echoes, '.edmxl-count', 'images 1–4 of 4')
    pages(echoes, ds, matching(ds, patient='0005'))
    echoes.get_by_label('patient').fill('nobody')
    reads(echoes, '.edmxl-count', 'No image matches.')
    echoes.get_by_label('patient').fill('')
    pages(echoes, ds, [*range(12)])

def order(page): return page.locator('.edmxl-table tr:visible:has(input) td:nth-child(2)').all_inner_texts()

def test_a_click_sorts_and_so_does_the_keyboard(table):
    assert order(table)==['first','second','third']
    head = table.get_by_role('columnheader', name='val_loss')
    head.get_by_role('button').click()
    assert order(table)==['second','third','first'] and head.get_attribute('aria-sort')=='ascending'
    table.keyboard.press('Enter')
    assert order(table)==['first','third','second'] and head.get_attribute('aria-sort')=='descending'
    assert 'torn' in table.locator('.edmxl-runs details').text_content()

def test_two_runs_are_ticked_and_their_curves_seen(table, runs):
    table.get_by_label('choose third').focus()
    table.keyboard.press('Space')
    table.get_by_label('choose first').check()
    shows(table, 'img.edmxl-curves', quick_png(run_curves([runs[0], runs[2]])))
    said = 'Curves of first, third by step: loss, val loss'
    table.wait_for_function("a => document.querySelector('img.edmxl-curves').alt === a", arg=said)
    assert table.get_by_role('row', name='lr').inner_text().split()==['lr','0.001','0.01']
    table.get_by_label('filter by name').fill('SEC')
    assert order(table)==['second'] and '1 of 3 runs, 2 chosen' in table.locator('.edmxl-runs').inner_text()
    table.get_by_label('filter by name').fill('')
    assert len(order(table))==3

def test_a_run_that_ends_meanwhile_is_found(table, lab):  # noqa: F811
    again = table.get_by_role('button', name='read again')
    table.get_by_label('choose second').check()
    table.get_by_label('filter by name').fill('four')
    write_run(lab.folder/'out', 'fourth', .4, lr=.001)
    try:
        again.focus()
        table.keyboard.press('Enter')
        reads(table, '.edmxl-runs', '1 of 4 runs')                      # filtered as before
        assert order(table)==['fourth'] and table.get_by_label('choose second').is_checked()
        assert again.evaluate('e => e === document.activeElement')
    finally: shutil.rmtree(lab.folder/'out'/'fourth')
    again.click()
    reads(table, '.edmxl-runs', '0 of 3 runs')
    table.get_by_label('filter by name').fill('')
    table.get_by_label('choose second').uncheck()

def test_no_barrier_is_serious_and_the_console_is_quiet(echoes, table):
    for page,selector in ((echoes, '.edmxl-dataset'), (table, '.edmxl-runs')):
        assert not (bad := barriers(page, within=selector)), bad
        assert not page.wrong
        with page.expect_event('pageerror'): page.evaluate("console.error('put in'); setTimeout(() => { throw Error('thrown') })")
        assert page.wrong[0].startswith('put in') and page.wrong[1:]==['thrown']        # and so is an error
        page.evaluate("c => document.querySelector(c).insertAdjacentHTML('beforeend', '<button></button>')", selector)
        assert [b[0] for b in barriers(page, within=selector)]==['button-name']  # a fault that is put in is found
