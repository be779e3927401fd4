"""The parts of a self-contained HTML page: pictures and films inside, nothing fetched from anywhere."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image as Picture

from ..runs import write_text
from .quantities import Quantity

MEDIA = {".png": "image/png", ".jpg": "image/jpeg", ".mp4": "video/mp4"}

# The browser itself refuses anything that does not lie in the page.
POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Image:
    """A picture with its caption; `alt` is for readers who do not see it."""

    path: Path
    caption: str = ""
    alt: str = ""


@dataclass(frozen=True)
class Video:
    """A film with the picture that stands for it before it plays."""

    path: Path
    caption: str = ""
    poster: Path | None = None


@dataclass(frozen=True)
class Cell:
    """A table entry: a text or a quantity, with a bar of a share in [0, 1] behind it, if any."""

    content: Quantity | str | None
    share: float | None = None
    colour: str = ""


@dataclass(frozen=True)
class Table:
    """A small table; the first column names the rows."""

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""


@dataclass(frozen=True)
class Facts:
    """Names with quantities or texts, side by side."""

    items: Sequence[tuple[str, Quantity | str]]


@dataclass(frozen=True)
class Details:
    """Text that opens on a click, such as a configuration; `table` instead of `text` where rows suit better."""

    title: str
    text: str = ""
    table: Table | None = None


Block = Image | Video | Table | Facts | Details | str
"""A text is a paragraph. Everything is escaped."""


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Hero:
    """The top of the page: what it is, the result in one sentence, the figures that matter most, a film."""

    kicker: str
    title: str
    lead: str
    tiles: Sequence[tuple[str, Quantity]] = ()
    film: Video | Image | None = None


def write_page(path: Path, hero: Hero, sections: Iterable[Section], footer: str = "") -> Path:
    """Write the page in one step.

    Args:
        path: HTML file.
        hero: top of the page.
        sections: what follows, in order; those without blocks are left out.
        footer: last line.

    Returns:
        `path`.
    """
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    shown = [section for section in sections if section.blocks]
    body = "\n".join([_hero(hero), *(_section(i, section) for i, section in enumerate(shown))])
    return write_text(
        path,
        f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="color-scheme" content="light dark">
<title>{escape(hero.title)}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
</main>
<footer>{escape(footer)}</footer>
</body>
</html>
""",
    )


def data_uri(path: Path) -> str:
    """The content of a media file as a data URI.

    Raises:
        ValueError: the page does not know the kind of file.
    """
    kind = MEDIA.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"{path.name} cannot be put into a page, allowed {', '.join(MEDIA)}")
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def _hero(hero: Hero) -> str:
    tiles = "".join(f"<div><dt>{escape(name)}</dt><dd>{_content(q)}</dd></div>" for name, q in hero.tiles)
    film = _block(hero.film) if hero.film is not None else ""
    return (
        f'<header class="{"hero film" if film else "hero"}"><div>'
        f'<p class="kicker">{escape(hero.kicker)}</p><h1>{escape(hero.title)}</h1>'
        f'<p class="lead">{escape(hero.lead)}</p>'
        + (f'<dl class="tiles">{tiles}</dl>' if tiles else "")
        + f"</div>{film}</header>"
    )


def _section(index: int, section: Section) -> str:
    blocks = "\n".join(_block(block) for block in section.blocks)
    return f'<section id="part-{index + 1}">\n<h2>{escape(section.title)}</h2>\n{blocks}\n</section>'


def _block(block: Block) -> str:
    match block:
        case str():
            return f"<p>{escape(block)}</p>"
        case Image():
            return _image(block)
        case Video():
            poster = f' poster="{data_uri(block.poster)}"' if block.poster is not None else ""
            source = f'<video controls autoplay muted loop playsinline{poster} src="{data_uri(block.path)}"></video>'
            return f"<figure>{source}{_caption(block.caption)}</figure>"
        case Table():
            return _table(block)
        case Facts():
            items = "".join(f"<div><dt>{escape(k)}</dt><dd>{_content(v)}</dd></div>" for k, v in block.items)
            return f'<dl class="facts">{items}</dl>'
        case Details():
            inside = _table(block.table) if block.table is not None else f"<pre>{escape(block.text)}</pre>"
            return f"<details><summary>{escape(block.title)}</summary>{inside}</details>"


def _image(image: Image) -> str:
    with Picture.open(image.path) as picture:  # the size keeps the page from jumping while it loads
        width, height = picture.size
    tag = f'<img src="{data_uri(image.path)}" width="{width}" height="{height}" alt="{escape(image.alt)}">'
    return f'<figure class="plot">{tag}{_caption(image.caption)}</figure>'


def _caption(text: str) -> str:
    return f"<figcaption>{escape(text)}</figcaption>" if text else ""


def _content(content: Quantity | str | None) -> str:
    """Quantities carry their exact value for programs."""
    if content is None:
        return '<span class="none">–</span>'
    if isinstance(content, str):
        return escape(content)
    value = str(content.value).lower() if isinstance(content.value, bool) else str(content.value)
    return f'<data title="{escape(content.key)}" value="{escape(value)}">{escape(content.text)}</data>'


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.header)
    rows = "\n".join(f"<tr>{_cell(row[0], 'th')}{''.join(map(_cell, row[1:]))}</tr>" for row in table.rows)
    caption = f'<p class="caption">{escape(table.caption)}</p>' if table.caption else ""
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>{caption}'
    )


def _cell(cell: Cell, tag: str = "td") -> str:
    scope = ' scope="row"' if tag == "th" else ""
    dot = f'<i style="background:{escape(cell.colour)}"></i>' if tag == "th" and cell.colour else ""
    bar = ""
    if cell.share is not None:
        width = 100 * min(max(cell.share, 0.0), 1.0)
        bar = f'<span class="bar"><span style="width:{width:.4g}%;background:{escape(cell.colour)}"></span></span>'
    return f"<{tag}{scope}>{dot}{bar}{_content(cell.content)}</{tag}>"
