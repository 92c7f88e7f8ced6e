"""Write the pages that are made from the code: `python -m docs.generate`."""

from docs.generate.pages import DOCS, pages

for name, text in pages().items():
    (DOCS / name).parent.mkdir(exist_ok=True)
    (DOCS / name).write_text(text, encoding="utf-8")
    print(f"docs/{name}")
