"""The lab's SIM against the numbers of 3GPP TS 35.208 §4.3.1 (test set 1)."""

from tests.lab.usim import milenage


def test_functions_of_the_published_test_set_1():
    made = milenage(
        bytes.fromhex("465b5ce8b199b49faa5f0a2ee238a6bc"),
        bytes.fromhex("cd63cb71954a9f4e48a5994e37a02baf"),
        bytes.fromhex("23553cbe9637a89d218ae64dae47bf35"),
        bytes.fromhex("ff9bb4d0b607"),
        bytes.fromhex("b9b9"),
    )
    assert made.mac_a.hex() == "4a9ffac354dfafb3"
    assert made.mac_s.hex() == "01cfaf9ec4e871e9"
    assert made.res.hex() == "a54211d5e3ba50bf"
    assert made.ak.hex() == "aa689c648370"
    assert made.ck.hex() == "b40ba9a3c58b2a05bbf0d987b21bf8cb"
    assert made.ik.hex() == "f769bcd751044604127672711c6d3441"
    assert made.ak_s.hex() == "451e8beca43b"
