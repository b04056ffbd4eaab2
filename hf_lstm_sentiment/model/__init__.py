"""Everything that a checkpoint is: configuration, models, tokenizer, and how they are loaded."""
