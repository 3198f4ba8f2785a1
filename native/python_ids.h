// Ids on their way to Python: as a list of integers, or as a numpy array that owns them.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

namespace tilth {

/// A numpy array that owns `values`, of one dimension or with so many columns.
template <class T>
nanobind::ndarray<nanobind::numpy, T> to_numpy(std::vector<T>&& values, std::size_t columns = 1) {
    auto owned = std::make_unique<std::vector<T>>(std::move(values));
    const std::size_t shape[] = {owned->size() / columns, columns};
    T* const data = owned->data();
    nanobind::capsule owner(owned.get(), [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    owned.release();  // only now: making the capsule may fail
    return nanobind::ndarray<nanobind::numpy, T>(data, columns == 1 ? 1 : 2, shape, owner);
}

/// Python's integer of an id. The objects are kept, because making them costs more than encoding does. Needs the GIL.
inline PyObject* id_object(std::uint32_t id) {
    constexpr std::uint32_t kMostKept = 1 << 20;
    static std::vector<PyObject*> kept;
    if (id >= kMostKept) return PyLong_FromUnsignedLong(id);
    if (id >= kept.size()) kept.resize(std::max<std::size_t>(id + 1, 2 * kept.size()), nullptr);
    if (kept[id] == nullptr) kept[id] = PyLong_FromUnsignedLong(id);
    Py_XINCREF(kept[id]);
    return kept[id];
}

/// The ids of several parts as one list.
template <class Id>
nanobind::list to_list(const std::vector<std::vector<Id>>& parts) {
    std::size_t n = 0;
    for (const std::vector<Id>& ids : parts) n += ids.size();
    nanobind::list list = nanobind::steal<nanobind::list>(PyList_New(static_cast<Py_ssize_t>(n)));
    if (!list.is_valid()) throw nanobind::python_error();
    Py_ssize_t at = 0;
    for (const std::vector<Id>& ids : parts) {
        for (const Id id : ids) {
            PyObject* const object = id_object(id);
            if (object == nullptr) throw nanobind::python_error();
            PyList_SET_ITEM(list.ptr(), at++, object);
        }
    }
    return list;
}

template <class Id>
nanobind::list to_list(std::vector<Id>&& ids) {
    std::vector<std::vector<Id>> parts;
    parts.push_back(std::move(ids));
    return to_list(parts);
}

}  // namespace tilth
