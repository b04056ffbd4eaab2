"""From texts to batches: token ids, padded to the longest review of the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase


def encode_reviews(reviews: Dataset, tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> Dataset:
    """Tokenize reviews with `datasets.map`, batched and cached on disk for sources that lie there.

    The columns become `input_ids`, `length` (tokens kept, the first ones), `label` and `row`. Truncation settings of
    the tokenizer, which has a `tokenizers` backend, are neither used nor changed.
    """
    return reviews.map(
        _encode_batch,
        batched=True,
        remove_columns=["text"],
        # As text, so that the cache is keyed by what the tokenizer does and not by an object's state.
        fn_kwargs={"tokenizer_json": tokenizer.backend_tokenizer.to_str(), "max_length": max_length},
        desc="Tokenizing",
    )


def longest_first(reviews: Dataset) -> Dataset:
    """Order encoded reviews by falling length, so that batches hold reviews of similar length; for held-out ones."""
    return reviews.select(np.argsort(reviews["length"][:], kind="stable")[::-1])


@lru_cache(maxsize=1)
def _backend(tokenizer_json: str) -> Tokenizer:
    backend = Tokenizer.from_str(tokenizer_json)
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    return backend


def _encode_batch(batch: Mapping[str, list[str]], *, tokenizer_json: str, max_length: int) -> dict[str, list[Any]]:
    ids = [encoding.ids[:max_length] for encoding in _backend(tokenizer_json).encode_batch(batch["text"])]
    return {"input_ids": ids, "length": [len(review) for review in ids]}


def pad_batch(reviews: Sequence[Sequence[int]], pad_token_id: int, *, width: int = 0) -> tuple[Tensor, Tensor]:
    """Pad token ids on the right to the longest review of the batch, and to a `width` at least.

    The ids, and a mask that is true where they are no padding, both *Shape:* (batch_size, seq_len).
    """
    lengths = np.fromiter(map(len, reviews), dtype=np.int64, count=len(reviews))
    mask = np.arange(max(width, int(lengths.max(initial=0)))) < lengths[:, None]
    ids = np.full(mask.shape, pad_token_id, dtype=np.int64)
    ids[mask] = np.fromiter(chain.from_iterable(reviews), dtype=np.int64, count=lengths.sum())
    return torch.from_numpy(ids), torch.from_numpy(mask)


@dataclass(frozen=True)
class PaddingCollator:
    """Batches encoded reviews, padded on the right to the longest of the batch."""

    pad_token_id: int
    # For the study's naive padding: so many tokens at least.
    pad_to: int | None = None

    def __call__(self, reviews: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Stack reviews. *Shapes:* input_ids, attention_mask (batch_size, seq_len), labels, if any, (batch_size,)."""
        ids, mask = pad_batch([review["input_ids"] for review in reviews], self.pad_token_id, width=self.pad_to or 0)
        labels = {"labels": torch.tensor([review["label"] for review in reviews])} if "label" in reviews[0] else {}
        return {"input_ids": ids, "attention_mask": mask.long(), **labels}
