"Read the built site once more as a browser would: every internal link and its anchor, no other host, words for every picture."
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit
import sys

LOADS = dict(script='src', img='src', link='href', iframe='src', source='src', video='src', audio='src')
POINTERS = ('canonical', 'next', 'prev', 'index', 'search') # links in the head that load nothing


class Seen(HTMLParser):
    "What one page links to, loads and shows."
    def __init__(self):
        super().__init__()
        self.ids,self.links,self.loads,self.wordless = set(),[],[],[]

    def handle_starttag(self, tag, attributes):
        a = dict(attributes)
        if a.get('id'): self.ids.add(a['id'])
        if tag=='a' and a.get('href'): self.links.append(a['href'])
        if tag in LOADS and a.get(LOADS[tag]) and a.get('rel') not in POINTERS: self.loads.append(a[LOADS[tag]])
        if tag=='img' and not (a.get('alt') or '').strip(): self.wordless.append(a.get('src', '')[:80])


def foreign(url:str)->bool: return bool(urlsplit(url).netloc)

def faults(site:Path)->list[str]:
    "Everything that is wrong with a built site, one line each."
    seen,wrong = {},defaultdict(list)
    for p in (p for p in site.rglob('*.html') if '_static' not in p.parts):
        (s := Seen()).feed(p.read_text(encoding='utf-8'))
        seen[p.resolve()] = s
    for p,s in seen.items():
        name = p.relative_to(site.resolve())
        wrong[name] += [f'loads {u} from another host' for u in s.loads if foreign(u)]
        wrong[name] += [f'picture {u} has no alternative text' for u in s.wordless]
        for u in s.links+s.loads:
            part = urlsplit(u)
            if part.scheme or part.netloc: continue
            to = (p.parent/unquote(part.path)).resolve() if part.path else p
            if to.is_dir(): to = to/'index.html'
            if not to.is_file(): wrong[name].append(f'links to {u}, which is not there')
            elif part.fragment and to in seen and unquote(part.fragment) not in seen[to].ids:
                wrong[name].append(f'links to {u}: no such anchor')
    for p in site.rglob('*.css'):
        if any(w in p.read_text(encoding='utf-8') for w in ('url(http', 'url("http', '@import "http', '@import url(http', 'url(//')):
            wrong[p.relative_to(site)].append('loads from another host')
    return [f'{name}: {w}' for name,ws in wrong.items() for w in ws]


if __name__=='__main__':
    found = faults(Path(sys.argv[1]))
    print('\n'.join(found) or 'nothing wrong')
    sys.exit(bool(found))
