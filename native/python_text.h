// Text that comes from Python, without a copy.
//
// A `bytes` is taken as it is, valid UTF-8 or not. A `str` with lone surrogates, which UTF-8 cannot hold, is read as
// tiktoken reads it: surrogate pairs become the character they encode, lone ones U+FFFD.
#pragma once

#include <nanobind/nanobind.h>

#include <string_view>
#include <vector>

namespace tilth {

/// The UTF-8 of a `str` or the content of a `bytes`, held as long as this object lives.
class Text {
  public:
    /// Raises TypeError for anything but `str` and `bytes`.
    explicit Text(nanobind::handle text) : held_(nanobind::borrow(text)) {
        if (PyBytes_Check(text.ptr())) {
            view_ = {PyBytes_AS_STRING(text.ptr()), static_cast<std::size_t>(PyBytes_GET_SIZE(text.ptr()))};
            return;
        }
        if (!PyUnicode_Check(text.ptr())) throw nanobind::type_error("text must be str or bytes");
        if (take_utf8()) return;
        if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) throw nanobind::python_error();
        PyErr_Clear();
        held_ = held_.attr("encode")("utf-16", "surrogatepass").attr("decode")("utf-16", "replace");
        if (!take_utf8()) throw nanobind::python_error();
    }

    std::string_view view() const { return view_; }

  private:
    bool take_utf8() {
        Py_ssize_t size = 0;
        const char* data = PyUnicode_AsUTF8AndSize(held_.ptr(), &size);
        if (data == nullptr) return false;
        view_ = {data, static_cast<std::size_t>(size)};
        return true;
    }

    nanobind::object held_;
    std::string_view view_;
};

/// The texts of a list, held, so that the list may change while the GIL is released.
inline std::vector<Text> texts_of(const nanobind::list& list) {
    std::vector<Text> texts;
    texts.reserve(list.size());
    for (const nanobind::handle text : list) texts.emplace_back(text);
    return texts;
}

}  // namespace tilth
