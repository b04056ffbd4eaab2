"""The normalizer of the `words` scheme: text found in the wild becomes the text that it looks like.

All of it is a list of replacements in `tokenizer.json`, so that a pipeline, an exported model and a browser do the
same; the expressions keep to what Oniguruma and JavaScript have in common. What a replacement puts in is fixed, which
sets limits:

- HTML entities are known one by one: common ASCII punctuation, letters of Western Europe,
  typography. Others stay as they are.
- Text that was decoded wrongly (mojibake) is repaired for typography and é, the commonest.
- A letter that is drawn out is kept twice if English doubles it (goooood) and once if not (baaad); no dictionary says
  that "noooo" is "no".
- A missing apostrophe is put back where the word is no other word: in "dont", but not in "cant" and "wont".
- A zero-width space is a space, except beside an apostrophe; other invisible characters vanish.
- An emoji becomes one word, whatever stands around it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from tokenizers import Regex, Tokenizer, normalizers

# Tags that part the text, and tags within it.
_BLOCKS = (
    "article|blockquote|body|br|center|dd|div|dl|dt|footer|h[1-6]|head|header|hr|html|img|li|ol|p|pre|section|table|"
    "tbody|td|th|thead|tr|ul"
)
_INLINE = "a|abbr|b|big|cite|code|del|em|font|i|ins|o:p|q|s|small|span|strike|strong|sub|sup|tt|u"

# With the low bytes of U+2018 to U+201D, which is what some programs keep of them.
_APOSTROPHES = (
    "\u0018\u0019`\u00b4\u0091\u0092\u02b9\u02bb\u02bc\u02bd\u02c8\u02ca\u02cb\u055a\u05f3\u1fbd\u1fbf\u1fef\u1ffd"
    "\u2018\u2019\u201b\u2032\u2035\u275b\u275c\ua78c\uff07\uff40"
)
_QUOTES = (
    "\u001c\u001d\u0084\u0093\u0094\u00a8\u00ab\u00bb\u02ba\u02dd\u05f4\u201c\u201d\u201e\u201f\u2033\u2036\u2039\u203a"
    "\u275d\u275e\u301d\u301e\u301f\uff02"
)
_DASHES = "\u0013\u0014\u0096\u0097\u2012\u2013\u2014\u2015\u2e3a\u2e3b\ufe31\ufe32\ufe58"
_HYPHENS = "\u2010\u2011\u2043\u2212\ufe63\uff0d"
# Soft hyphen, joiners, marks of direction, variation selectors, skin tones; and trade marks, which would become "tm".
_INVISIBLE = "\u00ad\u034f\u061c\u180b\u180c\u180d\u180e\u2120\u2122\ufeff" + "".join(
    chr(code)
    for first, last in ((0x200C, 0x200F), (0x202A, 0x202E), (0x2060, 0x2069), (0xFE00, 0xFE0F), (0x1F3FB, 0x1F3FF))
    for code in range(first, last + 1)
)

# How HTML calls a character, where its name or number stands for itself.
_PUNCTUATION = {
    "!": "excl", "#": "num", "$": "dollar", "%": "percnt", "(": "lpar", ")": "rpar", "*": "ast", "+": "plus",
    ",": "comma", ".": "period", "/": "sol", ":": "colon", ";": "semi", "=": "equals", "?": "quest", "@": "commat",
    "[": "lsqb", "]": "rsqb", "_": "lowbar", "\u00a3": "pound", "\u20ac": "euro", "\u00bd": "frac12",
}  # fmt: skip
_LETTERS = {"æ": "aelig AElig", "ø": "oslash Oslash", "ß": "szlig"}
_MARKS = {
    "grave": "\u0300", "acute": "\u0301", "circ": "\u0302", "tilde": "\u0303", "uml": "\u0308", "ring": "\u030a",
    "cedil": "\u0327",
}  # fmt: skip

# The word for an emoji or an emoticon: what its Unicode name says (heart-shaped eyes, smiling, tears of joy, thumbs up,
# disappointed) or, if that does not tell, what people mean by it. "sad" would not do: of a film it is no blame. Those
# that are used both ways are left out: upside-down and winking faces, tongues, the skull.
OPINIONS = {
    "love": "❤♥♡❣😍🥰😘😻💕💖💗💘💙💚💛💜💝💞💓🤍🖤🧡🤩💟💌🫶",
    "great": "👍👏👌🙌💯🎉🏆🥳🌟💪🥇🏅🎊✨🤘",
    "smile": "☺😀😃😄😁😊🙂😌😎🤗😸😺😋😇😗😙😚",
    "hilarious": "😂🤣😆😹",
    "disappointed": "☹🙁😢😭😥😞😔😟💔😿😓",
    "terrible": "👎😠😡🤬😤💩🤮🤢🤦👿😖😣😫😩🖕🚮🗑",
    "boring": "😴🥱💤😒🙄😑😐😕😪",
}
# No digit before, as in a time, and no word around a letter.
_EMOTICONS = {
    "love": [r"<3(?!\p{N})"],
    "smile": [
        *(rf"{eyes}(?<!\p{{N}}{eyes})[-o]?\)" for eyes in ":="),
        *(rf"{eyes}(?<![\p{{L}}\p{{N}}]{eyes})-?d(?![\p{{L}}\p{{N}}])" for eyes in ":="),
        r"\(:(?![\p{L}\p{N}])",
    ],
    "hilarious": [r"x(?<![\p{L}\p{N}]x)d+(?![\p{L}\p{N}])"],
    "disappointed": [rf"{eyes}(?<!\p{{N}}{eyes})'?[-o]?\((?![\p{{L}}\p{{N}}])" for eyes in ":="],
}
# A rating, of which the empty stars are no part.
RATINGS = {5: "five stars", 4: "four stars", 3: "three stars", 2: "two stars", 1: "one star"}
_NEGATED = "do|does|did|is|was|are|were|has|have|had|would|could|should|might|must|need|ai"
# Letters that English doubles, and letters that it does not; "www", "xxx" and Roman numbers are no drawn-out words.
_DOUBLED, _SINGLE = "deglmnorst", "ahuy"


def _tag(names: str) -> str:
    """Match opening and closing tags, with their attributes."""
    return rf"</?(?:{names}|{names.upper()})(?:\s[^<>]*)?/?>"


def _entity(characters: str, names: str = "") -> str:
    """Match characters as HTML spells them: by one of the names, by decimal or by hexadecimal number."""
    numbers = "|".join(f"0*{ord(c)}|[xX]0*(?:{ord(c):x}|{ord(c):X})" for c in characters)
    return f"&(?:{'|'.join([*(f'{name};' for name in names.split()), f'#(?:{numbers})(?:;|(?![;0-9A-Fa-f]))'])})"


def _mojibake(characters: str) -> list[str]:
    """Spell characters as their UTF-8 reads in Latin-1, in Windows' code page 1252, twice too, and on old Macs."""
    latin, windows, mac = ([_read_as(page, c) for c in characters] for page in ("latin-1", "cp1252", "mac_roman"))
    return sorted({*latin, *windows, *mac, *(_read_as("cp1252", text) for text in windows)})


