"""Diameter: peers, watchdog, routing; sans-I/O. Knows messages and grammars; knows no socket, no clock, no subscriber."""
