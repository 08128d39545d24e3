"The label-map editor in a real browser: a hand on the canvas, a keyboard, and what a person then sees."
import re

import pytest
from browser import barriers, lab, write_notebook # noqa: F401

CELL = '''
import torch
from edmxl.data.phantom import phantom_echo
from edmxl.downstream.segmentation import SegmenterConfig, segmenter
from edmxl.models.echo_model import EchoModel
from edmxl.models.unet import UNetConfig
from edmxl.workbench.label_map_editor import LabelMapEditor
torch.manual_seed(0)
net = EchoModel(UNetConfig(channels=16, mult=(1,2), blocks=1, heads=(0,2), middle_heads=2, spade_hidden=16, n_classes=2)).eval()
for p in net.parameters(): torch.nn.init.normal_(p, std=.05)
seg = segmenter(SegmenterConfig(widths=(8,16,24)), seed=3).eval()
LabelMapEditor(phantom_echo(1, '4CH', 'ED', 32), net, seg, 'edited', 'MIT')
'''

class Seen:
    "What a person sees of the editor in a page."
    def __init__(self, page, folder): self.page,self.folder = page,folder
    def at(self, name): return self.page.locator(f'.edmxl-{name}')
    def text(self, name): return self.at(name).inner_text()
    def ready(self):
        "Wait for the image of the map that is on the canvas."
        self.page.wait_for_function("() => document.querySelector('.edmxl-status')?.textContent.startsWith('drawn in')", timeout=120_000)
    def all(self):
        "Map, image, Dice."
        self.ready()
        pixels = self.page.evaluate("document.querySelector('.edmxl-map').toDataURL()")
        return pixels,self.at('image').get_attribute('src'),tuple(self.at('dice').all_inner_texts())
    def place(self, row, column, n=32):
        "Where a pixel of the map lies on the page."
        box = self.at('lines').bounding_box()
        return box['x'] + (column+.5)/n*box['width'],box['y'] + (row+.5)/n*box['height']
    def chosen(self): return map(float, re.findall(r'[\d.]+', self.text('where').split(':')[1]))
    def stroke(self, *places):
        "Press, move and release the mouse."
        mouse = self.page.mouse
        mouse.move(*self.place(*places[0])); mouse.down()
        for p in places[1:]: mouse.move(*self.place(*p), steps=6)
        mouse.up()
    def until_other(self, before):
        "Wait for a map other than `before`, and its image."
        self.page.wait_for_function("m => document.querySelector('.edmxl-map').toDataURL() !== m", arg=before[0], timeout=60_000)
        return self.all()

@pytest.fixture(scope='module')
def editor(lab): # noqa: F811
    write_notebook(lab.folder/'editor.ipynb', CELL)
    with lab.open('editor.ipynb') as page:
        seen = Seen(page, lab.folder)
        seen.ready()
        yield seen

def differ(a, b): return [x!=y for x,y in zip(a, b, strict=True)]

def test_a_drag_changes_map_image_and_dice_and_undo_restores_them(editor):
    before = editor.all()
    row,column = editor.chosen()
    editor.stroke((row,column), (row+5,column+1))
    after = editor.until_other(before)
    assert differ(before, after)==[True]*3
    editor.page.keyboard.press('Control+z')
    assert editor.until_other(after)==before
    editor.page.keyboard.press('Control+Shift+z')
    assert editor.until_other(before)==after
    editor.at('undo').click()
    assert editor.until_other(after)==before
    assert editor.page.evaluate("window.jupyterapp.shell.currentWidget.content.widgets.length")==1 # the notebook was left alone

def test_the_keyboard_moves_a_chosen_point(editor):
    before = editor.all()
    editor.at('lines').focus()
    for _ in range(8): editor.page.keyboard.press('.')
    assert editor.text('where').startswith('LV endo, point 9 of 32')
    for _ in range(3): editor.page.keyboard.press('ArrowLeft')
    after = editor.until_other(before)
    assert differ(before, after)[:2]==[True]*2
    for _ in range(3): editor.page.keyboard.press('Control+z')
    editor.page.wait_for_function("() => document.querySelector('.edmxl-undo').disabled")
    assert editor.all()==before

def test_a_finger_drags_too(editor):
    before = editor.all()
    x,y = editor.place(*editor.chosen())
    touch = editor.page.context.new_cdp_session(editor.page)
    def send(kind, *at): touch.send('Input.dispatchTouchEvent', dict(type=kind, touchPoints=[dict(x=a, y=b) for a,b in at]))
    send('touchStart', (x, y))
    for i in range(1, 6): send('touchMove', (x+12*i, y))
    send('touchEnd')
    after = editor.until_other(before)
    editor.at('undo').click()
    assert editor.until_other(after)==before

def test_paint_gives_a_hint_a_preset_takes_effect_and_save_writes_a_dataset(editor):
    from edmxl.data.dataset import EchoDataset
    before = editor.all()
    editor.page.get_by_label('paint', exact=True).check()
    editor.page.get_by_label('LV cavity').check()
    editor.stroke((26,4), (26,9))
    after = editor.until_other(before)
    assert 'The LV cavity is in several pieces.' in editor.at('hints').locator('li').all_inner_texts()
    editor.at('undo').click()
    assert editor.until_other(after)==before and not editor.at('hints').locator('li').all_inner_texts()
    area = editor.text('areas')
    editor.page.get_by_role('button', name='dilated LV').click()
    editor.until_other(before)
    assert editor.text('areas')!=area
    editor.page.evaluate("""() => { const at = document.querySelector('.edmxl-saved'); window.said = [];
        new MutationObserver(() => said.push(at.textContent)).observe(at, {childList: true}); }""")
    editor.at('save').click()
    editor.page.wait_for_function("() => document.querySelector('.edmxl-saved').textContent.includes('edit0000')", timeout=60_000)
    assert 'saving ...' in editor.page.evaluate('said')
    assert len(EchoDataset(editor.folder/'edited'))==1

def test_the_smallest_brush_marks_one_pixel_even_at_a_corner(editor):
    pixels = """() => { const map = document.querySelector('.edmxl-map'), n = 32, k = map.width/n, pen = map.getContext('2d');
        return [...Array(n*n).keys()].map(i => [...pen.getImageData((i%n+.5)*k, (Math.floor(i/n)+.5)*k, 1, 1).data].join()); }"""
    editor.page.get_by_label('paint', exact=True).check()
    editor.page.get_by_label('LV cavity').check()
    editor.page.get_by_label('brush').fill('0.5')
    before,was = editor.all(),editor.page.evaluate(pixels)
    editor.stroke((24.47,4.47))
    after = editor.until_other(before)
    assert [i for i,(a,b) in enumerate(zip(was, editor.page.evaluate(pixels), strict=True)) if a!=b]==[24*32+4]
    editor.at('undo').click()
    assert editor.until_other(after)==before
    editor.page.get_by_label('drag outlines', exact=True).check()

def test_arrow_keys_choose_a_tool(editor):
    drag,paint = (editor.page.get_by_label(name, exact=True) for name in ('drag outlines', 'paint'))
    drag.focus()
    editor.page.keyboard.press('ArrowDown')
    assert paint.is_checked()
    editor.page.keyboard.press('ArrowUp')
    assert drag.is_checked()

def test_no_barrier_is_serious_and_the_console_is_quiet(editor):
    assert not (bad := barriers(editor.page, within='.edmxl-editor')), bad
    assert not editor.page.wrong
