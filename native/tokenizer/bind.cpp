// Python bindings of the byte-level encoder. Everything that takes time runs without the GIL.
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
#include "../python_batch.h"
#include "../python_ids.h"
#include "../python_text.h"
#include "bpe_encode.h"
#include "pretokenize.h"
#include "rank_file.h"
#include "special_tokens.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace tilth {

namespace {

using Ids = std::vector<std::uint32_t>;
using PairArray = nb::ndarray<const std::uint32_t, nb::shape<-1, 2>, nb::c_contig, nb::device::cpu>;
using IdArray = nb::ndarray<const std::uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

nb::ndarray<nb::numpy, std::uint32_t> pairs_to_numpy(const std::vector<TokenPair>& pairs) {
    Ids flat;
    flat.reserve(2 * pairs.size());
    for (const auto& [left, right] : pairs) flat.insert(flat.end(), {left, right});
    return to_numpy(std::move(flat), 2);
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

/// Tokens by rank, or None for a file that is not plainly one.
std::optional<nb::list> rank_file_tokens(const nb::bytes& content, std::size_t most_rank) {
    const auto tokens = parse_rank_file({content.c_str(), content.size()}, most_rank);
    if (!tokens) return std::nullopt;
    nb::list list = nb::steal<nb::list>(PyList_New(static_cast<Py_ssize_t>(tokens->size())));
    if (!list.is_valid()) throw nb::python_error();
    for (std::size_t i = 0; i < tokens->size(); ++i) {
        const std::string& token = (*tokens)[i];
        PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i), nb::bytes(token.data(), token.size()).release().ptr());
    }
    return list;
}

nb::list encode(const BpeEncoder& encoder, nb::handle text, const std::string& pattern,
                const SpecialTokens* specials) {
    const Text held(text);
    const std::string_view view = held.view();
    const Pattern known = pattern_named(pattern);
    VectorSink<std::uint32_t> ids(view.size());
    {
        const nb::gil_scoped_release release;
        encoder.encode(view, known, specials, ids);
    }
    return to_list(std::move(ids.values));
}

/// The ids of each span of `text`, in order.
template <class Id>
std::vector<std::vector<Id>> encode_spans(const BpeEncoder& encoder, std::string_view text, Pattern pattern,
                                          const SpecialTokens* specials, std::size_t threads) {
    const std::vector<Span> spans = BpeEncoder::spans(text, specials, kPartBytes);
    std::vector<std::vector<Id>> parts(spans.size());
    parallel_for(spans.size(), threads, [&](std::size_t i) {
        VectorSink<Id> ids(spans[i].text.size());
        encoder.encode(spans[i], pattern, ids);
        parts[i] = std::move(ids.values);
    });
    return parts;
}

/// Encodes on `threads` threads into one vector.
template <class Id>
std::vector<Id> encode_parallel(const BpeEncoder& encoder, std::string_view text, Pattern pattern,
                                const SpecialTokens* specials, std::size_t threads) {
    if (threads <= 1 || text.size() <= kPartBytes) {
        VectorSink<Id> ids(text.size());
        encoder.encode(text, pattern, specials, ids);
        return std::move(ids.values);
    }
    return joined(encode_spans<Id>(encoder, text, pattern, specials, threads));
}

template <class Id>
nb::ndarray<nb::numpy, Id> encode_to_numpy(const BpeEncoder& encoder, nb::handle text, const std::string& pattern,
                                           const SpecialTokens* specials, std::size_t threads) {
    const Text held(text);
    const std::string_view view = held.view();
    const Pattern known = pattern_named(pattern);
    std::vector<Id> ids;
    {
        const nb::gil_scoped_release release;
        ids = encode_parallel<Id>(encoder, view, known, specials, threads);
    }
    return to_numpy(std::move(ids));
}

/// Writes ids into `out` as far as they fit; returns how many there are.
template <class Id>
std::size_t encode_into(const BpeEncoder& encoder, nb::handle text, const std::string& pattern,
                        const SpecialTokens* specials,
                        nb::ndarray<Id, nb::ndim<1>, nb::c_contig, nb::device::cpu> out, std::size_t threads) {
    const Text held(text);
    const std::string_view view = held.view();
    const Pattern known = pattern_named(pattern);
    Id* const data = out.data();
    const std::size_t capacity = out.shape(0);
    const nb::gil_scoped_release release;
    if (threads > 1 && view.size() > kPartBytes) {
        const std::vector<Id> ids = encode_parallel<Id>(encoder, view, known, specials, threads);
        std::copy_n(ids.data(), std::min(ids.size(), capacity), data);
        return ids.size();
    }
    ArraySink<Id> sink(data, capacity);
    encoder.encode(view, known, specials, sink);
    return sink.count;
}

