"The command line reference, from the parser itself."
from contextlib import redirect_stdout, suppress
from io import StringIO
from unittest.mock import patch
import argparse, re

from docs.markdown import code, escaped, fence, table


def named(action:argparse.Action)->str:
    "An argument as it is typed."
    count = action.nargs if isinstance(action.nargs, int) else 1
    words = action.metavar if isinstance(action.metavar, tuple) else (action.metavar or action.dest.upper(),)*count
    value = '{'+','.join(map(str, action.choices))+'}' if action.choices else ' '.join(words)
    more = ' ...' if action.nargs=='+' else ''
    return f'{", ".join(action.option_strings)} {value}{more}'.strip()

def arguments(p:argparse.ArgumentParser)->str:
    "Table of arguments; those that must be given are marked."
    given = [a for a in p._actions if not isinstance(a, (argparse._SubParsersAction, argparse._HelpAction)) and a.dest!='debug']
    rows = [(code(named(a)), escaped(a.help or '')+(' *(required)*' if a.required and a.option_strings else '')) for a in given]
    return table(('argument', 'meaning'), rows) if rows else ''

def usage(p:argparse.ArgumentParser)->str:
    with patch.dict('os.environ', COLUMNS='88'): return re.sub('^(usage: | {7})', '', p.format_usage(), flags=re.M)

def below(p:argparse.ArgumentParser)->dict[str,argparse.ArgumentParser]:
    "Commands of a parser by name."
    return {k: v for a in p._actions if isinstance(a, argparse._SubParsersAction) for k,v in a.choices.items()}

def section(p:argparse.ArgumentParser, level:int)->list[str]:
    "A command with its usage and arguments, then those below it."
    said = escaped(p.description or '')
    parts = [f'{"#"*level} {p.prog}\n', said+'\n', fence(usage(p)), arguments(p)]
    return parts+[part for q in below(p).values() for part in section(q, level+1)]

def bench_help()->str:
    "What `edmxl bench --help` prints: a script of its own reads its arguments."
    from edmxl.workbench.command_line import main
    with patch.dict('os.environ', COLUMNS='100'), redirect_stdout(StringIO()) as said, suppress(SystemExit): main(['bench', '--help'])
    return said.getvalue()

def page()->str:
    from edmxl.workbench.command_line import parser
    top = parser()
    head = ['# Command line\n', escaped(top.description)+'\n', fence(usage(top)), arguments(top),
            'Every command takes `--help`, and `--debug`, which shows the traceback of an error. `python -m edmxl` is the same command.\n',
            table(('exit code', 'means'), [('0','done'), ('1','a failure while running'),
                  ('2','bad input: one message says what was expected, what came, what to do'),
                  ('130','interrupted; the same command goes on')])]
    parts = []
    for name,p in below(top).items():
        parts += section(p, 2) if name!='bench' else [f'## {p.prog}\n', escaped(p.description)+'\n', fence(bench_help())]
        if name=='run': parts.append('Each run has a page with its parameters: [Runs](/runs/index.md).\n')
    return '\n'.join(head+parts)
