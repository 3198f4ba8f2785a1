// The module `tilth._core`. Its typed interface is src/tilth/native.py; nothing else imports it.
//
// C++ exceptions become Python's by nanobind's rules: bad_alloc -> MemoryError, invalid_argument and length_error ->
// ValueError, out_of_range -> IndexError, anything else (a thread that cannot start) -> RuntimeError.
#include "bindings.h"

NB_MODULE(_core, m) {
    m.doc() = "The native core of tilth.";
    tilth::bind_tokenizer(m);
    tilth::bind_sentencepiece(m);
    tilth::bind_training(m);
}
