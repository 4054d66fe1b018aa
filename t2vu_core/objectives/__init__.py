"""Objectives: named, cited, pure functions."""
