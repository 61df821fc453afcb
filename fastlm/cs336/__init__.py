"""The adapters by which the tests of Stanford's CS336, assignment 1, reach fastlm."""
