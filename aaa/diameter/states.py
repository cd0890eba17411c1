"""The peer state machine of RFC 6733 §5.6 as its table, with the RFC's rows in the RFC's order under its names."""

from enum import Enum, auto
from typing import Final


class State(Enum):
    CLOSED = auto()
    WAIT_CONN_ACK = auto()
    WAIT_I_CEA = auto()
    WAIT_CONN_ACK_ELECT = auto()
    WAIT_RETURNS = auto()
    R_OPEN = auto()
    I_OPEN = auto()
    CLOSING = auto()


class Input(Enum):
    """RFC 6733 §5.6.1's events."""

    START = auto()
    R_CONN_CER = auto()
    I_RCV_CONN_ACK = auto()
    I_RCV_CONN_NACK = auto()
    TIMEOUT = auto()
    I_RCV_CEA = auto()
    I_RCV_NON_CEA = auto()
    I_PEER_DISC = auto()
    R_PEER_DISC = auto()
    WIN_ELECTION = auto()
    SEND_MESSAGE = auto()
    I_RCV_MESSAGE = auto()
    R_RCV_MESSAGE = auto()
    I_RCV_DWR = auto()
    R_RCV_DWR = auto()
    I_RCV_DWA = auto()
    R_RCV_DWA = auto()
    STOP = auto()
    I_RCV_DPR = auto()
    R_RCV_DPR = auto()
    I_RCV_DPA = auto()
    R_RCV_DPA = auto()


class Action(Enum):
    """RFC 6733 §5.6.2's actions."""

    I_SND_CONN_REQ = auto()
    R_ACCEPT = auto()
    PROCESS_CER = auto()
    R_SND_CEA = auto()
    I_SND_CER = auto()
    CLEANUP = auto()
    ERROR = auto()
    PROCESS_CEA = auto()
    ELECT = auto()
    I_DISC = auto()
    R_DISC = auto()
    R_REJECT = auto()
    I_SND_MESSAGE = auto()
    R_SND_MESSAGE = auto()
    PROCESS = auto()
    PROCESS_DWR = auto()
    I_SND_DWA = auto()
    R_SND_DWA = auto()
    PROCESS_DWA = auto()
    I_SND_DPR = auto()
    R_SND_DPR = auto()
    I_SND_DPA = auto()
    R_SND_DPA = auto()


Transition = tuple[tuple[Action, ...], State]
_S, _I, _A = State, Input, Action

TRANSITIONS: Final[dict[tuple[State, Input], Transition]] = {
    (_S.CLOSED, _I.START): ((_A.I_SND_CONN_REQ,), _S.WAIT_CONN_ACK),
    (_S.CLOSED, _I.R_CONN_CER): ((_A.R_ACCEPT, _A.PROCESS_CER, _A.R_SND_CEA), _S.R_OPEN),
    #
    (_S.WAIT_CONN_ACK, _I.I_RCV_CONN_ACK): ((_A.I_SND_CER,), _S.WAIT_I_CEA),
    (_S.WAIT_CONN_ACK, _I.I_RCV_CONN_NACK): ((_A.CLEANUP,), _S.CLOSED),
    (_S.WAIT_CONN_ACK, _I.R_CONN_CER): ((_A.R_ACCEPT, _A.PROCESS_CER), _S.WAIT_CONN_ACK_ELECT),
    (_S.WAIT_CONN_ACK, _I.TIMEOUT): ((_A.ERROR,), _S.CLOSED),
    #
    (_S.WAIT_I_CEA, _I.I_RCV_CEA): ((_A.PROCESS_CEA,), _S.I_OPEN),
    (_S.WAIT_I_CEA, _I.R_CONN_CER): ((_A.R_ACCEPT, _A.PROCESS_CER, _A.ELECT), _S.WAIT_RETURNS),
    (_S.WAIT_I_CEA, _I.I_PEER_DISC): ((_A.I_DISC,), _S.CLOSED),
    (_S.WAIT_I_CEA, _I.I_RCV_NON_CEA): ((_A.ERROR,), _S.CLOSED),
    (_S.WAIT_I_CEA, _I.TIMEOUT): ((_A.ERROR,), _S.CLOSED),
    #
    (_S.WAIT_CONN_ACK_ELECT, _I.I_RCV_CONN_ACK): ((_A.I_SND_CER, _A.ELECT), _S.WAIT_RETURNS),
    (_S.WAIT_CONN_ACK_ELECT, _I.I_RCV_CONN_NACK): ((_A.R_SND_CEA,), _S.R_OPEN),
    (_S.WAIT_CONN_ACK_ELECT, _I.R_PEER_DISC): ((_A.R_DISC,), _S.WAIT_CONN_ACK),
    (_S.WAIT_CONN_ACK_ELECT, _I.R_CONN_CER): ((_A.R_REJECT,), _S.WAIT_CONN_ACK_ELECT),
    (_S.WAIT_CONN_ACK_ELECT, _I.TIMEOUT): ((_A.ERROR,), _S.CLOSED),
    #
    (_S.WAIT_RETURNS, _I.WIN_ELECTION): ((_A.I_DISC, _A.R_SND_CEA), _S.R_OPEN),
    (_S.WAIT_RETURNS, _I.I_PEER_DISC): ((_A.I_DISC, _A.R_SND_CEA), _S.R_OPEN),
    (_S.WAIT_RETURNS, _I.I_RCV_CEA): ((_A.R_DISC, _A.PROCESS_CEA), _S.I_OPEN),
    (_S.WAIT_RETURNS, _I.R_PEER_DISC): ((_A.R_DISC,), _S.WAIT_I_CEA),
    (_S.WAIT_RETURNS, _I.R_CONN_CER): ((_A.R_REJECT,), _S.WAIT_RETURNS),
    (_S.WAIT_RETURNS, _I.TIMEOUT): ((_A.ERROR,), _S.CLOSED),
    #
    (_S.R_OPEN, _I.SEND_MESSAGE): ((_A.R_SND_MESSAGE,), _S.R_OPEN),
    (_S.R_OPEN, _I.R_RCV_MESSAGE): ((_A.PROCESS,), _S.R_OPEN),
    (_S.R_OPEN, _I.R_RCV_DWR): ((_A.PROCESS_DWR, _A.R_SND_DWA), _S.R_OPEN),
    (_S.R_OPEN, _I.R_RCV_DWA): ((_A.PROCESS_DWA,), _S.R_OPEN),
    (_S.R_OPEN, _I.R_CONN_CER): ((_A.R_REJECT,), _S.R_OPEN),
    (_S.R_OPEN, _I.STOP): ((_A.R_SND_DPR,), _S.CLOSING),
    (_S.R_OPEN, _I.R_RCV_DPR): ((_A.R_SND_DPA,), _S.CLOSING),
    (_S.R_OPEN, _I.R_PEER_DISC): ((_A.R_DISC,), _S.CLOSED),
    #
    (_S.I_OPEN, _I.SEND_MESSAGE): ((_A.I_SND_MESSAGE,), _S.I_OPEN),
    (_S.I_OPEN, _I.I_RCV_MESSAGE): ((_A.PROCESS,), _S.I_OPEN),
    (_S.I_OPEN, _I.I_RCV_DWR): ((_A.PROCESS_DWR, _A.I_SND_DWA), _S.I_OPEN),
    (_S.I_OPEN, _I.I_RCV_DWA): ((_A.PROCESS_DWA,), _S.I_OPEN),
    (_S.I_OPEN, _I.R_CONN_CER): ((_A.R_REJECT,), _S.I_OPEN),
    (_S.I_OPEN, _I.STOP): ((_A.I_SND_DPR,), _S.CLOSING),
    (_S.I_OPEN, _I.I_RCV_DPR): ((_A.I_SND_DPA,), _S.CLOSING),
    (_S.I_OPEN, _I.I_PEER_DISC): ((_A.I_DISC,), _S.CLOSED),
    #
    (_S.CLOSING, _I.I_RCV_DPA): ((_A.I_DISC,), _S.CLOSED),
    (_S.CLOSING, _I.R_RCV_DPA): ((_A.R_DISC,), _S.CLOSED),
    (_S.CLOSING, _I.TIMEOUT): ((_A.ERROR,), _S.CLOSED),
    (_S.CLOSING, _I.I_PEER_DISC): ((_A.I_DISC,), _S.CLOSED),
    (_S.CLOSING, _I.R_PEER_DISC): ((_A.R_DISC,), _S.CLOSED),
}
"""RFC 6733 §5.6, row by row."""