def _read_as(page: str, text: str) -> str:
    """Read UTF-8 in a code page, in which a byte that it does not know is itself."""
    return "".join(bytes([byte]).decode(page, "ignore") or chr(byte) for byte in text.encode())


def _characters() -> Iterator[tuple[list[str], str]]:
    """List alternatives and what takes their place, in order, as far as the case of letters does not matter."""
    # Alternatives that begin with a character are found many times faster than those that begin with a class or look
    # around.
    yield ["&(?:(?:amp|AMP|#0*38|#[xX]0*26);)+"], "&"
    yield [_entity("<", "lt LT")], "<"
    yield [_entity(">", "gt GT")], ">"
    # Beside an apostrophe; and what mojibake puts in front of \u0080 to \u00bf.
    split = "\u200b(?:(?=['\u2019])|(?<=['\u2019].))"
    yield [_tag(_INLINE), split, "\u00c2(?<!\u00ac\u00c2)(?=[\u0080-\u00bf])"], ""
    spaces = _entity("\t\n\r \u00a0\u2002\u2003\u2009\u200b", "nbsp ensp emsp thinsp")
    yield [_tag(_BLOCKS), "<!--[^<>]*-->", r"\\+(?:[nrt]|u00a0|xa0)", spaces, "\u200b", *_mojibake("\u200b")], " "
    # Mojibake of a dash ends in a quotation mark, so dashes come first.
    dashes = _entity("\u0096\u0097\u2013\u2014\u2015", "mdash ndash horbar")
    yield [*_DASHES, dashes, r"\\+u201[345]", *_mojibake("\u2013\u2014")], "--"
    yield [*_HYPHENS, _entity("-\u2010\u2011\u2212", "hyphen minus")], "-"
    names = "apos lsquo rsquo lsquor rsquor sbquo prime grave acute"
    apostrophes = _entity("'`\u00b4\u0091\u0092\u02bc\u2018\u2019\u201a\u201b\u2032\uff07", names)
    ends = "(?=(?:[tTsSmMdD]|[rR][eE]|[vV][eE]|[lL][lL])(?![\\p{L}\\p{N}=]))"
    lost = [rf"{c}{ends}(?<=\p{{L}}{c})" for c in (r"\?", "\ufffd")]
    escapes = r"\\+(?:'|u201[89]|u0027|x27|x92)"
    # Not what mojibake of other marks begins with.
    yield [*_APOSTROPHES, "\u201a(?![\u00c4\u00ac])", apostrophes, escapes, *lost, *_mojibake("\u2018\u2019")], "'"
    yield ["\u2026", _entity("\u0085\u2026", "hellip mldr"), r"\\+u2026", *_mojibake("\u2026")], "..."
    quotes = _entity('"\u0084\u0093\u0094\u00ab\u00bb\u201c\u201d\u201e', "quot QUOT ldquo rdquo bdquo laquo raquo")
    yield [*_QUOTES, quotes, r'\\+(?:"|u201[cd])', *_mojibake("\u201c\u201d\u201e"), "\u00e2\u20ac"], '"'
    # After mojibake of an apostrophe, which ends in a trade mark.
    invisible = _entity("\u00ad\u200c\u200d\u2122", "shy zwnj zwj trade")
    yield [*_INVISIBLE, invisible, *_mojibake("\ufeff")], ""
    yield [_entity("*\u0095\u2022", "ast bull"), "\u2022"], "*"
    for character, name in _PUNCTUATION.items():
        yield [_entity(character, name)], character
    for letter, names in _LETTERS.items():
        yield [_entity(letter + letter.upper().replace("SS", ""), names)], letter
    # Letters with a mark: first the letter, then the mark, which fewer replacements do; NFKC joins the two.
    decomposed = {chr(code): unicodedata.normalize("NFD", chr(code)) for code in range(0xC0, 0x100)}
    for letter in "aceinouy":
        own = "".join(c for c, parts in decomposed.items() if parts[0].lower() == letter != c.lower())
        names = " ".join(f"[{letter}{letter.upper()}]{name}" for name in _MARKS)
        yield [_entity(own, names).replace("&", "&(?=") + ")"], f"{letter}&"
    for name, mark in _MARKS.items():
        yield [_entity("".join(c for c, parts in decomposed.items() if parts[1:] == mark), f"[A-Za-z]{name}")], mark
    yield _mojibake("é"), "é"
    # "4½" is no 41/2.
    yield ["(?<=\\p{N})(?=\u00bd|\u00bc|\u00be)"], " "


