"""The documentation site, from notebooks, configurations and the command line:
    python -m docs.site [--out DIR] [--only "NOTEBOOK ..."] [--draft]
Notebooks that the tests have run are not run again."""
from pathlib import Path
import argparse, re, shutil, sys

from docs import commands
from docs.books import ROOMS, Book, Shelf, chosen
from docs.check import faults
from docs.markdown import Broken, Writer
from docs.notebooks import NBS, ROOT
from docs.pages import Page

RESULTS = ROOT/'bench'/'results'
LIBRARY = """# Library

The package is exported from literate notebooks, in rooms that data pass through one way. Each page is a notebook: why, the code with its
parameters, an example, a test that knows the answer. All symbols stand in the {ref}`index <genindex>`, all modules in
{ref}`theirs <modindex>`."""
RUNS = """Each is a notebook that a command fills in and executes: `edmxl run NAME`, or `edmxl study` for the whole chain. It writes a
folder with its results, its figures and a record of all that decided them."""


def tree(entries:list[str], hidden:bool=False)->str:
    "Pages below a page."
    return '```{toctree}\n:maxdepth: 1\n'+(':hidden:\n' if hidden else '')+'\n'+'\n'.join(entries)+'\n```\n'

def written(source:Path, doc:str, text:str):
    path = source/f'{doc}.md'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')

def listed(books:list[Book], writer:Writer)->str:
    "A line for each book: its title and what it says of itself."
    say = lambda b: b.summary or run_words(b)
    return '\n'.join(f'- [{b.title}](/{b.doc}.md)'+(f': {writer.words(say(b), b, b.path)}' if say(b) else '') for b in books)+'\n'

def run_words(book:Book)->str:
    from edmxl.workbench.configs import CONFIGS
    return CONFIGS[book.path.stem[3:]].__doc__ if book.room=='runs' else ''

def section(title:str, text:str, books:list[Book], writer:Writer)->str:
    return f'# {title}\n\n{text}\n\n{listed(books, writer)}\n{tree([f"/{b.doc}" for b in books], hidden=True)}'

def benchmark_pages()->dict[Path,str]:
    "Reports of measurements and their pages."
    reports = sorted(RESULTS.rglob('report.md'))
    pages = {p: 'benchmarks/'+'-'.join(p.parent.relative_to(RESULTS).parts) for p in reports}
    return pages | {ROOT/'bench'/'README.md': 'benchmarks/index'}

def titled(text:str, title:str)->str: return re.sub(r'^# .*', f'# {title}', text, count=1)

def benchmarks(source:Path, writer:Writer):
    pages = benchmark_pages()
    for p,doc in pages.items():
        text = writer.markdown(p.read_text(encoding='utf-8'), p)
        below = tree([f'/{d}' for d in pages.values() if d!=doc], hidden=True) if doc.endswith('index') else ''
        written(source, doc, (text if below else titled(text, p.parent.name.replace('-', ' ')))+'\n'+below)

def home(source:Path, writer:Writer):
    "The page that is also README.md, and the way to all others."
    book = Book(NBS/'index.ipynb')
    parts = [writer.markdown(''.join(c['source']), book.path, book) for c in book.cells if c['cell_type']=='markdown']
    below = tree(['/tutorials/index', '/runs/index', '/library', '/command_line', '/benchmarks/index', '/changelog'], hidden=True)
    written(source, 'index', '\n\n'.join(parts)+'\n\n'+below)

def sources(source:Path, books:list[Book], draft:bool):
    "Write what Sphinx reads."
    pages = {b.path: b.doc for b in books} | benchmark_pages() | {NBS/'index.ipynb': 'index', ROOT/'CHANGELOG.md': 'changelog'}
    writer = Writer(shelf := Shelf(books), pages, source)
    wrong = []
    for b in books:
        try: written(source, b.doc, Page(b, writer, draft).text())
        except Broken as e: wrong.append(str(e))
    if wrong: raise Broken('\n'.join(wrong))
    home(source, writer)
    benchmarks(source, writer)
    written(source, 'changelog', writer.markdown((ROOT/'CHANGELOG.md').read_text(encoding='utf-8'), ROOT/'CHANGELOG.md'))
    written(source, 'command_line', commands.page())
    written(source, 'tutorials/index', section('Tutorials', 'Worked stories, to read or to run.', shelf.of('tutorials'), writer))
    written(source, 'runs/index', section('Runs', RUNS, shelf.of('runs'), writer))
    library(source, shelf, writer)

def library(source:Path, shelf:Shelf, writer:Writer):
    "The rooms in reading order, each with its notebooks."
    words = {room: text[0].upper()+text[1:]+'.' for room,text in ROOMS.items()}
    for room,text in words.items():
        written(source, f'{room}/index', section(room.capitalize(), f'{text} Package `edmxl.{room}`.', shelf.of(room), writer))
    lines = '\n'.join(f'- [{room.capitalize()}](/{room}/index.md): {text}' for room,text in words.items())
    written(source, 'library', f'{LIBRARY}\n\n{lines}\n\n'+tree([f'/{r}/index' for r in ROOMS], hidden=True))



def build(
    out:Path,     # folder of the site; replaced
    only:str='',  # notebooks by name, for a quick look; all where empty
    draft:bool=False, # execute nothing: figures only where a kept copy has them
)->int:           # exit code
    "Write the pages, have Sphinx build them strictly, and check every link of the result."
    from sphinx.cmd.build import main
    work = ROOT/'.cache'/'site'/out.name # what Sphinx reads, for whoever wants to look a warning up
    shutil.rmtree(work, ignore_errors=True)
    try: sources(work/'source', chosen(only), draft)
    except Broken as e: print(e, file=sys.stderr); return 1
    shutil.rmtree(out, ignore_errors=True)
    code = main(['-b', 'html', '-W', '-n', '--keep-going', '-q', '-c', str(ROOT/'docs'), '-d', str(work/'trees'),
                 str(work/'source'), str(out)])
    wrong = [] if code else faults(out)
    print('\n'.join(wrong), file=sys.stderr) if wrong else None
    return code or bool(wrong)


if __name__=='__main__':
    p = argparse.ArgumentParser('python -m docs.site', description='Build the documentation site.')
    p.add_argument('--out', type=Path, default=ROOT/'_docs', help='folder of the site')
    p.add_argument('--only', default='', metavar='"NOTEBOOK ..."', help='notebooks to show, for example "sampling/20_solvers"; all without')
    p.add_argument('--draft', action='store_true', help='execute nothing: figures only where a test or an earlier build left them')
    a = p.parse_args()
    if not (code := build(a.out, a.only, a.draft)): print(f'{a.out/"index.html"} is ready')
    sys.exit(code)
