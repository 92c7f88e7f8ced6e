"""The style sheet: light and dark, screen and paper, wide and narrow.

Every colour has a glyph, a word or a hatching beside it.
"""

from typing import Final

_HATCH: Final = "repeating-linear-gradient(135deg,"

STYLE: Final = "".join(
    line.strip()
    for line in f"""
:root{{color-scheme:light dark;--bg:#fff;--fg:#1c2128;--dim:#5b6470;--line:#d9dee4;--soft:#f4f6f8;
--grid:#e8ebef;--completed:#1a7f4b;--failed:#c4230a;--cancelled:#8a6100;--skipped:#6e7781;
--pending:#6e7781;--in_progress:#0b62c4;--undo:#7a3fb0;--lead:#aab4c0;--critical:#1c2128;
--link:#0b57b0}}
@media (prefers-color-scheme:dark){{:root{{--bg:#12161b;--fg:#e3e7ec;--dim:#98a3af;--line:#313944;
--soft:#1a2027;--grid:#232a32;--completed:#3fae74;--failed:#ff6b52;--cancelled:#d9a53a;
--skipped:#8d97a3;--pending:#8d97a3;--in_progress:#58a6ff;--undo:#bd8cf0;--lead:#566270;
--critical:#e3e7ec;--link:#79b8ff}}}}
*{{box-sizing:border-box}}
body{{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}}
main,footer{{max-width:1180px;margin:0 auto;padding:0 24px}}
header{{padding:32px 0 4px}}
h1{{font-size:26px;line-height:1.25;margin:0 0 4px;font-weight:650;overflow-wrap:anywhere}}
h2{{font-size:17px;margin:0 0 10px;font-weight:650}}
section{{margin:26px 0 0;padding:18px 0 0;border-top:1px solid var(--line)}}
p{{margin:6px 0}}a{{color:var(--link);text-decoration:none}}a:hover{{text-decoration:underline}}
code,pre,.r>a,td b,dd code{{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:12.5px}}
code,dd,td,li{{overflow-wrap:anywhere}}
pre{{margin:6px 0 0;padding:8px 10px;background:var(--soft);border-radius:5px;max-height:420px;
overflow:auto;white-space:pre-wrap;overflow-wrap:anywhere}}
pre i{{display:block;color:var(--dim)}}
summary{{cursor:pointer;font:12.5px ui-monospace,Menlo,Consolas,monospace;overflow-wrap:anywhere}}
small,.quiet,footer{{color:var(--dim);font-size:13px}}
footer{{padding-top:20px;padding-bottom:40px}}
.badge{{font-size:14px;font-weight:600;margin-left:12px;padding:2px 10px;border:1.5px solid;
border-radius:12px;vertical-align:3px;white-space:nowrap}}
.completed,.failed,.skipped,.cancelled,.pending,.in_progress{{--f:var(--c)}}
.completed{{--c:var(--completed)}}.skipped{{--c:var(--skipped)}}.pending{{--c:var(--pending)}}
.cancelled{{--c:var(--cancelled)}}.in_progress{{--c:var(--in_progress)}}
.failed{{--c:var(--failed);--f:{_HATCH}var(--failed) 0 5px,#0003 5px 7px),var(--failed)}}
.badge,dd span,td[class],.g,.r>a>b,.b{{color:var(--c)}}
dl{{display:flex;flex-wrap:wrap;gap:8px 30px;margin:14px 0 0}}
dt{{color:var(--dim);font-size:12px}}dd{{margin:0}}dd span{{white-space:nowrap;margin-right:10px}}
ul{{margin:0;padding:0;list-style:none}}
li{{margin:0 0 8px;padding-left:22px;position:relative}}
li ul{{margin:4px 0 0}}li li{{margin:0;padding-left:0;font-size:13px}}
time{{font-variant-numeric:tabular-nums;color:var(--dim);margin-right:4px}}
.g{{position:absolute;left:0;font-weight:700}}
.trouble li>a{{font-weight:650}}.error{{color:var(--failed)}}.error summary{{font:inherit}}
.error pre{{color:var(--fg)}}
.note{{color:var(--dim);font-size:13px}}
.graph{{overflow:auto;padding:2px 0 6px}}.graph svg{{display:block}}
.legend{{display:flex;flex-wrap:wrap;gap:2px 18px;font-size:13px;color:var(--dim);margin:0 0 8px}}
.legend i{{display:inline-block;position:static;width:22px;height:10px;margin-right:6px}}
.gantt{{border-top:1px solid var(--line);border-bottom:1px solid var(--line)}}
.r{{display:grid;grid-template-columns:minmax(110px,210px) 1fr 104px;align-items:center;
break-inside:avoid}}
.r:nth-child(odd){{background:var(--soft)}}
.r>a{{padding:2px 8px;color:var(--fg);white-space:nowrap;overflow:hidden;text-overflow:ellipsis}}
.r>span{{padding-left:10px;font-size:12.5px;color:var(--dim);white-space:nowrap;
font-variant-numeric:tabular-nums}}
.r>div{{position:relative;height:22px;
background:repeating-linear-gradient(90deg,var(--grid) 0 1px,transparent 1px var(--s))}}
.cp>a{{font-weight:700}}
.r.axis{{background:none;font-size:12px;color:var(--dim)}}
.axis>div>span{{position:absolute;padding-left:4px;white-space:nowrap;line-height:22px}}
.b{{position:absolute;top:5px;height:12px;min-width:2px;background:var(--f);border-radius:2px;
display:block}}
.cp .b{{box-shadow:0 0 0 1px var(--bg),0 0 0 2.5px var(--critical)}}
.b u{{position:absolute;left:0;top:0;bottom:0;max-width:calc(100% - 2px);background:var(--lead);
border-radius:2px 0 0 2px}}
.b.lead{{background:var(--lead)}}
.b u.again,.b.again{{background:{_HATCH}var(--bg) 0 2px,var(--cancelled) 2px 5px)}}
.b.wait{{background:{_HATCH}currentColor 0 1.5px,transparent 1.5px 5px);border:1px solid}}
.legend .wait{{--c:var(--in_progress)}}
.b.sub{{border-radius:6px;background:linear-gradient(currentColor 0 0) 0/100% 30% no-repeat,
linear-gradient(currentColor 0 0) 0 100%/100% 30% no-repeat}}
.b.sub u{{display:none}}
.b.group{{background:none;border:solid;border-width:2px 2px 0;border-radius:0;height:7px;top:8px}}
.b.moment{{width:8px!important;height:8px;top:7px;margin-left:-4px;transform:rotate(45deg);
border-radius:0}}
.b.undo{{color:var(--undo);background:{_HATCH}var(--undo) 0 3px,transparent 3px 5px);
border:1px solid var(--undo)}}
.b.map{{background:none;border-bottom:1px solid}}
.b svg{{display:block;width:100%;height:100%;fill:currentColor}}
.b.open{{border-right:3px dotted var(--bg)}}
em{{position:absolute;top:1px;margin-left:-4px;font:700 10px/1 sans-serif;color:var(--failed);
text-shadow:0 0 2px var(--bg),0 0 2px var(--bg)}}
s,.gap{{position:absolute;top:10px;height:0;border-top:2px dotted var(--critical)}}
.legend .gap{{vertical-align:middle;height:0}}
.dense .r>div{{height:16px}}.dense .b{{top:3px;height:10px}}.dense s{{top:8px}}
.dense .r>a,.dense .r>span{{font-size:11px;line-height:16px;padding-top:0;padding-bottom:0}}
table{{border-collapse:collapse;width:100%}}
th{{text-align:left;font-size:12px;font-weight:600;color:var(--dim);padding:4px 12px 4px 0}}
td{{vertical-align:top;padding:5px 12px 5px 0;border-top:1px solid var(--line);font-size:13.5px}}
td:nth-child(1){{white-space:nowrap}}td small{{display:block}}
.path td:nth-child(1){{white-space:normal}}
.tasks{{table-layout:fixed}}.tasks th:nth-child(1){{width:104px}}
.tasks th:nth-child(2){{width:24%}}.tasks th:nth-child(3){{width:76px}}
.tasks th:nth-child(4){{width:48px}}
.path td,.tasks td:nth-child(3),.tasks td:nth-child(4){{font-variant-numeric:tabular-nums}}
tr:target{{background:var(--soft);outline:2px solid var(--link)}}
.share{{display:inline-block;width:90px;height:9px;background:var(--soft);margin-right:8px;
border:1px solid var(--line)}}
.share i{{display:block;height:100%;background:var(--in_progress)}}
.given{{margin-top:4px;display:flex;gap:6px}}.given>*{{min-width:0}}.given>span{{flex:none}}
@media (max-width:720px){{main,footer{{padding:0 14px}}.r{{grid-template-columns:96px 1fr 82px}}
.r>span{{font-size:11px;padding-left:6px}}
.tasks,.tasks tbody,.tasks tr,.tasks td{{display:block}}.tasks thead{{display:none}}
.tasks tr{{border-top:1px solid var(--line);padding:6px 0}}
.tasks td{{border:0;padding:1px 0;display:inline-block;margin-right:12px}}
.tasks td:nth-child(5),.tasks td:nth-child(6){{display:block;margin:0}}
.path{{display:block;overflow-x:auto}}.path td,.path th{{overflow-wrap:normal;white-space:nowrap}}
.axis>div>span:nth-child(even){{display:none}}}}
@media print{{:root{{color-scheme:light;--bg:#fff;--fg:#000;--dim:#444;--line:#bbb;--soft:#f4f4f4;
--grid:#e4e4e4;--completed:#1a7f4b;--failed:#c4230a;--cancelled:#8a6100;--skipped:#6e7781;
--pending:#6e7781;--in_progress:#0b62c4;--undo:#7a3fb0;--lead:#aab4c0;--critical:#000;
--link:#000}}
body{{font-size:11px}}main,footer{{max-width:none;padding:0}}
*{{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
section{{margin-top:14px;padding-top:10px}}h2{{break-after:avoid}}
tr,li{{break-inside:avoid}}pre{{max-height:none}}
table details::details-content,.trouble details::details-content{{content-visibility:visible;
block-size:auto}}
.graph svg{{max-width:100%;height:auto}}
.r>div{{height:16px}}.b{{top:3px;height:10px}}.r>a{{padding:0 6px}}s{{top:8px}}}}
""".splitlines()
)
