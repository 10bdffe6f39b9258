"""Pages of the site that lie beside `docs/`, with their links put right in both directions.

On the disk every link leads to a file, so that the pages can be read without the site.
"""

import re
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[1]

# The file, from the root, and the page that it becomes.
PAGES: Final = {
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "protocol/SPEC.md": "spec.md",
    "benchmarks/README.md": "measuring.md",
}
_LINK: Final = re.compile(r"\]\((?!\w+:)([^)#\s]+)((?:#[^)]*)?)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie beside `docs/`."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: object) -> str:
    """Turn links between files of the repository into links between pages."""
    source = {to: file for file, to in PAGES.items()}.get(page.file.src_uri)
    folder = (ROOT / source).parent if source else Path(config.docs_dir)

    def relink(match: re.Match[str]) -> str:
        target = (folder / match[1]).resolve()
        if not target.is_relative_to(ROOT):
            return match[0]
        file = target.relative_to(ROOT).as_posix()
        to = PAGES.get(file) or file.removeprefix("docs/")
        return f"]({to}{match[2]})"

    return _LINK.sub(relink, markdown)
