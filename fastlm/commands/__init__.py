"""The commands of `fastlm`, beside those of the tokenizer, which stand in `cli`."""
