"""What a student of Stanford's CS336, assignment 1, needs: the adapters by which the course's tests reach fastlm."""