ADDITIONS: Final[dict[tuple[State, Input], Transition]] = {
    # A server that stops does not wait for a connection to come up first.
    (_S.WAIT_CONN_ACK, _I.STOP): ((_A.CLEANUP,), _S.CLOSED),
    (_S.WAIT_I_CEA, _I.STOP): ((_A.CLEANUP,), _S.CLOSED),
    (_S.WAIT_CONN_ACK_ELECT, _I.STOP): ((_A.CLEANUP,), _S.CLOSED),
    (_S.WAIT_RETURNS, _I.STOP): ((_A.CLEANUP,), _S.CLOSED),
    # The peer refused our connection while its own waits: its own it is.
    (_S.WAIT_RETURNS, _I.I_RCV_NON_CEA): ((_A.I_DISC, _A.R_SND_CEA), _S.R_OPEN),
    # It may send nothing on a connection whose CER was not answered.
    (_S.WAIT_CONN_ACK_ELECT, _I.R_RCV_MESSAGE): ((_A.R_DISC,), _S.WAIT_CONN_ACK),
    (_S.WAIT_RETURNS, _I.R_RCV_MESSAGE): ((_A.R_DISC,), _S.WAIT_I_CEA),
    # The watchdog gave it up, or it floods us.
    (_S.R_OPEN, _I.TIMEOUT): ((_A.ERROR,), _S.CLOSED),
    (_S.I_OPEN, _I.TIMEOUT): ((_A.ERROR,), _S.CLOSED),
    # Both say DPR at once, and what was under way is finished.
    (_S.CLOSING, _I.I_RCV_DPR): ((_A.I_SND_DPA,), _S.CLOSING),
    (_S.CLOSING, _I.R_RCV_DPR): ((_A.R_SND_DPA,), _S.CLOSING),
    (_S.CLOSING, _I.I_RCV_DWR): ((_A.PROCESS_DWR, _A.I_SND_DWA), _S.CLOSING),
    (_S.CLOSING, _I.R_RCV_DWR): ((_A.PROCESS_DWR, _A.R_SND_DWA), _S.CLOSING),
    (_S.CLOSING, _I.I_RCV_MESSAGE): ((_A.PROCESS,), _S.CLOSING),
    (_S.CLOSING, _I.R_RCV_MESSAGE): ((_A.PROCESS,), _S.CLOSING),
    (_S.CLOSING, _I.R_CONN_CER): ((_A.R_REJECT,), _S.CLOSING),
}
"""Where the RFC's table has no row. Any other pair changes nothing; tests/diameter/test_peer.py lists them."""

TABLE: Final = TRANSITIONS | ADDITIONS
OPEN: Final = (State.R_OPEN, State.I_OPEN)