nb::list encode_batch(const BpeEncoder& encoder, const nb::list& texts, const std::string& pattern,
                      const SpecialTokens* specials, std::size_t threads) {
    const std::vector<Text> list = texts_of(texts);
    const Pattern known = pattern_named(pattern);
    std::vector<std::vector<Ids>> results(list.size());
    {
        const nb::gil_scoped_release release;
        // A short text is one task; a long one is cut, so that all threads work on it.
        std::vector<std::size_t> short_texts;
        for (std::size_t i = 0; i < list.size(); ++i) {
            if (threads <= 1 || list[i].view().size() <= kLongTextBytes) short_texts.push_back(i);
        }
        parallel_for(short_texts.size(), threads, [&](std::size_t i) {
            VectorSink<std::uint32_t> ids(list[short_texts[i]].view().size());
            encoder.encode(list[short_texts[i]].view(), known, specials, ids);
            results[short_texts[i]].push_back(std::move(ids.values));
        });
        for (std::size_t i = 0; i < list.size(); ++i) {
            if (!results[i].empty()) continue;
            results[i] = encode_spans<std::uint32_t>(encoder, list[i].view(), known, specials, threads);
        }
    }
    nb::list all;
    for (std::vector<Ids>& parts : results) {
        all.append(to_list(parts));
        std::vector<Ids>().swap(parts);
    }
    return all;
}

template <class Id>
nb::tuple encode_batch_to_numpy(const BpeEncoder& encoder, const nb::list& texts, const std::string& pattern,
                                const SpecialTokens* specials, std::size_t threads) {
    const Pattern known = pattern_named(pattern);
    return batch_to_numpy<Id>(
        texts_of(texts), threads,
        [&](std::string_view text, std::vector<Id>& ids) {
            VectorSink<Id> sink(0);
            sink.values.swap(ids);
            encoder.encode(text, known, specials, sink);
            ids.swap(sink.values);
        },
        [&](std::string_view text) { return encode_parallel<Id>(encoder, text, known, specials, threads); });
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
    return to_list(std::move(ids));
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
            [](BpeEncoder* self, const std::vector<nb::bytes>& tokens, const Ids& special_ids,
               const PairArray& merges, bool ignore_merges) {
                new (self) BpeEncoder(to_strings(tokens), special_ids, to_pairs(merges), ignore_merges);
            },
            "tokens"_a, "special_ids"_a, nb::arg("merges").noconvert(), "ignore_merges"_a)
        .def_static("from_ranks",
                    [](const std::vector<nb::bytes>& tokens, const Ids& special_ids) {
                        return BpeEncoder::from_ranks(to_strings(tokens), special_ids);
                    },
                    "tokens"_a, "special_ids"_a)
        .def("merges", [](const BpeEncoder& encoder) { return pairs_to_numpy(encoder.merges()); })
        .def("encode", &encode, "text"_a, "pattern"_a, "specials"_a.none())
        .def("encode_to_uint16", &encode_to_numpy<std::uint16_t>, "text"_a, "pattern"_a, "specials"_a.none(),
             "threads"_a)
        .def("encode_to_uint32", &encode_to_numpy<std::uint32_t>, "text"_a, "pattern"_a, "specials"_a.none(),
             "threads"_a)
        .def("encode_into", &encode_into<std::uint16_t>, "text"_a, "pattern"_a, "specials"_a.none(),
             nb::arg("out").noconvert(), "threads"_a)
        .def("encode_into", &encode_into<std::uint32_t>, "text"_a, "pattern"_a, "specials"_a.none(),
             nb::arg("out").noconvert(), "threads"_a)
        .def("encode_batch", &encode_batch, "texts"_a, "pattern"_a, "specials"_a.none(), "threads"_a)
        .def("encode_batch_to_uint16", &encode_batch_to_numpy<std::uint16_t>, "texts"_a, "pattern"_a,
             "specials"_a.none(), "threads"_a)
        .def("encode_batch_to_uint32", &encode_batch_to_numpy<std::uint32_t>, "texts"_a, "pattern"_a,
             "specials"_a.none(), "threads"_a)
        .def("encode_pieces", &encode_pieces, "pieces"_a)
        .def("decode", &decode, nb::arg("ids").noconvert());
}

}  // namespace

void bind_tokenizer(nb::module_& m) {
    m.def("piece_ends", &piece_ends, "text"_a, "pattern"_a);
    m.def("rank_file_tokens", &rank_file_tokens, "content"_a, "most_rank"_a);
    m.def("instruction_sets", &instruction_sets);
    m.def("use_instruction_set", &use_instruction_set, "name"_a);
    bind_encoder(m);
}

}  // namespace tilth
