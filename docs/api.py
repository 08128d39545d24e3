"Entries of public symbols: signature, docstring, parameters. Words come from the source, meanings from its docments."
from importlib import import_module
import ast, inspect, textwrap

from docs.books import Book, defined, members
from docs.markdown import Writer, code, option, table


def annotation(node:ast.expr|None)->str:
    "A type as it is written, without the quotes of a name that comes later."
    return '' if node is None else node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ast.unparse(node)

def kind(text:str)->str: return code(text.replace(' | ', '|'))

def parameters(node:ast.FunctionDef, method:bool=False)->dict[str,tuple[str,str]]:
    "Parameters of a function with type and default; those of a method without the first."
    a = node.args
    many = [*a.posonlyargs, *a.args]
    defaults = [None]*(len(many)-len(a.defaults))+a.defaults
    given = [*zip(many, defaults, strict=True)][1 if method else 0:]
    if a.vararg: given.append((a.vararg, None))
    given += zip(a.kwonlyargs, a.kw_defaults, strict=True)
    if a.kwarg: given.append((a.kwarg, None))
    return {p.arg: (annotation(p.annotation), '' if d is None else ast.unparse(d)) for p,d in given}

class Qualified(ast.NodeTransformer):
    "Types with the full names of those that have a page, so that Sphinx links the right one; it shows the last part."
    def __init__(self, full:dict[str,str]): self.full = full
    def visit_Name(self, node): return ast.parse(self.full.get(node.id, node.id), mode='eval').body
    def text(self, words:str)->str: return ast.unparse(self.visit(ast.parse(words, mode='eval'))) if words else ''

def signature(node:ast.FunctionDef, names:Qualified, method:bool=False)->str:
    "The words between the brackets, and what comes back."
    args = ast.parse(ast.unparse(node)).body[0].args
    if method: del (args.posonlyargs or args.args)[0]
    for a in ast.walk(args):
        if isinstance(a, ast.arg) and a.annotation is not None:
            a.annotation = ast.parse(names.text(annotation(a.annotation)), mode='eval').body
    back = names.text(annotation(node.returns))
    return f'({ast.unparse(args)})'+(f' -> {back}' if back else '')

def fields(cls:type)->dict[str,tuple[str,str]]:
    "Annotated fields of a class and those it inherits, in order."
    found = {}
    for c in reversed(cls.__mro__):
        if not c.__module__.startswith('edmxl'): continue
        for n in ast.parse(textwrap.dedent(inspect.getsource(c))).body[0].body:
            if isinstance(n, ast.AnnAssign): found[n.target.id] = (annotation(n.annotation), ast.unparse(n.value) if n.value else '')
    return found

def is_record(cls:type)->bool: return hasattr(cls, '__dataclass_fields__') or hasattr(cls, '_fields')

def constructor(cls:type, node:ast.ClassDef, names:Qualified)->tuple[str,dict]:
    "Signature and parameters of a class."
    if is_record(cls):
        given = fields(cls)
        return '('+', '.join(f'{k}: {names.text(t)}'+(f' = {d}' if d else '') for k,(t,d) in given.items())+')',given
    init = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name=='__init__'), None)
    return (signature(init, names, True),parameters(init, True)) if init else ('',{})


class Entries:
    "Writes the entries of one book."
    def __init__(self, writer:Writer, book:Book):
        self.writer,self.book,self.module = writer,book,import_module(book.module)
        shelf = writer.shelf
        taken = {n: shelf.origin(f) for n,f in book.imports.items()}
        known = {n: f for n,f in taken.items() if f in shelf.at or f in shelf.modules}
        self.names = Qualified(known | {n: f'{book.module}.{n}' for n in book.symbols})

    def say(self, text:str|None)->str: return self.writer.words(' '.join((text or '').split()), self.book, self.book.path)

    def meanings(self, of, given:dict, back:str='')->str:
        "The table of parameters, if any of them has a meaning written beside it."
        from fastcore.docments import docments
        notes = docments(of, full=True)
        note = lambda k: self.say((notes.get(k) or {}).get('docment'))
        rows = [(code(k), kind(t), code(d) or '*required*', note(k)) for k,(t,d) in given.items()]
        if note('return'): rows.append(('*returns*', kind(back), '', note('return')))
        return '\n'+table(('parameter', 'type', 'default', 'meaning'), rows)+'\n' if any(r[-1] for r in rows) else ''

    def entry(self, name:str, node:ast.stmt)->str:
        "A directive of the Python domain, which Sphinx indexes, links and lists."
        if isinstance(node, ast.FunctionDef):
            return self.function(name, node, 'function', getattr(self.module, name))
        if isinstance(node, ast.ClassDef): return self.cls(name, node)
        return self.constant(name, node)

    def function(self, name:str, node:ast.FunctionDef, kind:str, of)->str:
        marks = [d.id for d in node.decorator_list if isinstance(d, ast.Name)]
        method = kind=='method'
        if method and {'property','cached_property'} & set(marks):
            back = annotation(node.returns)
            return f'::::{{py:property}} {name}\n'+option('type', back)+f'\n{self.say(ast.get_docstring(node))}\n::::\n'
        options = ''.join(f':{m}:\n' for m in ('staticmethod','classmethod') if m in marks)
        bound = method and 'staticmethod' not in marks
        body = self.say(ast.get_docstring(node))+'\n'+self.meanings(of, parameters(node, bound), annotation(node.returns))
        return f'::::{{py:{kind}}} {name}{signature(node, self.names, bound)}\n{options}\n{body}\n::::\n'

    def cls(self, name:str, node:ast.ClassDef)->str:
        of = getattr(self.module, name)
        words,given = constructor(of, node, self.names)
        kind = 'exception' if issubclass(of, Exception) else 'class'
        methods = [self.function(m.name, m, 'method', getattr(of, m.name)) for m in members(node)]
        body = self.say(ast.get_docstring(node))+'\n'+(self.meanings(of, given) if given else '')
        return f':::::{{py:{kind}}} {name}{words}\n\n{body}\n'+'\n'.join(methods)+'\n:::::\n'

    def constant(self, name:str, node:ast.stmt)->str:
        "Its value if it is short, and the comment on its line or the line above."
        value = ast.unparse(node.value) if node.value else ''
        if defined(node)!=[name]: value = repr(found) if isinstance(found := getattr(self.module, name), (int,float,str)) else ''
        kind = annotation(getattr(node, 'annotation', None))
        options = option('type', kind)+option('value', value if len(value)<90 else '')
        return f'::::{{py:data}} {name}\n{options}\n{self.say(self.remark(node))}\n::::\n'

    def remark(self, node:ast.stmt)->str:
        lines = self.source(node)
        on,above = lines[node.lineno-1:node.end_lineno],lines[node.lineno-2:node.lineno-1]
        if len(above)==1 and above[0].startswith('# '): return above[0][2:]
        after = on[0].rpartition(' # ')
        return after[2].strip() if after[1] and 'noqa' not in after[2] else ''

    def source(self, node:ast.stmt)->list[str]:
        "Lines of the cell that holds a statement."
        cells = [''.join(c['source']) for c in self.book.cells if c['cell_type']=='code']
        return next(s for s,(_,t) in zip(cells, self.book.trees, strict=True) if node in t.body).split('\n')

