"""How the HTML report looks: a page of a paper's appendix, in the reader's own light or dark."""

STYLE = """\
:root {
  color-scheme: light dark;
  --page: #ffffff; --ink: #1b1b1f; --faint: #65656d; --line: #c9c9cf; --hair: #ebebef;
  --plus: #1c6b41; --minus: #a5391f; --link: #2b5c9e; --warn: #fbf4e4; --warn-edge: #c78a16;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #17181b; --ink: #e6e6e9; --faint: #a0a0a8; --line: #494b52; --hair: #2a2c31;
    --plus: #77c99b; --minus: #ee9a80; --link: #8db8ee; --warn: #2b2618; --warn-edge: #c78a16;
  }
}
* { box-sizing: border-box; }
html { font-size: 100%; }
body {
  max-width: 60rem; margin: 3rem auto; padding: 0 1.5rem; background: var(--page); color: var(--ink);
  font: 1rem/1.55 Charter, "Bitstream Charter", "Iowan Old Style", Georgia, "DejaVu Serif", serif;
}
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 1.2rem; }
h2 {
  font-size: 1.25rem; line-height: 1.3; margin: 3rem 0 .6rem; padding-top: .9rem; border-top: 1px solid var(--line);
}
a { color: var(--link); }
p { max-width: 46rem; }
nav ul { list-style: none; margin: 1rem 0 1.6rem; padding: 0; columns: 2; column-gap: 2.5rem; font-size: .9rem; }
nav li { break-inside: avoid; }
.warnings {
  margin: 1.5rem 0; padding: .7rem 1.1rem; background: var(--warn); border-left: 4px solid var(--warn-edge);
}
.warnings p { margin: 0 0 .3rem; font-weight: bold; }
.warnings ul { margin: 0; padding-left: 1.2rem; }
.aside { color: var(--faint); font-size: .9rem; }
dl {
  display: grid; grid-template-columns: 10rem minmax(0, 1fr); gap: .45rem 1.4rem; margin: 1rem 0;
  font-size: .92rem; line-height: 1.45;
}
dt { font-weight: bold; }
dd { margin: 0; max-width: 46rem; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: 1.4rem 0; }
table, figcaption, .footnotes {
  font-family: system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif;
}
table {
  border-collapse: collapse; border-top: 2px solid var(--ink); border-bottom: 2px solid var(--ink);
  font-size: .8rem; line-height: 1.35; font-variant-numeric: tabular-nums lining-nums;
}
caption { text-align: left; padding-bottom: .4rem; font-weight: 600; caption-side: top; white-space: nowrap; }
th, td { padding: .2rem .55rem; text-align: left; vertical-align: baseline; font-weight: normal; }
thead th { font-weight: 600; vertical-align: bottom; }
thead tr:last-child th, thead th[rowspan] { border-bottom: 1px solid var(--ink); }
thead .over { text-align: center; padding-left: 1.1rem; border-bottom: 1px solid var(--hair); }
.number { text-align: right; white-space: nowrap; }
.first { padding-left: 1.3rem; }
tbody th { white-space: nowrap; }
tbody tr + tr > * { border-top: 1px solid var(--hair); }
.part th { padding-top: .7rem; font-weight: 600; font-style: italic; border-top: 1px solid var(--line); }
tbody:first-of-type .part th { border-top: 0; }
.beside { color: var(--faint); font-size: .88em; }
.faint { color: var(--faint); }
.plus { color: var(--plus); }
.minus { color: var(--minus); }
.details td, .claims td { vertical-align: top; }
.details th, .claims th { vertical-align: top; }
.details thead th, .claims thead th { vertical-align: bottom; }
.details .beside { display: block; }
.claims tbody th, .details tbody th, .claims thead th, .details thead th { white-space: normal; }
.quoted td, .quoted th { padding-left: .4rem; padding-right: .4rem; }
sup { font-size: .75em; line-height: 0; padding-left: .1em; }
.footnotes { font-size: .8rem; color: var(--faint); margin: -.6rem 0 1.6rem; padding-left: 1.6rem; }
.footnotes li { overflow-wrap: anywhere; }
figure { margin: 1.6rem 0; break-inside: avoid; }
figure img { display: block; max-width: 100%; background: #ffffff; border-radius: 3px; }
figcaption { margin-top: .5rem; max-width: 48rem; font-size: .82rem; color: var(--faint); }
@media print {
  :root {
    --page: #ffffff; --ink: #000000; --faint: #444444; --line: #999999; --hair: #dddddd;
    --plus: #1c6b41; --minus: #a5391f; --link: #000000; --warn: #f6f6f6;
  }
  @page { margin: 16mm 14mm; }
  html { font-size: 10pt; }
  body { max-width: none; margin: 0; padding: 0; }
  nav { display: none; }
  .wide { overflow: visible; }
  table { font-size: 7.6pt; }
  th, td { padding: .12rem .35rem; }
  .details { font-size: 7pt; }
  .details th, .details td { padding: .12rem .25rem; }
  h2, caption, .part { break-after: avoid; }
  figure img { max-height: 235mm; }
  tr, dt, dd, .warnings, .quoted { break-inside: avoid; }
}
"""
