"""Training a byte-level BPE vocabulary: count pretokens, learn merges, build the vocabulary."""