def _words() -> Iterator[tuple[list[str], str]]:
    """List alternatives of lower-case text and what takes their place, in order."""
    # Doubled as in SQL.
    yield [r"''(?=(?:t|s|m|d|re|ve|ll)(?![\p{L}\p{M}\p{N}]))(?<=\p{L}'')"], "'"
    # One letter is replaced, so that the tokenizer still knows where in the text the token stands.
    yield [rf"n(?=t(?![\p{{L}}\p{{M}}\p{{N}}]))(?<=(?:^|[^\p{{L}}\p{{M}}\p{{N}}])(?:{_NEGATED})n)"], "n'"
    # Here and not in the splitter, which would look for it at every letter.
    yield [r"n(?='t(?![\p{L}\p{M}\p{N}]))"], " n"
    yield ["\u2044", "\u2215", r"\\+/"], "/"
    for count, stars in RATINGS.items():
        yield [rf"{star * count}[\u2606]*" for star in "\u2605\u2b50"], f" {stars} "
    for letter in _DOUBLED:
        yield [letter * 3 + "+"], letter * 2
    for letter in _SINGLE:
        yield [letter * 3 + "+"], letter
    yield ["iii+(?=[a-hj-uyz])"], "i"
    for word, emoji in OPINIONS.items():
        yield [*emoji, *_EMOTICONS.get(word, [])], f" {word} "


def words_normalizer(*, plain: bool = False) -> normalizers.Sequence:
    """Make the normalizer of the `words` scheme; the plain one does the same to texts that are plain, in less time.

    Every replacement copies the text, whether or not it finds anything. Those that the plain one leaves out look for an
    ampersand or for characters beyond ASCII, and those that it keeps put none in.
    """

    def replacements(rules: Iterator[tuple[list[str], str]]) -> Iterator[normalizers.Normalizer]:
        for patterns, content in rules:
            kept = [pattern for pattern in patterns if is_plain(pattern)] if plain else patterns
            if kept:
                yield normalizers.Replace(Regex("|".join(kept)), content)

    unicode = [] if plain else [normalizers.NFKC()]
    return normalizers.Sequence(
        [*replacements(_characters()), *unicode, normalizers.Lowercase(), *replacements(_words())]
    )


def is_plain(text: str) -> bool:
    """Tell whether a text is ASCII without an ampersand, as most are."""
    return text.isascii() and "&" not in text


def plain_tokenizer(tokenizer: Tokenizer) -> Tokenizer | None:
    """Make one that gives the same ids for plain texts, in half the time; None where the scheme is not just `words`.

    It takes special tokens in a text for text, as `encode_special_tokens` does. A tokenizer of other added tokens, or
    one that puts tokens around a text, has none.
    """
    added = any(not token.special for token in tokenizer.get_added_tokens_decoder().values())
    if added or tokenizer.num_special_tokens_to_add(False):
        return None
    if tokenizer.normalizer is None or tokenizer.normalizer.__getstate__() != words_normalizer().__getstate__():
        return None
    # They share one vocabulary.
    plain = Tokenizer(tokenizer.model)
    plain.normalizer, plain.pre_tokenizer = words_normalizer(plain=True), tokenizer.pre_tokenizer
    return plain
