"""CRC-32C (Castagnoli), the checksum of TensorFlow's checkpoint files, in NumPy.

A CRC register is a vector of 32 bits, and reading a zero byte applies a linear map to it. It follows that the
checksum, which the textbook loop computes byte by byte, can be computed in parallel:

    crc(a followed by b) = Z(crc(a)) xor crc(b),    Z = "read len(b) zero bytes",
    Z for twice the length is Z applied twice.

So each four-byte word is a message of its own, and neighbours are merged pairwise, as in a tournament.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = np.uint32(0x82F63B78)  # Castagnoli's, bit-reversed, as the register shifts towards the low bit

# The standard initialises the register to all ones. Reading these four bytes from a zero register gives exactly
# that state, so everything after them is linear.
_PREAMBLE = bytes.fromhex("54641f64")
_PIECE = 1 << 20  # bytes at a time, as the tournament takes many times their memory


def crc32c(data: bytes) -> int:
    """CRC-32C of `data`, as an unsigned 32-bit number: `crc32c(b"123456789") == 0xE3069283`."""
    crc = _crc(_PREAMBLE + data[: len(data) % _PIECE])
    for start in range(len(data) % _PIECE, len(data), _PIECE):  # a register acts as if added to the next four bytes
        piece = bytearray(data[start : start + _PIECE])
        piece[:4] = (int.from_bytes(piece[:4], "little") ^ crc).to_bytes(4, "little")
        crc = _crc(piece)
    return crc ^ 0xFFFFFFFF


def _crc(message: bytes | bytearray) -> int:
    """The register after reading a message, from a zero register."""
    leading_zeros = bytes(-len(message) % 4)  # they leave a zero register unchanged
    words = np.frombuffer(leading_zeros + message, "<u4").astype(np.uint32)
    zeros = _read_four_zero_bytes()
    crc = _apply(zeros, words)
    while len(crc) > 1:
        if len(crc) % 2:
            crc = np.concatenate([np.zeros(1, np.uint32), crc])
        crc = _apply(zeros, crc[0::2]) ^ crc[1::2]
        zeros = _apply(zeros, zeros)
    return int(crc[0])


def masked_crc32c(data: bytes) -> int:
    """CRC-32C as LevelDB stores it: rotated by 15 bits plus a constant.

    Masking avoids degenerate checksums of data that contains checksums.
    """
    crc = crc32c(data)
    rotated = (crc >> 15) | (crc << 17)
    return (rotated + 0xA282EAD8) & 0xFFFFFFFF


def _read_four_zero_bytes() -> NDArray[np.uint32]:
    """The map "read four zero bytes" as a table 4 × 256: entry [i, v] is its value at v << 8·i."""
    register = np.arange(256, dtype=np.uint32) << np.array([[0], [8], [16], [24]], np.uint32)
    for _ in range(32):
        register = np.where(register & 1, (register >> 1) ^ _POLYNOMIAL, register >> 1)
    return register


def _apply(table: NDArray[np.uint32], x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Apply a linear map to every element of x; by linearity, its four bytes contribute independently.

    Applied to the map's own table, it gives the table of the map applied twice.
    """
    image: NDArray[np.uint32] = table[0][x & 0xFF]
    for i in (1, 2, 3):
        image ^= table[i][(x >> 8 * i) & 0xFF]
    return image
