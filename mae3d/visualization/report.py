"""One self-contained HTML page: text, tables, charts and pictures, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib.figure
import numpy as np

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 960px; margin: 2rem auto; padding: 0 1rem; color: #1b1f24 }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2rem }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .35rem .8rem; border-bottom: 1px solid #d5dae0 }
th { text-align: left } td:not(:first-child), th:not(:first-child) { text-align: right }
figure { margin: 1rem 0 } img { max-width: 100% } figcaption { color: #57606a; font-size: .9rem }
pre { background: #f3f5f7; padding: .8rem; overflow-x: auto; font-size: .85rem }
"""


class Report:
    """Collects parts in order and writes them as one HTML file.

    Example:
        >>> report = Report("Point-MAE")
        >>> report.table(["features", "accuracy"], [["random", "61.0"], ["pre-trained", "84.2"]])
        >>> "pre-trained" in report.render()
        True
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts: list[str] = []

    def heading(self, text: str) -> None:
        """Start a section."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def paragraph(self, text: str) -> None:
        """Add a paragraph of plain text."""
        self._parts.append(f"<p>{html.escape(text)}</p>")

    def preformatted(self, text: str) -> None:
        """Add text with its line breaks kept."""
        self._parts.append(f"<pre>{html.escape(text)}</pre>")

    def table(self, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Add a table; the first column is left-aligned."""
        head = "".join(f"<th>{html.escape(str(cell))}</th>" for cell in header)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
        self._parts.append(f"<table><tr>{head}</tr>{body}</table>")

    def figure(self, figure: matplotlib.figure.Figure, caption: str = "") -> None:
        """Add a matplotlib figure."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        self._png(buffer.getvalue(), caption)

    def image(self, image: np.ndarray, caption: str = "") -> None:
        """Add an RGB picture: uint8 [H, W, 3]."""
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="PNG")
        self._png(buffer.getvalue(), caption)

    def _png(self, data: bytes, caption: str) -> None:
        text = html.escape(caption)
        source = base64.b64encode(data).decode()
        self._parts.append(
            f'<figure><img alt="{text}" src="data:image/png;base64,{source}"><figcaption>{text}</figcaption></figure>'
        )

    def render(self) -> str:
        """The page as text."""
        title = html.escape(self.title)
        head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        body = "\n".join(self._parts)
        return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><h1>{title}</h1>\n{body}\n</body></html>\n'

    def save(self, path: str | Path) -> Path:
        """Write the page atomically and return its path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.tmp")
        partial.write_text(self.render())
        partial.replace(path)
        return path
