"""The report: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #5b6570; --line: #d8dde2; --paper: #fff; --accent: #0b6bcb; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ea; --soft: #9aa4ae; --line: #343a40; --paper: #16191c; --accent: #6db3f2; }
}
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto; padding: 2rem;
       max-width: 1500px; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
.lead { font-size: 1.05rem; } .soft, figcaption { color: var(--soft); }
figure { margin: 0 0 1.2rem; } figure img { width: 100%; border-radius: 6px; display: block; }
figcaption { margin-top: .35rem; font-size: .92rem; }
.row { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; } .row figure { flex: 1 1 300px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .8rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } tr.best td { font-weight: 600; }
pre { overflow-x: auto; font-size: .82rem; background: color-mix(in srgb, var(--ink) 6%, transparent); padding: 1rem;
      border-radius: 6px; }
.warning { border-left: 4px solid #d9822b; padding: .5rem 1rem;
           background: color-mix(in srgb, #d9822b 10%, transparent); }
"""


@dataclass(frozen=True)
class Picture:
    """A PNG with its caption."""

    png: bytes
    caption: str
    width_share: float = 1.0


@dataclass(frozen=True)
class Section:
    """A heading, a paragraph, pictures (several side by side), and ready-made HTML after them."""

    title: str
    text: str = ""
    pictures: Sequence[Picture] = ()
    body: str = ""


def render(title: str, lead: str, sections: Sequence[Section], settings: dict[str, Any]) -> str:
    """The whole page.

    Args:
        title: heading.
        lead: one or two sentences that say the result.
        sections: in order.
        settings: everything needed to repeat the run; shown as JSON at the end.

    Returns:
        HTML with all pictures inside.
    """
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{html.escape(title)}</h1><p class='lead'>{html.escape(lead)}</p>",
        "<p class='warning'>For research only. Not a medical device: do not use for diagnosis or treatment.</p>",
    ]
    parts += [_section(section) for section in sections]
    parts.append(
        "<h2>Settings and versions</h2><details open><summary class='soft'>Everything needed to repeat this run"
        f"</summary><pre>{html.escape(json.dumps(settings, indent=2, allow_nan=False))}</pre></details></body></html>"
    )
    return "\n".join(parts)


def metrics_table(methods: dict[str, dict[str, Any]], titles: dict[str, str]) -> str:
    """The table of numbers: a row a method, best values in bold, window and masks underneath.

    Args:
        methods: name -> what `metrics.evaluate` returns.
        titles: name -> what a person calls it.
    """
    columns = [
        ("PSNR (dB)", "psnr_db", "{:.2f}", max),
        ("SSIM", "ssim", "{:.4f}", max),
        ("RMSE (HU)", "rmse_hu", "{:.1f}", min),
        ("body RMSE (HU)", "body", "{:.1f}", min),
        ("ring RMSE (HU)", "ring_rmse_hu", "{:.1f}", min),
        ("bone Dice", "dice", "{:.3f}", max),
    ]
    values = {
        name: {**scores, "body": scores["regions"].get("body", {}).get("rmse_hu")} for name, scores in methods.items()
    }
    rows = []
    for name, scores in values.items():
        cells = []
        for _, key, pattern, better in columns:
            known = [row[key] for row in values.values() if row[key] is not None]
            value = scores[key]
            text = "infinite" if value is None and key == "psnr_db" else "-" if value is None else pattern.format(value)
            best = value is not None and len(known) > 1 and value == better(known)
            cells.append(f"<td>{'<b>' + text + '</b>' if best else text}</td>")
        rows.append(f"<tr><td>{html.escape(titles.get(name, name))}</td>{''.join(cells)}</tr>")
    first = next(iter(methods.values()))
    low, high = first["window"]
    masks = "; ".join(
        f"{heading}: {html.escape(first['mask'][key])}" for heading, key, *_ in columns if key in first["mask"]
    )
    heads = "".join(f"<th>{heading}</th>" for heading, *_ in columns)
    return (
        f"<div class='scroll'><table><thead><tr><th>method</th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody>"
        f"</table></div><p class='soft'>PSNR and SSIM in the fixed linear window {low:g} to {high:g} HU. {masks}. "
        "Body: inside the patient's outline, outside the metal. Best value of a column in bold.</p>"
    )


def _section(section: Section) -> str:
    parts = [f"<section><h2>{html.escape(section.title)}</h2>"]
    if section.text:
        parts.append(f"<p>{html.escape(section.text)}</p>")
    if section.pictures:
        figures = "".join(
            f"<figure style='flex-grow:{picture.width_share}'><img alt='{html.escape(picture.caption, quote=True)}' "
            f"src='data:image/png;base64,{base64.b64encode(picture.png).decode()}'>"
            f"<figcaption>{html.escape(picture.caption)}</figcaption></figure>"
            for picture in section.pictures
        )
        parts.append(f"<div class='row'>{figures}</div>")
    parts.append(section.body + "</section>")
    return "\n".join(parts)
