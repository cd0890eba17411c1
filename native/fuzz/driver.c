/* libFuzzer around an embedded Python: every input goes to one function, named by AAA_FUZZ_HARNESS, of the
 * module AAA_FUZZ_MODULE.
 * An exception there is a finding. The sanitizers' runtimes live in this executable, so the codecs' shared objects,
 * built with the same flags, find them when Python loads them.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>

static PyObject *harness;

static void give_up(void) {
    PyErr_Print();
    fflush(stderr);
    abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    const char *name = getenv("AAA_FUZZ_HARNESS"), *file = getenv("AAA_FUZZ_MODULE");
    PyObject *module;
    (void)argc;
    (void)argv;
    Py_InitializeEx(0);
    module = PyImport_ImportModule(file ? file : "harness");
    harness = module && name ? PyObject_GetAttrString(module, name) : NULL;
    if (harness == NULL)
        give_up();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    PyObject *input = PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)size);
    PyObject *result = input ? PyObject_CallOneArg(harness, input) : NULL;
    if (result == NULL)
        give_up();
    Py_DECREF(result);
    Py_DECREF(input);
    return 0;
}
