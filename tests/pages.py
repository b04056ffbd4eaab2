"""What a browser makes of HTML."""

from __future__ import annotations

from html.parser import HTMLParser


class Page(HTMLParser):
    """Its text, its tags with their attributes, and what it would load; every element must be closed."""

    def __init__(self, html):
        super().__init__()
        self.text, self.tags, self._open = "", [], []
        self.feed(html)
        assert not self._open
        self.names = {tag for tag, _ in self.tags}
        self.loaded = [value for _, of in self.tags for name, value in of.items() if name in ("src", "href")]

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("img", "meta", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data
