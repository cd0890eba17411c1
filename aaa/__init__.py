"""RADIUS and Diameter AAA server; the rooms and the ways through them are in ARCHITECTURE.md."""
