"A notebook as a page: its prose, entries for what it exports with the source folded, its examples with what they showed."
from base64 import b64decode
from html import escape
import ast, re

from docs.api import Entries, fields, kind
from docs.books import Book, defined
from docs.markdown import Writer, address, code, fence, option, table
from docs.notebooks import NBS, ROOT, executed

WIDGET = 'application/vnd.jupyter.widget-view+json'


def plain(text:str)->str:
    "Markdown as words alone."
    text = re.sub(r'!?\[([^\]]*)\]\([^)]*\)', r'\1', text)
    return ' '.join(re.sub(r'[`*$\\]|^#+ |^> ?', '', text, flags=re.M).split())

def prose(text:str)->str:
    "Paragraphs of a markdown cell, without headings, tables, code and equations."
    kept = [l for l in re.sub(r'\$\$.*?\$\$', '', text, flags=re.S).split('\n') if not re.match(r'#|\||    |!\[', l)]
    return plain('\n'.join(kept))

def first_sentence(text:str)->str: return re.split(r'(?<=[.:?!])\s', prose(text)+' ', maxsplit=1)[0].strip().rstrip(':')

def alt_text(
    heading:str, # that the figure stands under
    before:str,  # markdown before the cell
    words:str,   # of the figure itself: titles, axes, legend
)->str:          # one line, never empty
    "What a figure shows: its heading, its own words, else the first sentence before it."
    said = words or first_sentence(before)
    if len(said)>300: said = said[:300].rsplit(' ', 1)[0]+' …'
    return '. '.join(w.rstrip('.') for w in (heading, said if said!=heading else '') if w)+'.'


