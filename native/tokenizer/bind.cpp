// Python bindings of the tokenizer core. Everything that takes time runs without the GIL.
#include "../bindings.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>

#include "../parallel.h"
#include "../python_text.h"
#include "bpe_encode.h"
#include "bpe_train.h"
#include "pretokenize.h"
#include "special_tokens.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace tilth {

namespace {

using Ids = std::vector<std::uint32_t>;
using PairArray = nb::ndarray<const std::uint32_t, nb::shape<-1, 2>, nb::c_contig, nb::device::cpu>;
using IdArray = nb::ndarray<const std::uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

/// A numpy array that owns `values`.
template <class T>
nb::ndarray<nb::numpy, T> to_numpy(std::vector<T>&& values, std::size_t columns = 1) {
    auto owned = std::make_unique<std::vector<T>>(std::move(values));
    const std::size_t shape[] = {owned->size() / columns, columns};
    T* const data = owned->data();
    nb::capsule owner(owned.release(), [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
    return nb::ndarray<nb::numpy, T>(data, columns == 1 ? 1 : 2, shape, owner);
}

nb::ndarray<nb::numpy, std::uint32_t> pairs_to_numpy(const std::vector<TokenPair>& pairs) {
    Ids flat;
    flat.reserve(2 * pairs.size());
    for (const auto& [left, right] : pairs) flat.insert(flat.end(), {left, right});
    return to_numpy(std::move(flat), 2);
}

nb::list to_list(const Ids& ids) {
    nb::list list = nb::steal<nb::list>(PyList_New(static_cast<Py_ssize_t>(ids.size())));
    if (!list.is_valid()) throw nb::python_error();
    for (std::size_t i = 0; i < ids.size(); ++i) {
        PyObject* const id = PyLong_FromUnsignedLong(ids[i]);
        if (id == nullptr) throw nb::python_error();
        PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i), id);
    }
    return list;
}

std::vector<std::string> to_strings(const std::vector<nb::bytes>& tokens) {
    std::vector<std::string> strings;
    strings.reserve(tokens.size());
    for (const nb::bytes& token : tokens) strings.emplace_back(token.c_str(), token.size());
    return strings;
}

std::vector<TokenPair> to_pairs(const PairArray& merges) {
    std::vector<TokenPair> pairs(merges.shape(0));
    for (std::size_t i = 0; i < pairs.size(); ++i) pairs[i] = {merges.data()[2 * i], merges.data()[2 * i + 1]};
    return pairs;
}

Ids encode(const BpeEncoder& encoder, nb::handle text, const std::string& pattern, const SpecialTokens* specials) {
    const Text held(text);
    const std::string_view view = held.view();
    const Pattern known = pattern_named(pattern);
    Ids ids;
    const nb::gil_scoped_release release;
    encoder.encode(view, known, specials, ids);
    return ids;
}

nb::list encode_batch(const BpeEncoder& encoder, const nb::list& texts, const std::string& pattern,
                      const SpecialTokens* specials, std::size_t threads) {
    const std::vector<Text> list = texts_of(texts);
    const Pattern known = pattern_named(pattern);
    std::vector<Ids> results(list.size());
    {
        const nb::gil_scoped_release release;
        parallel_for(results.size(), threads, [&](std::size_t i) {
            encoder.encode(list[i].view(), known, specials, results[i]);
        });
    }
    nb::list all;
    for (Ids& ids : results) {
        all.append(to_list(ids));
        Ids().swap(ids);
    }
    return all;
}

nb::list encode_pieces(const BpeEncoder& encoder, const nb::list& pieces) {
    const std::vector<Text> list = texts_of(pieces);
    Ids ids;
    {
        const nb::gil_scoped_release release;
        for (const Text& piece : list) {
            if (!piece.view().empty()) encoder.encode_piece(piece.view(), ids);
        }
    }
    return to_list(ids);
}

nb::bytes decode(const BpeEncoder& encoder, const IdArray& ids) {
    std::string bytes;
    {
        const nb::gil_scoped_release release;
        encoder.decode(ids.data(), ids.shape(0), bytes);
    }
    return nb::bytes(bytes.data(), bytes.size());
}

nb::ndarray<nb::numpy, std::int64_t> piece_ends(nb::handle text, const std::string& pattern) {
    const Text held(text);
    const std::string_view view = held.view();
    const Pattern known = pattern_named(pattern);
    std::vector<std::int64_t> ends;
    {
        const nb::gil_scoped_release release;
        for_each_piece(known, view, [&](std::string_view piece) {
            ends.push_back(piece.data() + piece.size() - view.data());
        });
    }
    return to_numpy(std::move(ends));
}

void count_texts(PieceCounts& counts, const nb::list& texts, const std::string& pattern,
                 const SpecialTokens& specials) {
    const std::vector<Text> list = texts_of(texts);
    const Pattern known = pattern_named(pattern);
    const nb::gil_scoped_release release;
    for (const Text& text : list) counts.add_text(text.view(), known, specials);
}

void count_pieces(PieceCounts& counts, const nb::list& pieces) {
    const std::vector<Text> list = texts_of(pieces);
    const nb::gil_scoped_release release;
    for (const Text& piece : list) {
        if (!piece.view().empty()) counts.add(piece.view());
    }
}

void make_trainer(BpeTrainer* place, const PieceCounts& counts, const std::string& tie_break,
                  const nb::bytes& byte_order) {
    std::array<unsigned char, 256> order;
    if (byte_order.size() != order.size()) throw std::invalid_argument("byte_order must hold 256 bytes");
    std::copy_n(static_cast<const unsigned char*>(byte_order.data()), order.size(), order.begin());
    if (tie_break != "lowest_pair" && tie_break != "lexicographic") {
        throw std::invalid_argument("unknown tie break '" + tie_break + "'");
    }
    const TieBreak rule = tie_break == "lexicographic" ? TieBreak::kLexicographic : TieBreak::kLowestPair;
    const nb::gil_scoped_release release;
    new (place) BpeTrainer(counts, rule, order);
}

void bind_encoder(nb::module_& m) {
    nb::class_<SpecialTokens>(m, "SpecialTokens")
        .def(nb::init<const std::vector<std::pair<std::string, std::uint32_t>>&>(), "tokens"_a)
        .def("find",
             [](const SpecialTokens& specials, nb::handle text,
                std::size_t start) -> std::optional<std::tuple<std::size_t, std::size_t, std::uint32_t>> {
                 const auto match = specials.find(Text(text).view(), start);
                 if (!match) return std::nullopt;
                 return std::tuple{match->start, match->end, match->id};
             },
             "text"_a, "start"_a = 0);

    nb::class_<BpeEncoder>(m, "BpeEncoder")
        .def(
            "__init__",
            [](BpeEncoder* place, const std::vector<nb::bytes>& tokens, const Ids& special_ids,
               const PairArray& merges, bool ignore_merges) {
                new (place) BpeEncoder(to_strings(tokens), special_ids, to_pairs(merges), ignore_merges);
            },
            "tokens"_a, "special_ids"_a, nb::arg("merges").noconvert(), "ignore_merges"_a)
        .def_static("from_ranks",
                    [](const std::vector<nb::bytes>& tokens, const Ids& special_ids) {
                        return BpeEncoder::from_ranks(to_strings(tokens), special_ids);
                    },
                    "tokens"_a, "special_ids"_a)
        .def("merges", [](const BpeEncoder& encoder) { return pairs_to_numpy(encoder.merges()); })
        .def("encode",
             [](const BpeEncoder& encoder, nb::handle text, const std::string& pattern,
                const SpecialTokens* specials) { return to_list(encode(encoder, text, pattern, specials)); },
             "text"_a, "pattern"_a, "specials"_a.none())
        .def("encode_to_numpy",
             [](const BpeEncoder& encoder, nb::handle text, const std::string& pattern,
                const SpecialTokens* specials) { return to_numpy(encode(encoder, text, pattern, specials)); },
             "text"_a, "pattern"_a, "specials"_a.none())
        .def("encode_batch", &encode_batch, "texts"_a, "pattern"_a, "specials"_a.none(), "threads"_a)
        .def("encode_pieces", &encode_pieces, "pieces"_a)
        .def("decode", &decode, nb::arg("ids").noconvert());
}

void bind_trainer(nb::module_& m) {
    nb::class_<PieceCounts>(m, "PieceCounts")
        .def(nb::init<>())
        .def("__len__", &PieceCounts::size)
        .def("add_texts", &count_texts, "texts"_a, "pattern"_a, "specials"_a)
        .def("add_pieces", &count_pieces, "pieces"_a);

    nb::class_<BpeTrainer>(m, "BpeTrainer")
        .def("__init__", &make_trainer, "counts"_a, "tie_break"_a, "byte_order"_a)
        .def("merge", &BpeTrainer::merge, "count"_a, nb::call_guard<nb::gil_scoped_release>())
        .def("merges", [](const BpeTrainer& trainer) { return pairs_to_numpy(trainer.merges()); });
}

}  // namespace

void bind_tokenizer(nb::module_& m) {
    m.def("piece_ends", &piece_ends, "text"_a, "pattern"_a);
    bind_encoder(m);
    bind_trainer(m);
}

}  // namespace tilth
