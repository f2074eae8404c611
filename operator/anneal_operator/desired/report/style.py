"""How a report looks: by day, by night, and on paper. The colours are told apart also by those who see few of them."""

__all__ = ["STYLE"]

_DAY = (
    "--back:#fff;--text:#1d2330;--soft:#5b6475;--rule:#dfe3ea;--card:#f6f7f9;--good:#1a7f4b;--bad:#b3372f;--plain:#4a5568;"
    "--c0:#5b6475;--c1:#2563b0;--c2:#c2571a;--c3:#2f8558;--c4:#8a4fbf;--c5:#a8790b;--c6:#0f8a96;--c7:#c03d7f"
)
_NIGHT = (
    "--back:#14171d;--text:#e7eaf0;--soft:#9aa4b5;--rule:#313845;--card:#1c2028;--good:#3fbf7f;--bad:#f0786e;--plain:#8b97ab;"
    "--c0:#a9b3c4;--c1:#6aa8f5;--c2:#f09a5d;--c3:#5fcb93;--c4:#c294ee;--c5:#e0b64a;--c6:#4fc9d4;--c7:#f08bbb"
)
_COLOURS = "".join(
    f".line.c{n}{{stroke:var(--c{n})}}.band.c{n},.end.c{n},.name.c{n}{{fill:var(--c{n})}}" for n in range(8)
)
STYLE = (
    f":root{{color-scheme:light dark;{_DAY}}}@media (prefers-color-scheme:dark){{:root{{{_NIGHT}}}}}"
    "body{margin:0;background:var(--back);color:var(--text);font:15px/1.55 system-ui,'Segoe UI',sans-serif}"
    "main{max-width:63em;margin:0 auto;padding:2em 1.2em 4em}"
    "header{border-bottom:1px solid var(--rule);padding-bottom:.6em}"
    "h1{font-size:1.5em;line-height:1.25;margin:0 0 .5em;overflow-wrap:anywhere}h2{font-size:1.12em;margin:2em 0 .5em}"
    "h3{font-size:1em;margin:1.2em 0 .4em}p{margin:.5em 0;overflow-wrap:anywhere}.lead{font-size:1.12em}"
    "header p:last-child,.note{color:var(--soft);font-size:.92em}"
    ".phase{font-size:.6em;font-weight:600;vertical-align:.2em;padding:.2em .65em;border-radius:1em;border:1px solid;"
    "white-space:nowrap}.good{color:var(--good)}.bad{color:var(--bad)}.plain{color:var(--plain)}"
    ".wide{overflow-x:auto;margin:.6em 0}"
    "table{border-collapse:collapse;font-size:.92em;font-variant-numeric:tabular-nums}"
    "td,th{border-bottom:1px solid var(--rule);padding:.35em .9em .35em 0;text-align:left;vertical-align:top}"
    ".n{white-space:nowrap}th{color:var(--soft);font-weight:600;white-space:nowrap}"
    "figure{margin:1em 0;padding:.8em 1em .4em;background:var(--card);border-radius:8px}figcaption{font-size:.95em}"
    "svg{display:block;width:100%;height:auto;margin-top:.4em}text{font-size:11.5px;fill:var(--soft)}"
    ".name{font-weight:600;fill:var(--soft)}.grid{stroke:var(--rule)}.tick,.mark{stroke:var(--soft)}.mark{stroke-width:1.3}"
    ".dashed{stroke-dasharray:5 4}.line{fill:none;stroke-width:2;stroke-linejoin:round}.band{opacity:.18}"
    f"{_COLOURS}a{{color:var(--c1)}}code,pre{{font:13px/1.45 ui-monospace,monospace}}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--card);padding:1em;border-radius:8px}"
    f"@media print{{:root{{color-scheme:light;{_DAY}}}main{{max-width:none;padding:0}}"
    f"table{{font-size:.8em}}figure,tr{{break-inside:avoid}}"
    "h2{break-after:avoid}details{display:none}.wide{overflow:visible}}"
)
