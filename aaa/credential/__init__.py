"""Does this proof match that stored verifier; and who does this MAC, circuit or user name name.

Knows no RADIUS and no storage.
"""
