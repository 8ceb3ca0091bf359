"""The documentation site, built from the repository's root:  sphinx-build -W -n -c docs . build/docs

The root is the source folder, so that a page's links lead to the same place here and on a code host: nothing is copied.
Nothing is fetched either, neither while it is built nor by a reader's browser.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # the extensions beside this file, and the package, installed or not

from site_extensions.sources import linkcode_resolve  # noqa: E402, F401  Sphinx looks for it here

import ca_numpy  # noqa: E402

project = "ca_numpy"
author = "The ca_numpy maintainers"
copyright = "The ca_numpy maintainers; MIT licence"
version = release = ca_numpy.__version__

root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "docs/api/*.md",
    "tutorials/README.md",
    "tutorials/[0-9]*.ipynb",
    "tutorials/kernels/*.md",
    "backends/README.md",
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
]
exclude_patterns = ["build", "dist", ".*", "**/.*", "runs", "scenes", "tests", "**/__pycache__", "*.egg-info"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.linkcode",
    "sphinx_copybutton",
    "site_extensions.docstrings",
    "site_extensions.mathml",
    "site_extensions.sources",
]

# Pages
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # tutorials/run.py has run the notebooks, and the tests compare their figures
suppress_warnings = ["mystnb.unknown_mime_type"]
smartquotes = False  # H' W' are sizes, and "same" is a string
highlight_language = "none"  # what is not said to be a language is a shell command or an equation

# Docstrings
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
# Types in signatures may be other packages' or without a page. What pages name in words, `ca_numpy.…`, must be there.
nitpick_ignore_regex = [("py:class", ".*"), ("py:obj", r"(?!ca_numpy\.).*")]

# HTML
html_theme = "furo"
html_title = "ca_numpy"
html_math_renderer = "mathml"
html_static_path = ["site_extensions/static"]
html_css_files = ["site.css"]
html_extra_path = ["site_extensions/extra"]
html_copy_source = False
html_show_sphinx = False
