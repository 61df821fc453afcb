"""Numba kernels. Importing a module here imports numba; nothing of fastlm does so before the first encode."""
