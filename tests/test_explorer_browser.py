"The sampler explorer in a real browser: what its sliders show is what the plain functions give."
import re
import time

import pytest
import torch
from browser import barriers, lab, shown_bytes, write_notebook  # noqa: F401

from edmxl.models.echo_model import EchoModel, save_echo_model
from edmxl.models.unet import UNetConfig
from edmxl.workbench.explorer import Scene, Trajectory, compared, frame_of, phantom_maps, python_call, readout, reference_of
from edmxl.workbench.path_pictures import quick_png
from edmxl.workbench.sampler_settings import Setting

NOTEBOOK = """
from edmxl.workbench.explorer_widget import explorer
explorer({!r})
"""

@pytest.fixture(scope='module')
def file(lab):  # noqa: F811
    "A network of random numbers, large enough to differ with every setting."
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cfg = UNetConfig(channels=16, mult=(1,2), blocks=1, heads=(0,2), middle_heads=2, spade_hidden=16, null_map=True, n_classes=2)
    model = EchoModel(cfg)
    for p in model.parameters(): torch.nn.init.normal_(p, std=.05)
    save_echo_model(lab.folder/'toy.safetensors', model, 16, licence='MIT')
    return str(lab.folder/'toy.safetensors')

@pytest.fixture(scope='module')
def page(lab, file):  # noqa: F811
    write_notebook(lab.folder/'explorer.ipynb', NOTEBOOK.format(file))
    with lab.open('explorer.ipynb') as page:
        says(page, 'Done.')
        yield page

def says(page, words, seconds=90):
    page.wait_for_function("w => document.querySelector('.edmxl-message')?.innerText.includes(w)", arg=words, timeout=1000*seconds)

def reads(page, name, value, seconds=60):
    "Wait until a read-out has a value."
    page.wait_for_function("([c, v]) => document.querySelector(c)?.innerText === v", arg=[f'.edmxl-{name}', value], timeout=1000*seconds)

def picture(page, name): return shown_bytes(page, f'img.edmxl-{name}')

def handle(page, field, which='-A'): return page.locator(f'.edmxl-{field}{which} .noUi-handle').first

def drawn(file, s, i=0):
    "What the plain functions give for label map `i`: trajectory, reference."
    scene = Scene(file, m := phantom_maps(16)[i], m.view)
    return Trajectory(scene, s).walked(),Trajectory(scene, reference_of(s)).walked().image

def shows(page, file, s, i=0):
    "The page shows this setting, to the last byte."
    t,end = drawn(file, s, i)
    said = readout(t, end)
    reads(page, 'NFE-A', said['NFE'])
    reads(page, 'distance-A', said['distance'])
    says(page, 'Done.')
    assert picture(page, 'board')==quick_png(compared(dict(A=t), dict(A=end), 2))
    assert page.locator('.edmxl-GFLOP-A').inner_text()==said['GFLOP'] and float(page.locator('.edmxl-seconds-A').inner_text())>=0
    return t

def test_it_starts_with_the_default(page, file): shows(page, file, Setting())

def test_a_slider_moved_by_keyboard(page, file):
    before = page.locator('img.edmxl-board').get_attribute('src')
    for _ in range(3): handle(page, 'steps').press('ArrowRight')
    t = shows(page, file, Setting(steps=13))
    assert page.locator('img.edmxl-board').get_attribute('src')!=before
    page.locator('.edmxl-at .noUi-handle').press('ArrowLeft')
    page.wait_for_function("() => document.querySelector('.edmxl-at .widget-readout').innerText==='12'")
    wanted,end = quick_png(frame_of(dict(A=t), 11)),time.monotonic()+20
    while picture(page, 'frame')!=wanted: assert time.monotonic()<end

def test_what_has_no_effect_is_grey(page, file):
    page.locator('.edmxl-solver-A select').select_option('unipc')
    shows(page, file, Setting('unipc', 13))
    assert page.locator('.edmxl-schedule-A select').is_disabled() and page.get_by_text('unipc is written for').is_visible()
    page.locator('.edmxl-solver-A select').select_option('heun')
    shows(page, file, Setting(steps=13))
    assert page.locator('.edmxl-schedule-A select').is_enabled()

def test_the_python_is_copied_and_makes_the_same_picture(page, file):
    page.get_by_role('button', name='Copy the Python of A').click()
    text = page.evaluate('navigator.clipboard.readText()')
    t,_ = drawn(file, Setting(steps=13))
    assert text==python_call(t.scene, t.setting)
    space = {}
    exec(text, space)
    assert (space['image']==t.image).all()

