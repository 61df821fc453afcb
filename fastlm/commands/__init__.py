"""The commands of `fastlm`, one module each."""
