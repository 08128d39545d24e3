"What Sphinx lacks: equations as MathML, which browsers draw without a script, and types of a signature as links where they are ours."
from pathlib import Path
import builtins, re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

SIDES = {**dict.fromkeys(('(', '[', r'\{', r'\langle', r'\lfloor'), 'l'), **dict.fromkeys((')', ']', r'\}', r'\rangle', r'\rfloor'), 'r')}
BIG = re.compile(r'\\(big|Big|bigg|Bigg)(?![a-zA-Z])\s*(\\[a-zA-Z]+|\\.|.)')


def mathml(tex:str, block:bool)->str:
    "LaTeX as MathML: docutils does it, after abbreviations that it does not know are written out."
    tex = BIG.sub(lambda m: f'\\{m[1]}{SIDES.get(m[2], "l")}{m[2]}', tex).replace(r'\textstyle', '')
    tex = re.sub(r'\\dots(?![a-zA-Z])', r'\\ldots', tex)
    return tex2mathml(re.sub(r'\\(t?frac)\s*(\d)\s*(\d)', r'\\\1{\2}{\3}', tex), as_block=block)

def written(translator, node, block:bool):
    try: found = mathml(node.astext(), block)
    except MathError as e:
        logging.getLogger(__name__).warning('equation cannot be drawn: %s (%s)', node.astext(), e, location=node)
        found = translator.encode(node.astext())
    translator.body.append(f'<div class="equation" tabindex="0">{found}</div>' if block else found)
    raise nodes.SkipNode

def inline(translator, node): written(translator, node, False)
def block(translator, node): written(translator, node, True)

def of_another_library(app, env, node, content):
    "A type in a signature that is not ours: plain words. All other names must be known."
    if node.get('refdomain')!='py' or node.get('reftype') not in ('class','exc','obj'): return None
    return content if node['reftype']!='obj' or node['reftarget'] in dir(builtins) else None

UNFOLD = re.compile(r'(<a [^>]*>)([^<]*)(</a>\s*<details[^>]*>\s*<summary)>')
LINES = re.compile(r'<dl>\s*((?:<dd>.*?</dd>\s*)+)</dl>', re.S)

def readable(html:str)->str:
    "What Sphinx and the theme leave without a name or a role: arrows that unfold pages, signatures of several lines."
    html = UNFOLD.sub(r'\1\2\3 aria-label="Pages of \2">', html)
    divs = lambda m: '<div class="sig-lines">'+m[1].replace('<dd>', '<div>').replace('</dd>', '</div>')+'</div>'
    return LINES.sub(divs, html)

def finished(app, error):
    if error: return
    for p in Path(app.outdir).rglob('*.html'):
        if '_static' not in p.parts: p.write_text(readable(p.read_text(encoding='utf-8')), encoding='utf-8')

def setup(app):
    app.add_html_math_renderer('mathml', (inline, None), (block, None))
    app.connect('missing-reference', of_another_library)
    app.connect('build-finished', finished)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
