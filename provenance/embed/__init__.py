"""Learned descriptors: a network, its preprocessing and its version travel together."""
