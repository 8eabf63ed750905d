"""The documentation as a site: `make docs` writes it to build/site. Every Markdown file here is a page of it."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "rerank-plugins"
author = "The rerank-plugins contributors"
version = release = installed_version("rerank-plugins")

extensions = ["myst_parser", "llms_txt"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["**/.*"]
suppress_warnings = [
    "myst.header",  # included files and made pages start at the level that fits them
    "misc.highlighting_failure",  # a placeholder in an example only loses its colours
]

smartquotes = False  # --option must stay as it is typed

html_theme = "furo"
html_title = "rerank-plugins"
html_copy_source = False
html_show_copyright = False
html_use_index = False  # the reference is Markdown, which puts nothing into an index

# What a reader has started, and an API, which answers its own paths only.
linkcheck_ignore = [r"http://127\.0\.0\.1", r"https://api\.assisters\.dev"]
linkcheck_anchors = False  # pages that a script fills do not have theirs in what they send
