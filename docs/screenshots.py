"""Pictures for README and site, into nbs/images: python -m docs.screenshots STUDY
Explorer and editor run in JupyterLab with the models that ship; the report is that of a finished study of phantoms; the site is what
`make docs` left in _docs."""
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
import sys

from PIL import Image

from docs.notebooks import NBS, ROOT

sys.path.insert(0, str(ROOT/'tests'))
from browser import Lab, chromium, jupyterlab, write_notebook

WIDTHS = dict(desktop=1400, phone=390) # of the window
TALLEST = dict(desktop=1100, phone=1200) # pixels
MODELS = 'from edmxl.workbench.demo_models import demo_model as of\n'
EXPLORER = MODELS+"from edmxl.workbench.explorer_widget import explorer\nexplorer({'phantom echoes': of('edm')})"
EDITOR = MODELS+"from edmxl.workbench.label_map_editor import editor\neditor(of('edm'), of('segmenter'))"


def keep(png:bytes, name:str, kind:str):
    "Store the upper part of a picture, small."
    image,path = Image.open(BytesIO(png)).convert('RGB'),NBS/'images'/f'{name}-{kind}.webp'
    image.crop((0, 0, image.width, min(image.height, TALLEST[kind]))).save(path, quality=50, method=6)
    size = path.stat().st_size
    print(f'{path.relative_to(ROOT)}: {size/1000:.0f} kB')
    if size>100_000: sys.exit('too large: 100 kB at most')

def compared(page):
    "Two settings side by side."
    page.get_by_label('compare with B').check()
    page.wait_for_selector('.edmxl-distance-B')
    page.wait_for_function("() => document.querySelector('.edmxl-message').innerText==='Done.'")

def widened(page):
    "A heart with a wider ventricle."
    page.wait_for_function("() => document.querySelector('.edmxl-status').textContent.startsWith('drawn in')")
    page.get_by_role('button', name='dilated LV').click()
    page.wait_for_function("() => !document.querySelector('.edmxl-undo').disabled")
    page.wait_for_function("() => document.querySelector('.edmxl-status').textContent.startsWith('drawn in')")

def widgets(browser):
    "Explorer and editor without JupyterLab's panels; the site shows them under the names of their notebooks."
    with TemporaryDirectory() as folder, jupyterlab(Path(folder)) as (url,token):
        lab = Lab(url, token, Path(folder), browser)
        for name,cell,place,do in (('explorer', EXPLORER, '.edmxl-explorer', compared),
                                   ('label_map_editor', EDITOR, '.edmxl-editor', widened)):
            write_notebook(lab.folder/f'{name}.ipynb', cell)
            for kind,width in WIDTHS.items():
                with lab.open(f'{name}.ipynb', width, 4000) as page:
                    page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")
                    page.set_default_timeout(300_000)
                    page.wait_for_selector(place)
                    do(page)
                    keep(page.locator(place).screenshot(), name, kind)

def pages(browser, **files):
    "The first screen of pages on disk."
    for name,file in files.items():
        for kind,width in WIDTHS.items():
            page = browser.new_page(viewport=dict(width=width, height=TALLEST[kind]))
            page.goto(file.resolve().as_uri())
            keep(page.screenshot(), name, kind)
            page.close()


if __name__=='__main__':
    if len(sys.argv)!=2: sys.exit(__doc__)
    with chromium() as browser:
        widgets(browser)
        pages(browser, report=Path(sys.argv[1], 'report', 'report.html'), site=ROOT/'_docs'/'index.html')
