"The package is what the notebooks export, and the notebooks are clean."
import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

def tree(folder):
    files = (p for p in folder.rglob('*') if p.suffix in ('.py','.ipynb') and '.ipynb_checkpoints' not in p.parts)
    return {str(p.relative_to(folder)) for p in files}

def test_export_and_clean_change_nothing(tmp_path):
    for d in ('nbs','edmxl'):
        shutil.copytree(ROOT/d, tmp_path/d, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints', '.hyp*'))
    for f in ('settings.ini','setup.py','README.md'):
        if (ROOT/f).exists(): shutil.copy(ROOT/f, tmp_path/f)
    env = {k: v for k,v in os.environ.items() if k!='IN_TEST'} | dict(PYTHONPATH=str(tmp_path))
    for code in ('from nbdev.doclinks import nbdev_export; nbdev_export()',
                 'from nbdev.clean import nbdev_clean; nbdev_clean()'):
        p = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert p.returncode==0, p.stderr
    for d in ('nbs','edmxl'):
        assert tree(tmp_path/d)==tree(ROOT/d)
        changed = [f for f in sorted(tree(ROOT/d)) if not filecmp.cmp(ROOT/d/f, tmp_path/d/f, shallow=False)]
        assert not changed, f'{changed}: run nbdev_export and nbdev_clean'
