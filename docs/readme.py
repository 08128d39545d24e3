"Write README.md from nbs/index.ipynb; with --check only say whether it is in step (exit 1 if not)."
from pathlib import Path
import json, re, sys

ROOT = Path(__file__).parents[1]


def readme()->str:
    "Markdown cells with relative links as seen from here; code cells as blocks, without those marked `#| hide`."
    cells = json.loads((ROOT/'nbs'/'index.ipynb').read_text(encoding='utf-8'))['cells']
    parts = []
    for c in cells:
        text = ''.join(c['source']).strip()
        if c['cell_type']=='markdown': parts.append(re.sub(r'\]\((?!https?:|#)', '](nbs/', text).replace('](nbs/../', ']('))
        elif c['cell_type']=='code' and text and not text.startswith('#| hide'): parts.append(f'```python\n{text}\n```')
    return '<!-- Written by docs/readme.py from nbs/index.ipynb: edit the notebook. -->\n\n' + '\n\n'.join(parts) + '\n'


if __name__=='__main__':
    if '--check' in sys.argv: sys.exit((ROOT/'README.md').read_text(encoding='utf-8')!=readme())
    (ROOT/'README.md').write_text(readme(), encoding='utf-8')
