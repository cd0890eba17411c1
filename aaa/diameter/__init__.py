"""Diameter: peers, watchdog, routing; sans-I/O. Knows messages and grammars, but no socket, clock or subscriber."""
