"Reads settings.ini; a build copies run notebooks, benchmarks and demo models into the package, so that an installed wheel finds them."
from configparser import ConfigParser
from pathlib import Path
import shlex, shutil

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
ini = ConfigParser(delimiters=['='])
ini.read(HERE/'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']


class BuildWithRuns(build_py):
    "Copy `nbs/runs`, `bench` and `trained_models/demo` into the built package."
    def run(self):
        super().run()
        if self.editable_mode: return
        to = Path(self.build_lib)/cfg['lib_name']/'runs'
        to.mkdir(parents=True, exist_ok=True)
        for nb in sorted((HERE/'nbs'/'runs').glob('*.ipynb')): shutil.copy(nb, to/nb.name)
        (to := to.parent/'bench').mkdir(exist_ok=True)
        for f in sorted((HERE/'bench').glob('*.py')): shutil.copy(f, to/f.name)
        shutil.copytree(HERE/'trained_models'/'demo', to.parent/'demo_models', dirs_exist_ok=True)


extras = {k.removesuffix('_requirements'): shlex.split(cfg[k]) for k in cfg if k.endswith('_requirements')}
setup(
    name=cfg['lib_name'], version=cfg['version'], description=cfg['description'], keywords=cfg['keywords'],
    author=cfg['author'], author_email=cfg['author_email'], url=cfg['git_url'], license='MIT',
    long_description=(HERE/'README.md').read_text(encoding='utf-8') if (HERE/'README.md').exists() else '',
    long_description_content_type='text/markdown',
    packages=find_packages(include=['edmxl', 'edmxl.*']), python_requires=f'>={cfg["min_python"]}',
    install_requires=shlex.split(cfg['requirements']), extras_require=extras,
    cmdclass=dict(build_py=BuildWithRuns),
    entry_points=dict(console_scripts=shlex.split(cfg['console_scripts']), nbdev=[f'{cfg["lib_name"]}={cfg["lib_name"]}._modidx:d']),
)
