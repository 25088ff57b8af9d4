"""Sphinx' settings for the site: `make site` builds it into build/site/."""

import os
import sys
from pathlib import Path

from convforge import __version__
from convforge.pipeline.claims.page.colours import DARK, LIGHT, variables

_ROOT = Path(__file__).resolve().parents[1]
# site_pages, and the floors of the house, which a test knows.
sys.path[:0] = [str(_ROOT / "docs"), str(_ROOT / "tests")]

# The pictures are drawn by Keras, whose backend would tell of itself.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

project = "convforge"
author = "The convforge authors"
copyright = author
release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "site_pages.extension",
]
exclude_patterns = ["site_pages", "static"]
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
html_math_renderer = "mathml"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_custom_sections = ["Shapes"]
napoleon_use_ivar = True
python_maximum_signature_line_length = 80
# Sphinx would look for links in every annotation.
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = "convforge"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_last_updated_fmt = None
pygments_style = "friendly"
pygments_dark_style = "monokai"
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True
copybutton_line_continuation_character = "\\"


def _colours(colours: dict[str, str]) -> dict[str, str]:
    """The drawings' colours as Furo's variables, and its own accents of them."""
    drawings = {
        each.partition(":")[0][2:]: each.partition(":")[2] for each in variables(colours).split(";")
    }
    return {
        **drawings,
        "color-brand-primary": colours["link"],
        "color-brand-content": colours["link"],
    }


html_theme_options = {
    "light_css_variables": _colours(LIGHT),
    "dark_css_variables": _colours(DARK),
    "navigation_with_keys": True,
}

# `make links` asks every address outside. These are examples of a person's own.
linkcheck_ignore = [r"https?://(HOST|localhost|127\.0\.0\.1)\b"]
linkcheck_timeout = 20
linkcheck_retries = 2
# GitHub writes the places of its pages by a script, which is not run.
linkcheck_anchors_ignore_for_url = [r"https://github\.com/"]

# What has links and is no page of the site: `sphinx-build -t repository -c docs .`
if tags.has("repository"):  # noqa: F821 (Sphinx gives it)
    extensions = ["myst_parser"]
    root_doc = "README"
    include_patterns = ["*.md", ".github/**.md"]
    # Walks through what is left, which is much in .venv.
    exclude_patterns = [".git", ".venv*", "build", "data*", "outputs", "src", "tests"]
    # Their links to files are looked at by tests.
    suppress_warnings = ["myst.xref_missing", "myst.header", "toc.not_included"]
