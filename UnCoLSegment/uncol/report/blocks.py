"""The pieces of a report's page: texts are escaped here and nowhere else."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from html import escape

_UNIT = re.compile(r" (ml|min|s)\b")


def paragraph(text: str, css_class: str = "") -> str:
    """Return a paragraph."""
    attribute = f' class="{css_class}"' if css_class else ""
    return f"<p{attribute}>{escape(text)}</p>"


def figure(png: bytes, headline: str, caption: str) -> str:
    """Return a picture that lies in the page, with what to say about it."""
    source = f"data:image/png;base64,{b64encode(png).decode('ascii')}"
    return (
        f'<figure><div class="scroll"><img src="{source}" alt="{escape(f"{headline} {caption}")}"></div>'
        f"<figcaption><b>{escape(headline)}</b> {escape(caption)}</figcaption></figure>"
    )


def panels(pictures: Mapping[str, bytes], colors: Mapping[str, str], headline: str, caption: str) -> str:
    """Return pictures of one slice by title, beside each other or one below the other, and what the colors mean."""

    def panel(title: str, png: bytes) -> str:
        source = f"data:image/png;base64,{b64encode(png).decode('ascii')}"
        return f'<div><span>{escape(title)}</span><img src="{source}" alt="{escape(f"{headline} {title}")}"></div>'

    names = "".join(f'<li><i style="background:{color}"></i>{escape(name)}</li>' for name, color in colors.items())
    return (
        f'<figure><div class="panels">{"".join(panel(*each) for each in pictures.items())}</div>'
        f'<ul class="colors">{names}</ul>'
        f"<figcaption><b>{escape(headline)}</b> {escape(caption)}</figcaption></figure>"
    )


def drawing(svg: str, headline: str, caption: str) -> str:
    """Return a drawing of ours, an SVG whose texts are escaped, with what to say about it."""
    return f"<figure>{svg}<figcaption><b>{escape(headline)}</b> {escape(caption)}</figcaption></figure>"


def facts_table(rows: Mapping[str, str]) -> str:
    """Return facts by name."""
    cells = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>' for name, text in rows.items()
    )
    return f'<table class="facts"><tbody>{cells}</tbody></table>'


def number_cards(numbers: Mapping[str, str], details: Mapping[str, str]) -> str:
    """Return numbers by what they are, large, and what is to be said of some of them, small."""

    def card(text: str, number: str) -> str:
        small = f"<small>{escape(details[text])}</small>" if details.get(text) else ""
        number = _UNIT.sub("\N{NO-BREAK SPACE}\\1", number)  # a number is not parted from its unit
        return f"<li><b>{escape(number)}</b><span>{escape(text)}</span>{small}</li>"

    return f'<ul class="numbers">{"".join(card(*each) for each in numbers.items())}</ul>'


def code(text: str) -> str:
    """Return a text to copy as it is."""
    return f'<pre class="code">{escape(text)}</pre>'