class Page:
    "Writes the page of one book."
    def __init__(self, book:Book, writer:Writer, draft:bool=False):
        self.book,self.writer,self.draft = book,writer,draft
        self.entries = Entries(writer, book) if book.module else None
        self.heading,self.before,self.figures,self.parts = book.title,'',0,[]

    def text(self)->str:
        run = self.book.room=='runs'
        cells = self.book.cells if run else executed(self.book.path, self.draft)['cells']
        for c in cells:
            source = ''.join(c['source']).strip()
            if c['cell_type']=='markdown': self.prose(source)
            elif source and not re.match(r'#\|\s*(hide|default_exp)', source) and 'nbdev_export(' not in source: self.cell(c, source)
        return '\n'.join(self.parts)

    def prose(self, text:str):
        headings = re.findall(r'^#+ (.*)', text, re.M)
        if headings: self.heading = plain(headings[-1])
        words = self.writer.markdown(text, self.book.path, self.book)
        if not self.parts: words = self.opened(words)
        self.parts.append(words)
        self.before = text

    def opened(self, text:str)->str:
        "The first cell, with a line under the title and its sentence that says where all this stands."
        lines = text.split('\n')
        n = next((i for i,l in enumerate(lines) if i and l.strip() and not l.startswith('>')), len(lines))
        where = f'[{self.book.path.relative_to(ROOT)}]({address(self.book.path)})'
        module = f'Module {{py:mod}}`{self.book.module}`, exported from' if self.book.module else 'Notebook'
        declared = f'\n```{{py:module}} {self.book.module}\n```\n' if self.book.module else ''
        return '\n'.join([*lines[:n], '', '{.where}', f'{module} {where}', declared, *lines[n:]])

    def cell(self, c:dict, source:str):
        if source.startswith('#| export'): return self.exported(source)
        source = re.sub(r'^#\|.*\n?', '', source, flags=re.M)
        if 'parameters' in c['metadata'].get('tags', []): return self.parameters()
        self.parts.append(fence(source, 'python'))
        for o in c.get('outputs', []): self.output(o)

    def exported(self, source:str):
        "Entries of the public symbols of a cell, then all of the cell, folded."
        names = [n for t in [ast.parse(source)] for node in t.body for n in defined(node) if n in self.book.symbols]
        self.parts += [self.entries.entry(n, self.book.symbols[n]) for n in names]
        imports = all(isinstance(n, (ast.Import, ast.ImportFrom)) or defined(n)==['_all_'] for n in ast.parse(source).body)
        few = [f'<code>{n}</code>' for n in (names if len(names)<6 else [names[0], names[-1]])]
        what = 'Imports' if imports else 'Source of '+(', ' if len(names)<6 else ' … ').join(few) if names else 'Source of helpers'
        body = fence(re.sub(r'^#\|.*\n?', '', source, flags=re.M), 'python')
        self.parts.append(f'<details class="source"><summary>{what}</summary>\n\n{body}\n</details>\n')

    def parameters(self):
        "Parameters of a run, from the configuration that owns them, and the help of its command."
        from fastcore.docments import docments
        from edmxl.workbench.command_line import run_help
        from edmxl.workbench.configs import CONFIGS
        name = self.book.path.stem[3:]
        cls = CONFIGS[name]
        notes = docments(cls)
        say = lambda k: self.writer.words(notes.get(k) or '', self.book, self.book.path)
        rows = [(code(k), kind(t), code(d), say(k)) for k,(t,d) in fields(cls).items()]
        command = f'<summary><code>edmxl run {name} --help</code></summary>'
        self.parts += ['## Parameters\n', f'{self.writer.words(cls.__doc__, self.book, self.book.path)} '
                       'Give one with `-p KEY VALUE`, many with `-f params.yaml`.\n',
                       table(('parameter', 'type', 'default', 'meaning'), rows),
                       f'<details class="source">{command}\n\n{fence(run_help(name))}\n</details>\n']

    def output(self, o:dict):
        "What a cell showed; what it wrote to stderr (progress, warnings) is left out."
        if o['output_type']=='stream':
            if o['name']=='stdout': self.parts.append(shown(''.join(o['text'])))
            return
        data = {k: ''.join(v) if isinstance(v, list) else v for k,v in o.get('data', {}).items()}
        png,html,svg = data.get('image/png'),data.get('text/html'),data.get('image/svg+xml')
        if png or svg: self.parts.append(self.figure(png, svg, o.get('metadata') or {}))
        elif html and html.strip(): self.parts.append(raw(self.tidy(html)))
        elif 'text/markdown' in data: self.parts.append(self.writer.markdown(data['text/markdown'], self.book.path, self.book))
        elif WIDGET in data: self.parts.append(self.still())
        elif data.get('text/plain'): self.parts.append(shown(data['text/plain']))

    def figure(self, png:str|None, svg:str|None, about:dict)->str:
        self.figures += 1
        to = self.writer.source/'pictures'/f'{self.book.doc}_{self.figures}.{"svg" if svg and not png else "png"}'
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(b64decode(png) if png else svg.encode())
        width = about.get('image/png', {}).get('width')
        said = option('alt', alt_text(self.heading, self.before, about.get('words', '')))+option('width', f'{width}px' if width else '')
        return f'```{{image}} /{to.relative_to(self.writer.source)}\n{said}:class: figure\n```\n'

    def still(self)->str:
        "What can only move in Jupyter: its picture, if one is stored under the notebook's name."
        name = f'{self.book.path.stem[3:]}-desktop.webp'
        shown = f'![{alt_text(self.heading, self.before, "")}](../images/{name})\n\n' if (NBS/'images'/name).is_file() else ''
        return self.writer.markdown(f'{shown}*Interactive: open the notebook in Jupyter to move it.*\n', self.book.path)

    def tidy(self, html:str)->str:
        "A table of pandas without its own style; every picture in it with words instead of it."
        html = re.sub(r'<style scoped>.*?</style>|\s*border="1"|\s*style="text-align: right;"', '', html, flags=re.S)
        return re.sub(r'<img(?![^>]*\balt="[^"])', f'<img alt="{escape(alt_text(self.heading, self.before, ""), quote=True)}"', html)


def shown(text:str)->str:
    "Printed words: what a terminal would show in the end."
    text = re.sub(r'\x1b\[[0-9;]*[A-Za-z]', '', text)
    text = '\n'.join(l.rpartition('\r')[2] for l in text.replace('\r\n', '\n').split('\n'))
    ticks = fence(text)
    return ticks.replace('text\n', '{code-block} text\n:class: shown\n', 1) if text.strip() else ''

def raw(html:str)->str:
    return fence(f'<div class="shown" tabindex="0">\n{html}\n</div>', '{raw} html')
