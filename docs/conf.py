"Settings of Sphinx."
from configparser import ConfigParser
from pathlib import Path
import sys

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
ini = ConfigParser(delimiters=['='])
ini.read(HERE.parent/'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']

project,author,copyright,release = cfg['title'],cfg['author'],cfg['copyright'],cfg['version']
language = 'en'
smartquotes = False # `--src` stays as it is typed
extensions = ['myst_parser', 'sphinx_copybutton', 'docs.extension']
exclude_patterns = ['pictures']
suppress_warnings = ['myst.header'] # an entry may end a section at any level

myst_enable_extensions = ['dollarmath', 'colon_fence', 'attrs_block']
myst_heading_anchors = 3
myst_dmath_double_inline = True
highlight_language = 'text'
python_use_unqualified_type_names = True
maximum_signature_line_length = 70
toc_object_entries_show_parents = 'hide'
add_module_names = False

html_theme = 'pydata_sphinx_theme'
html_title = project
html_baseurl = f'{cfg["doc_host"]}{cfg["doc_baseurl"]}/'
html_static_path = ['static']
templates_path = ['templates']
html_css_files = ['site.css']
html_favicon = 'static/favicon.svg'
html_math_renderer = 'mathml'
html_copy_source = html_show_sourcelink = False
html_show_sphinx = False
html_context = dict(default_mode='auto')
html_theme_options = dict(
    logo=dict(text=project), github_url=cfg['git_url'], header_links_before_dropdown=8, navigation_depth=3, show_toc_level=2,
    navbar_persistent=['search-button.html'], search_bar_text='Search', search_as_you_type=True, footer_start=['copyright'],
    footer_end=[], secondary_sidebar_items=['page-toc'])
html_sidebars = {'index': [], 'command_line': [], 'changelog': []}
copybutton_exclude = '.linenos, .gp, .go'
copybutton_selector = 'div.highlight-python pre, div.highlight-bash pre'
