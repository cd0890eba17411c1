"""Names <-> numbers of RADIUS attributes, one immutable object. Knows no socket, no session, no setting."""

from aaa.dictionary.attribute import Attribute
from aaa.dictionary.dictionary import Dictionary
from aaa.dictionary.reader import SHIPPED, load

__all__ = ["SHIPPED", "Attribute", "Dictionary", "load"]
