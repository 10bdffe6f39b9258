"""Defines no plugin at all."""

GREETING = "hello"
