// One function per topic, called by module.cpp: a topic adds its functions and classes to the module `tilth._core`.
#pragma once

#include <nanobind/nanobind.h>

namespace tilth {

void bind_tokenizer(nanobind::module_& m);
void bind_sentencepiece(nanobind::module_& m);
void bind_training(nanobind::module_& m);

}  // namespace tilth
