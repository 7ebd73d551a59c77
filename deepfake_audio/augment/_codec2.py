"""Codec 2 as a program: 16-bit samples at 8 kHz from standard input, and back to standard output.

Its arguments are the file of the library and the mode. A process each time, as the library keeps
the state of its random phases to itself: a copy should not depend on those made before it.
"""

import ctypes
import sys

LATE = 640
"""Samples of silence behind the last: what is late has to come out as well, in whole frames."""


def main(library: str, mode: str) -> None:
    """Encode and decode."""
    codec = ctypes.CDLL(library)
    pointer = ctypes.c_void_p
    codec.codec2_create.restype = pointer
    for function in (codec.codec2_samples_per_frame, codec.codec2_bits_per_frame):
        function.argtypes = [pointer]
    codec.codec2_encode.argtypes = codec.codec2_decode.argtypes = [pointer, pointer, pointer]
    state = codec.codec2_create(int(mode))
    if not state:
        raise MemoryError("codec2_create")
    size = codec.codec2_samples_per_frame(state)
    coded = (ctypes.c_ubyte * ((codec.codec2_bits_per_frame(state) + 7) // 8))()
    heard = sys.stdin.buffer.read()
    heard += bytes(-len(heard) % (2 * size) + 2 * LATE)
    frame, said = (ctypes.c_short * size)(), (ctypes.c_short * size)()
    for first in range(0, len(heard), 2 * size):
        ctypes.memmove(frame, heard[first : first + 2 * size], 2 * size)
        codec.codec2_encode(state, coded, frame)
        codec.codec2_decode(state, said, coded)
        sys.stdout.buffer.write(bytes(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
