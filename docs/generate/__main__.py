"""Write `docs/reference`: `python -m docs.generate`."""

from docs.generate.pages import REFERENCE, pages

for name, text in pages().items():
    (REFERENCE / name).write_text(text, encoding="utf-8")
    print(f"docs/reference/{name}")
