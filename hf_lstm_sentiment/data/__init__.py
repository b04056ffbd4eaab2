"""Reviews and word vectors in; checked, split and encoded."""
