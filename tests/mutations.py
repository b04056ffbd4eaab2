"""Changes of a JSON value that keep it JSON: what a damaged or hostile configuration or tokenizer may hold."""

from __future__ import annotations

import copy

_NUMBERS = [0, -1, 2**31, 2**32, 2**64, 10**25, 1e308, float("nan"), 0.5]
_WORDS = ["WordLevel", "BPE", "Whitespace", "Sequence", "Lowercase", "Left", "Isolated", "Removed", "[", "\\", "(?<=a"]
VALUES = [None, True, *_NUMBERS, "", "a", "<unk>", "<pad>", [], {}, [{}], *_WORDS]
# Parts of a tokenizer, whole but not meant for each other.
PARTS = [
    {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]], "unk_token": None},
    {"type": "Unigram", "unk_id": 7, "vocab": [["a", 0.0]], "byte_fallback": False},
    {"type": "Unigram", "unk_id": None, "vocab": [], "byte_fallback": True},
    {"type": "WordPiece", "unk_token": "b", "continuing_subword_prefix": "##", "vocab": {"a": 5}},
    {"type": "WordLevel", "unk_token": "b", "vocab": {"a": 0}},
    {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "b", "type_id": 0}}], "special_tokens": {}},
    {"type": "BertProcessing", "sep": ["a", 2**32 - 1], "cls": ["b", 9]},
    {"type": "Precompiled", "precompiled_charsmap": "AAAA"},
    {"type": "Split", "pattern": {"Regex": "x*"}, "behavior": "Contiguous", "invert": True},
    {"type": "Split", "pattern": {"String": ""}, "behavior": "Removed", "invert": False},
    {"type": "Replace", "pattern": {"Regex": ""}, "content": "b"},
    {"type": "Metaspace", "replacement": "", "prepend_scheme": "always", "split": True},
    {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    {"strategy": {"Fixed": 3}, "direction": "Right", "pad_to_multiple_of": 0, "pad_id": 2**32 - 1, "pad_token": "b"},
    {"direction": "Left", "max_length": 3, "strategy": "LongestFirst", "stride": 5},
]


def mutated(value, choose):
    """A copy of a JSON object in which one to three things are others.

    Args:
        value: The object.
        choose: Takes one out of a list.
    """
    value = copy.deepcopy(value)
    for _ in range(choose([1, 1, 1, 2, 3])):
        path = choose([path for path in _paths(value) if path])
        *way, last = path
        inner = value
        for key in way:
            inner = inner[key]
        new = copy.deepcopy(choose(choose([VALUES, PARTS])))
        how = choose(["replace", "replace", "remove", "wrap"])
        if how == "remove":
            del inner[last]
        else:
            inner[last] = [inner[last], new] if how == "wrap" else new
        if not value:
            break
    return value


def _paths(value, path=()):
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from _paths(value[key], (*path, key))
