"""The report as one page: a bar per month and shop, and all shops in a table."""

from collections.abc import Sequence
from html import escape

from examples.reports.sales import MONTHS

WIDTH, HEIGHT, BAR = 216, 64, 18

STYLE = """
body { background: #16181d; color: #e6e8ee; font: 14px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 74rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1rem; margin: 0; } p { color: #9aa1b2; margin: 0; }
main { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); margin-top: 1.5rem; }
section { background: #1f232b; border-radius: 8px; padding: 0.8rem 1rem; }
rect { fill: #7aa2f7; }
"""


def chart(name: str, cents: Sequence[int]) -> str:
    """One shop's year."""
    most = max(*cents, 1)
    bars = "".join(
        f'<rect x="{month * BAR + 1}" y="{HEIGHT - height:.1f}" width="{BAR - 3}" height="{height:.1f}">'
        f"<title>{MONTHS[month]}: {amount / 100:,.2f} €</title></rect>"
        for month, amount in enumerate(cents)
        for height in [HEIGHT * amount / most]
    )
    return (
        f"<section><h2>{escape(name)}</h2><p>{sum(cents) / 100:,.0f} €, most in {MONTHS[cents.index(max(cents))]}</p>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="sales of {escape(name)} by month">{bars}</svg></section>'
    )


def page(title: str, total_cents: int, charts: Sequence[str]) -> str:
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
        f"<h1>{escape(title)}</h1><p>{len(charts):,} shops, {total_cents / 100:,.0f} €</p>"
        f"<main>{''.join(charts)}</main></html>\n"
    )
