"""The style sheet of a report's page. Colours are those of Okabe and Ito, which the colour-blind tell apart."""

from typing import Final

STYLE: Final = """
:root { --text: #1c2530; --soft: #54606e; --line: #d9dfe6; --back: #f4f6f8; --card: #fff; --good: #1d6b43;
  --bad: #a4262c; --warn: #8a5a00; --link: #0b5394; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; font: 16px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; color: var(--text);
  background: var(--back); }
header, main, nav { max-width: 72rem; margin: 0 auto; padding: 0 1.5rem; }
header { padding-top: 2.5rem; }
.product { margin: 0; color: var(--soft); font-weight: 600; letter-spacing: .04em; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.35rem; margin: 0 0 .75rem; }
.lead { margin: 0; color: var(--soft); font-size: 1.05rem; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: 1rem 0 0; padding: 0; }
a { color: var(--link); } a:focus-visible, summary:focus-visible, .scroll:focus-visible { outline: 3px solid #e69f00; }
.skip { position: absolute; left: -999rem; } .skip:focus { left: 1rem; top: 1rem; background: var(--card); }
section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1.4rem 1.6rem;
  margin: 1.25rem 0; }
section > p { max-width: 60rem; }
.verdict { border-left: .4rem solid; padding: .6rem 1rem; margin: 0 0 1rem; background: var(--back); max-width: none; }
.good { border-color: var(--good); } .good strong { color: var(--good); }
.bad { border-color: var(--bad); } .bad strong { color: var(--bad); }
.warn { border-color: var(--warn); } .warn strong { color: var(--warn); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: .75rem; margin: 0 0 1rem; }
.tiles div { display: flex; flex-direction: column-reverse; justify-content: flex-end; border: 1px solid var(--line);
  border-radius: .45rem; padding: .7rem .9rem; }
.tiles dt { color: var(--soft); font-size: .9rem; line-height: 1.3; }
.tiles dd { margin: 0; font-size: 1.65rem; font-weight: 650; line-height: 1.25; font-variant-numeric: tabular-nums; }
figure { margin: 1rem 0 1.25rem; } figcaption { font-weight: 600; margin-bottom: .35rem; }
svg { display: block; width: 100%; height: auto; } svg text { font-size: 13px; fill: var(--text); }
.grid { stroke: var(--line); stroke-width: 1; }
.s0 { fill: #0072b2; background: #0072b2; } .s1 { fill: #e69f00; background: #e69f00; }
.s2 { fill: #009e73; background: #009e73; } .s3 { fill: #cc79a7; background: #cc79a7; }
.s4 { fill: #56b4e9; background: #56b4e9; } .s5 { fill: #d55e00; background: #d55e00; }
.s6 { fill: #8c8c8c; background: #8c8c8c; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: 0 0 .4rem; padding: 0;
  font-size: .9rem; }
.key { display: inline-block; width: .85rem; height: .85rem; margin-right: .45rem; border-radius: .15rem;
  vertical-align: -.08rem; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.scroll { overflow-x: auto; margin: 0 0 1rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
table.wide { font-size: .82rem; }
caption { text-align: left; font-weight: 600; padding: .2rem 0 .4rem; font-size: 1rem; }
th, td { padding: .35rem .7rem .35rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; min-width: 5.2rem; }
table.wide th:first-child { min-width: 5.6rem; } table.wide td:nth-child(7) { min-width: 9rem; }
table.wide td:nth-child(8) { min-width: 7.2rem; }
thead th { color: var(--soft); font-weight: 600; border-bottom-width: 2px; white-space: nowrap; }
tbody th { font-weight: 500; }
th.number, td.number { text-align: right; white-space: nowrap; padding-left: .7rem; padding-right: 1.2rem; }
.nothing, .more { color: var(--soft); margin: .25rem 0 1rem; }
details { margin: 0 0 1rem; } summary { cursor: pointer; color: var(--link); }
code { font: .92em ui-monospace, "DejaVu Sans Mono", monospace; }
@media print {
  @page { size: A4 landscape; margin: 14mm; }
  body { background: #fff; font-size: 10pt; }
  header, main { max-width: none; padding: 0; }
  nav, .skip, details { display: none; }
  section { border: 0; padding: 0; margin: 0 0 8mm; }
  h2 { break-after: avoid; } figure, tr, .tiles, .verdict { break-inside: avoid; }
  thead { display: table-header-group; }
  .scroll { overflow: visible; } table { font-size: 8pt; } table.wide { font-size: 7pt; }
  svg rect { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  a { color: inherit; text-decoration: none; }
}
"""
