"""The data structures of the BPE merge loop: words, symbols, pairs, the heap of pairs, and merge lists."""
