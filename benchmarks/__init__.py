"""Speed and memory of fastlm beside its peers: `python -m benchmarks.run` measures all and writes RESULTS.md."""