def test_a_long_sample_is_stopped_and_a_short_one_follows(page, file):
    handle(page, 'steps').press('End')
    says(page, 'Drawing A: 1000 steps')
    page.get_by_role('button', name='Stop').click()
    says(page, 'Stopped. A at step')
    said = page.locator('.edmxl-message').inner_text()
    n = int(re.search(r'step (\d+) of 1000', said)[1])
    assert 0<n<1000 and page.locator('.edmxl-NFE-A').inner_text()==str(2*n)
    shown = page.locator('img.edmxl-board').get_attribute('src')
    page.wait_for_timeout(700)
    assert page.locator('img.edmxl-board').get_attribute('src')==shown and page.locator('.edmxl-message').inner_text()==said
    handle(page, 'steps').press('Home')
    shows(page, file, Setting(steps=1))

def test_only_the_last_of_many_changes_is_drawn(page, file):
    page.evaluate("""() => {
        const read = () => document.querySelector('.edmxl-NFE-A')?.innerText
        window.NFE = new Set([read()])
        const look = new MutationObserver(() => window.NFE.add(read()))
        look.observe(document.querySelector('.edmxl-explorer'), { childList: true, subtree: true })
    }""")
    handle(page, 'steps').press('End')
    says(page, 'Drawing A: 1000 steps')
    for _ in range(3): page.keyboard.press('ArrowLeft')                  # 500, 300, 200 steps
    handle(page, 'steps').press('Home')
    shows(page, file, Setting(steps=1))
    ended = {n for n in page.evaluate('[...window.NFE]') if int(n)%2}    # a path of Heun takes 2 n - 1 evaluations, a part of it 2 n
    assert ended=={'1'}
    for _ in range(9): page.keyboard.press('ArrowRight')
    shows(page, file, Setting(steps=10))

def test_another_label_map_brings_its_view(page, file):
    menu,view = page.get_by_label('Label map', exact=True),page.locator('.edmxl-view select')
    menu.focus()
    page.keyboard.press('ArrowDown')
    page.wait_for_function("() => document.querySelector('.edmxl-code-A').innerText.includes('# 4CH')")
    t = shows(page, file, Setting(), 1)
    assert view.input_value()==view.evaluate("e => [...e.options].find(o => o.text==='4CH').value")
    assert page.locator('.edmxl-code-A').inner_text().strip()==python_call(t.scene, t.setting).strip()
    page.keyboard.press('ArrowUp')
    page.wait_for_function("() => document.querySelector('.edmxl-code-A').innerText.includes('# 2CH')")
    shows(page, file, Setting())

def test_news_is_said_in_a_box_that_stays(page):
    box = page.locator('.edmxl-explorer .edmxl-message')
    assert box.get_attribute('role')=='status' and not box.locator('[role], [aria-live]').count()

def test_every_control_and_picture_has_a_name(page):
    names = [h.get_attribute('aria-label') for h in page.locator('.edmxl-explorer [role=slider]').all()]
    assert len(names)>=20 and all(names) and len(set(names))==len(names)
    assert all(i.get_attribute('alt') for i in page.locator('.edmxl-explorer img').all())
    assert page.locator('img.edmxl-film-A').is_visible() and page.locator('img.edmxl-film-B').is_hidden()

def test_in_a_narrow_window_pictures_go_below_the_controls(page):
    page.set_viewport_size(dict(width=700, height=1900))
    page.wait_for_function("""() => {
        const [all, board, tab] = ['.edmxl-explorer', 'img.edmxl-board', '.edmxl-explorer .widget-tab']
            .map(c => document.querySelector(c).getBoundingClientRect())
        return board.top>=tab.bottom && board.width>100 && board.right<=all.right+1 && tab.right<=all.right+1 }""")
    page.set_viewport_size(dict(width=1500, height=1900))

def test_two_settings_side_by_side(page, file):
    page.get_by_label('compare with B').check()
    (a,end),(b,_) = drawn(file, Setting()),drawn(file, Setting('dpmpp-2m'))
    reads(page, 'NFE-B', '10')
    reads(page, 'distance-B', readout(b, end)['distance'])
    says(page, 'Done.')
    assert picture(page, 'board')==quick_png(compared(dict(A=a, B=b), dict(A=end, B=end)))

def test_no_barrier_is_serious_and_the_console_is_quiet(page):
    assert not (bad := barriers(page, within='.edmxl-explorer')), bad
    assert not page.wrong
