"Notebooks as pages of a book: where each stands on the site, which symbols it defines, and what a name in its prose means."
from dataclasses import dataclass, fields
from functools import cached_property
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
import ast, json, re

from docs.notebooks import NBS, ROOT, hidden

ROOMS = dict( # in reading order: data pass through them one way
    data='label maps, phantom, readers, the dataset on disk, augmentation, new label maps',
    models='layers, SPADE, U-Nets, preconditioning, the Gamma autoencoder, latents, presets, weights',
    sampling='noise levels, solvers, guidance, generation of datasets',
    training='losses, averages, checkpoints, the loop, launching processes',
    downstream='segmentation and view classification',
    evaluation='overlap, clinical indices, statistics, fidelity, replicas, cost',
    workbench='plots, runs, studies, sweeps, reports, the command line')
GIVEN = (ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)


def defined(node:ast.stmt)->list[str]:
    "Names that a statement at the top of a module defines."
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)): return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]

def members(node:ast.stmt)->list[ast.FunctionDef]:
    "Methods of a class that a reader may call: public ones, `__call__`, and others that say what they do."
    if not isinstance(node, ast.ClassDef): return []
    return [n for n in node.body if isinstance(n, ast.FunctionDef)
            and (n.name[0]!='_' or n.name=='__call__' or n.name[:2]=='__' and n.name!='__init__' and ast.get_docstring(n))]


@dataclass(frozen=True)
class Book:
    "One notebook on the site."
    path:Path # of the notebook

    @cached_property
    def doc(self)->str:
        "Its page: the room and the name without its number."
        return str(self.path.relative_to(NBS).with_name(re.sub(r'^\d+_', '', self.path.stem)))
    @cached_property
    def room(self)->str: return self.doc.partition('/')[0]
    @cached_property
    def cells(self)->list[dict]: return json.loads(self.path.read_text(encoding='utf-8'))['cells']
    @cached_property
    def module(self)->str|None:
        "The module it exports."
        found = re.match(r'#\|\s*default_exp\s+(\S+)', ''.join(self.cells[0]['source']))
        return found and f'edmxl.{found[1]}'
    @cached_property
    def head(self)->list[str]: return ''.join(next(c for c in self.cells if c['cell_type']=='markdown')['source']).split('\n')
    @cached_property
    def title(self)->str: return self.head[0].lstrip('# ')
    @cached_property
    def summary(self)->str:
        "What the line under the title says, if it is a quotation."
        return next((l[1:].strip() for l in self.head[1:] if l.startswith('>')), '')

    @cached_property
    def trees(self)->list[tuple[bool,ast.Module]]:
        "Code cells that parse: whether they are exported, and what they say."
        sources = [''.join(c['source']) for c in self.cells if c['cell_type']=='code']
        return [(s.startswith('#| export'), ast.parse(re.sub(r'^[%!]', '#', s, flags=re.M))) for s in sources]
    @cached_property
    def symbols(self)->dict[str,ast.stmt]:
        "Public symbols that it defines itself."
        if not self.module: return {}
        public = import_module(self.module).__all__
        nodes = [n for exported,t in self.trees if exported for n in t.body if isinstance(n, GIVEN)]
        return {name: n for n in nodes for name in defined(n) if name in public}
    @cached_property
    def imports(self)->dict[str,str]:
        "Names that it takes from elsewhere in the package, with the place they are taken from."
        nodes = [n for _,t in self.trees for n in ast.walk(t) if isinstance(n, ast.ImportFrom) and (n.module or '').startswith('edmxl')]
        return {a.asname or a.name: f'{n.module}.{a.name}' for n in nodes for a in n.names}


class Shelf:
    "All books of a site, and the meaning of names in them."
    def __init__(self,
        books:list[Book], # in reading order
    ):
        from edmxl.workbench.configs import CONFIGS
        self.books = books
        self.at = {f'{b.module}.{name}': node for b in books for name,node in b.symbols.items()}
        self.modules = {b.module for b in books if b.module}
        self.places = {}
        for full in self.at: self.places.setdefault(full.rpartition('.')[2], []).append(full)
        self.words = {*CONFIGS, *(f.name for c in CONFIGS.values() for f in fields(c))} # mean runs and parameters first

    def origin(self, full:str)->str:
        "Where a name that one notebook may take from another is defined."
        module,_,name = full.rpartition('.')
        book = next((b for b in self.books if b.module==module), None)
        return self.origin(book.imports[name]) if full not in self.at and book and name in book.imports else full

    def of(self, room:str)->list[Book]: return [b for b in self.books if b.room==room]

    def full(self, text:str, book:Book|None)->str|None:
        "Full name of the public symbol that a word in backticks means, where that is beyond doubt."
        if not re.fullmatch(r'[A-Za-z_]\w*(\.\w+)*(\(\))?', text): return None
        text = text.removesuffix('()')
        if text.startswith('edmxl.'): return self._absolute(text)
        name,_,attribute = text.partition('.')
        found = self._place(name, book)
        if not attribute or not found: return found
        return f'{found}.{attribute}' if attribute in [m.name for m in members(self.at[found])] else None

    def _absolute(self, text:str)->str|None:
        "A name that is written out must exist, whether or not it has a page."
        try: resolve_name(text)
        except (AttributeError, ImportError): raise ValueError(f'`{text}` does not exist') from None
        return text if text in self.at or text in self.modules else self._only(text.rpartition('.')[2])

    def _place(self, name:str, book:Book|None)->str|None:
        if book and name in book.symbols: return f'{book.module}.{name}'
        if book and name in book.imports: return full if (full := self.origin(book.imports[name])) in self.at else self._only(name)
        return self._only(name) if name not in self.words and ('_' in name or name!=name.lower()) else None

    def _only(self, name:str)->str|None:
        found = self.places.get(name, [])
        return found[0] if len(found)==1 else None


def all_books()->list[Book]:
    "Every notebook but the home page: tutorials, runs, then the rooms, each by number."
    return [Book(p) for room in ('tutorials', 'runs', *ROOMS) for p in sorted((NBS/room).glob('*.ipynb')) if not hidden(p)]

def chosen(words:str)->list[Book]:
    "Books by name, for example \"sampling/20_solvers runs/40_generate\"; all where nothing is said."
    return [b for b in all_books() if not words or str(b.path.relative_to(NBS).with_suffix('')) in words.split()]

def repository()->str:
    "Address of the files of the branch."
    from configparser import ConfigParser
    ini = ConfigParser(delimiters=['='])
    ini.read(ROOT/'settings.ini', encoding='utf-8')
    return f'{ini["DEFAULT"]["git_url"]}/blob/{ini["DEFAULT"]["branch"]}'
