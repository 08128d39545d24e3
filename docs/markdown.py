"Markdown of the repository as markdown of the site: links that the build checks, names of symbols that lead to them."
from pathlib import Path
import json, re

from docs.books import Book, Shelf, repository
from docs.notebooks import ROOT

SHELL = ('edmxl', 'make', 'torchrun', 'tensorboard', 'python', 'python3.11', 'pip', '.venv/bin/pip', 'git')
INLINE = re.compile(r'(?P<code>`+[^`]+`+)|(?P<math>\$\$[^$]+\$\$|\$[^$\n]+\$)|(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)')


class Broken(Exception):
    "A link that leads nowhere."

def address(path:Path)->str: return f'{repository()}/{path.relative_to(ROOT)}'

def fence(text:str, language:str='text')->str:
    "A block of code, whatever it holds."
    ticks = '`'*max(3, 1+max((len(t) for t in re.findall('`+', text)), default=0))
    return f'{ticks}{language}\n{text.rstrip()}\n{ticks}\n'

def option(name:str, text:str)->str:
    "An option of a directive, or nothing; quoted, or MyST would read YAML in it."
    return f':{name}: {json.dumps(text, ensure_ascii=False)}\n' if text else ''

def escaped(text:str)->str:
    "Plain words as markdown that reads the same; what stands in backticks stays."
    parts = re.split(r'(`[^`]+`)', text)
    return ''.join(p.replace('|', r'\|') if i%2 else re.sub(r'([\\*_\[\]<>$#|~^{}])', r'\\\1', p) for i,p in enumerate(parts))

def row(*cells:str)->str: return '| '+' | '.join(' '.join(c.split()) for c in cells)+' |'

def table(head:tuple[str,...], rows:list[tuple[str,...]])->str:
    "A table of cells that are markdown already; its class is the first word of its head."
    return '\n'.join([f'{{.{head[0].split()[0]}}}', row(*head), row(*['---']*len(head)), *(row(*r) for r in rows)])+'\n'

def code(text:str)->str:
    "Text as code in a cell of a table."
    return '`'+text.replace('|', r'\|')+'`' if text else ''


def parts(text:str)->list[tuple[str,list[str]]]:
    "Lines in groups: prose, blocks between fences, and indented blocks, which begin after an empty line."
    found,last,fenced = [],'',False
    for line in text.split('\n'):
        mark = line.startswith('```')
        before = found[-1][0] if found else ''
        kind = 'fenced' if fenced or mark else 'prose'
        begins = line.startswith('    ') and line.strip() and not last.strip()
        goes_on = before=='indented' and (line.startswith('    ') or not line.strip())
        if kind=='prose' and (begins or goes_on): kind = 'indented'
        if kind==before: found[-1][1].append(line)
        else: found.append((kind, [line]))
        fenced,last = fenced!=mark,line
    return found


class Writer:
    "Rewrites the markdown of one file for the site."
    def __init__(self,
        shelf:Shelf,           # books of the site
        pages:dict[Path,str],  # file of the repository -> its page
        source:Path,           # folder of the site's sources: pictures are copied there
    ):
        self.shelf,self.pages,self.source = shelf,pages,source

    def markdown(self,
        text:str,            # of a cell or file
        file:Path,           # that it stands in
        book:Book|None=None, # the same as a book
    )->str:                  # for MyST
        "Blocks of code with their language; links and names outside of them."
        out = []
        for kind,lines in parts(text):
            said = '\n'.join(lines)
            if kind=='prose': said = self.prose(said, file, book)
            if kind=='indented': said = self.block('\n'.join(l[4:] for l in lines))
            out.append(said)
        return '\n'.join(out)

    def block(self, text:str)->str: return fence(text, 'bash' if text.split(maxsplit=1)[0] in SHELL else 'text')

    def prose(self, text:str, file:Path, book:Book|None)->str:
        "Lines outside of blocks; a heading keeps its words as they are."
        def change(m):
            if m['code']: return m[0] if text[:m.start()].rpartition('\n')[2].startswith('#') else self.name(m['code'], book, file)
            if m['math']: return m[0]
            if m['image']: return f'![{m["text"]}]({self.picture(m["text"], m["target"], file)})'
            return f'[{m["text"]}]({self.target(m["target"], file)})'
        return INLINE.sub(change, text)

    def name(self, span:str, book:Book|None, file:Path)->str:
        "A word in backticks as a reference to what it names."
        word = span.strip('`')
        try: full = self.shelf.full(word, book)
        except ValueError as e: raise Broken(f'{file.relative_to(ROOT)}: {e}') from None
        if full: return f'{{py:{"mod" if full in self.shelf.modules else "obj"}}}`{word} <{full}>`'
        path = ROOT/word
        return f'[{span}]({self.target(word, ROOT/"x")})' if re.fullmatch(r'nbs/[\w/]+\.ipynb', word) and path.exists() else span

    def words(self, text:str, book:Book|None, file:Path)->str:
        "A docstring or comment: plain words with names in backticks."
        def change(m): return self.name(m[0].replace(r'\|', '|'), book, file).replace('|', r'\|') if m['code'] else m[0]
        return INLINE.sub(change, escaped(text))

    def target(self, target:str, file:Path)->str:
        "Where a link leads on the site: a page, or a file of the repository; `Broken` where there is no such thing."
        if re.match(r'https?:|mailto:|#', target): return target
        path,_,anchor = target.partition('#')
        to = (file.parent/path).resolve()
        if to.suffix=='.html': to = to.with_suffix('.ipynb')
        anchor = f'#{anchor}' if anchor else ''
        if to in self.pages: return f'/{self.pages[to]}.md{anchor}'
        if not to.exists() or not to.is_relative_to(ROOT) or to.relative_to(ROOT).parts[0] in ('out', '.cache', '.venv', '_docs'):
            raise Broken(f'{file.relative_to(ROOT)} links to {target}, which the repository does not hold')
        return address(to)+anchor

    def picture(self, alt:str, target:str, file:Path)->str:
        "Address of a picture that is copied to the site."
        path = (file.parent/target).resolve()
        if not alt.strip(): raise Broken(f'{file.relative_to(ROOT)}: {target} has no alternative text')
        if not path.is_file(): raise Broken(f'{file.relative_to(ROOT)} shows {target}, which is not there')
        to = self.source/'pictures'/path.relative_to(ROOT)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(path.read_bytes())
        return f'/{to.relative_to(self.source)}'
