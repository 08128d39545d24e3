"Words for figures: what matplotlib draws is noticed while it is drawn, since a picture does not tell afterwards."
from contextlib import contextmanager
from hashlib import sha256
from io import BytesIO
from unittest.mock import patch


def some(words:list[str], n:int=6)->str:
    "The first few, each once."
    found = list(dict.fromkeys(w for w in (' '.join(w.split()) for w in words) if w and w[0]!='_'))
    return '; '.join(found[:n])+(' …' if len(found)>n else '')

def scales(ax)->str:
    "What an axes shows against what."
    x,y = ax.get_xlabel(),ax.get_ylabel()
    return f'{y} against {x}' if x and y else x or y

def words(
    fig, # matplotlib figure
)->str:  # one line; may be empty
    "What a figure says by its titles, axes and legends."
    pictures = [ax for ax in fig.axes if ax.images and not ax.lines]
    said = [f'{len(pictures)} picture{"s"*(len(pictures)>1)}' if pictures else '',
            some([fig.get_suptitle(), *(ax.get_title() for ax in fig.axes)]), some([scales(ax) for ax in fig.axes])]
    labels = [t.get_text() for ax in fig.axes if ax.get_legend() for t in ax.get_legend().get_texts()]
    legend = some([*labels, *(t.get_text() for l in fig.legends for t in l.get_texts())], 10)
    return '. '.join(w for w in (*said, f'Legend: {legend}' if legend else '') if w)

def digest(png:bytes)->str: return sha256(png).hexdigest()

@contextmanager
def noticed():
    "A dictionary that fills with the words of all figures drawn to memory, by the digest of their bytes."
    from matplotlib.backend_bases import FigureCanvasBase
    found,draw = {},FigureCanvasBase.print_figure
    def print_figure(self, filename, *args, **kw):
        back = draw(self, filename, *args, **kw)
        if isinstance(filename, BytesIO): found[digest(filename.getvalue())] = words(self.figure)
        return back
    with patch.object(FigureCanvasBase, 'print_figure', print_figure): yield found
