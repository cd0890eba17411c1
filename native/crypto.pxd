cpdef bint verify_chap(int identifier, bytes password, bytes challenge, bytes response) except -1
cpdef bint equal(bytes a, bytes b) except -1
