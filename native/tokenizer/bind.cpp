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
#include "../python_ids.h"
#include "../python_text.h"
#include "bpe_encode.h"
#include "bpe_train.h"
#include "piece_counts.h"
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

/// Texts are cut into parts of about this size, which threads take one after the other.
constexpr std::size_t kPartBytes = 1 << 18;

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
    std::vector<Id> all;
    std::size_t n = 0;
    std::vector<std::vector<Id>> parts = encode_spans<Id>(encoder, text, pattern, specials, threads);
    for (const auto& part : parts) n += part.size();
    all.reserve(n);
    for (auto& part : parts) {
        all.insert(all.end(), part.begin(), part.end());
        std::vector<Id>().swap(part);
    }
    return all;
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
        // Short texts are a unit of work each; a long one is cut, so that all threads work on it.
        std::vector<std::size_t> short_texts;
        for (std::size_t i = 0; i < list.size(); ++i) {
            if (threads <= 1 || list[i].view().size() <= 2 * kPartBytes) short_texts.push_back(i);
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

/// The first text of each unit of work, and the end: a text too long for one unit, or texts of some size together.
std::vector<std::size_t> units_of(const std::vector<Text>& texts, std::size_t threads) {
    std::vector<std::size_t> begins{0};
    std::size_t size = 0;
    bool was_long = false;
    for (std::size_t i = 0; i < texts.size(); ++i) {
        const std::size_t bytes = texts[i].view().size();
        const bool is_long = threads > 1 && bytes > 2 * kPartBytes;
        if (i > begins.back() && (is_long || was_long || size + bytes > kPartBytes / 4)) {
            begins.push_back(i);
            size = 0;
        }
        size += bytes;
        was_long = is_long;
    }
    if (!texts.empty()) begins.push_back(texts.size());
    return begins;
}

/// The ids of all texts in one array, and where each text's begin and end.
template <class Id>
nb::tuple encode_batch_to_numpy(const BpeEncoder& encoder, const nb::list& texts, const std::string& pattern,
                                const SpecialTokens* specials, std::size_t threads) {
    const std::vector<Text> list = texts_of(texts);
    const Pattern known = pattern_named(pattern);
    std::vector<std::int64_t> offsets(list.size() + 1);
    std::vector<Id> all;
    {
        const nb::gil_scoped_release release;
        const std::vector<std::size_t> begins = units_of(list, threads);
        std::vector<std::vector<Id>> units(begins.size() - 1);
        const auto is_long = [&](std::size_t unit) {
            return threads > 1 && list[begins[unit]].view().size() > 2 * kPartBytes;
        };
        parallel_for(units.size(), threads, [&](std::size_t unit) {
            if (is_long(unit)) return;
            std::size_t bytes = 0;
            for (std::size_t i = begins[unit]; i < begins[unit + 1]; ++i) bytes += list[i].view().size();
            VectorSink<Id> ids(bytes);
            for (std::size_t i = begins[unit]; i < begins[unit + 1]; ++i) {
                const std::size_t before = ids.values.size();
                encoder.encode(list[i].view(), known, specials, ids);
                offsets[i + 1] = static_cast<std::int64_t>(ids.values.size() - before);
            }
            units[unit] = std::move(ids.values);
        });
        for (std::size_t unit = 0; unit < units.size(); ++unit) {
            if (!is_long(unit)) continue;
            units[unit] = encode_parallel<Id>(encoder, list[begins[unit]].view(), known, specials, threads);
            offsets[begins[unit + 1]] = static_cast<std::int64_t>(units[unit].size());
        }
        for (std::size_t i = 0; i < list.size(); ++i) offsets[i + 1] += offsets[i];
        if (units.size() == 1) all = std::move(units[0]);
        if (units.size() > 1) all.reserve(static_cast<std::size_t>(offsets.back()));
        for (std::vector<Id>& unit : units) {
            all.insert(all.end(), unit.begin(), unit.end());
            std::vector<Id>().swap(unit);
        }
    }
    return nb::make_tuple(to_numpy(std::move(all)), to_numpy(std::move(offsets)));
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

/// On more threads each counts apart, and the sums are the same.
void count_texts(PieceCounts& counts, const nb::list& texts, const std::string& pattern,
                 const SpecialTokens& specials, std::int64_t weight, std::size_t threads) {
    const std::vector<Text> list = texts_of(texts);
    const Pattern known = pattern_named(pattern);
    if (weight < 1) throw std::invalid_argument("a weight must be at least 1");
    const nb::gil_scoped_release release;
    if (threads <= 1 || list.size() <= 1) {
        for (const Text& text : list) counts.add_text(text.view(), known, specials, weight);
        return;
    }
    std::vector<PieceCounts> parts(std::min(threads, list.size()));
    parallel_for(parts.size(), threads, [&](std::size_t part) {
        for (std::size_t i = part; i < list.size(); i += parts.size()) {
            parts[part].add_text(list[i].view(), known, specials, weight);
        }
    });
    for (const PieceCounts& part : parts) counts.add_all(part);
}

void count_pieces(PieceCounts& counts, const nb::list& pieces, std::int64_t weight) {
    const std::vector<Text> list = texts_of(pieces);
    if (weight < 1) throw std::invalid_argument("a weight must be at least 1");
    const nb::gil_scoped_release release;
    for (const Text& piece : list) counts.add(piece.view(), weight);
}

void make_trainer(BpeTrainer* place, const PieceCounts& counts, const std::string& tie_break,
                  const nb::bytes& byte_order, std::int64_t min_piece_count, std::int64_t min_frequency,
                  std::optional<std::size_t> max_token_length) {
    std::array<unsigned char, 256> order;
    if (byte_order.size() != order.size()) throw std::invalid_argument("byte_order must hold 256 bytes");
    std::copy_n(static_cast<const unsigned char*>(byte_order.data()), order.size(), order.begin());
    if (tie_break != "lowest_pair" && tie_break != "lexicographic") {
        throw std::invalid_argument("unknown tie break '" + tie_break + "'");
    }
    const TieBreak rule = tie_break == "lexicographic" ? TieBreak::kLexicographic : TieBreak::kLowestPair;
    const nb::gil_scoped_release release;
    BpeTrainer::Limits limits;
    limits.minimum_piece_count = min_piece_count;
    limits.minimum_pair_count = min_frequency;
    if (max_token_length) limits.longest_token = *max_token_length;
    new (place) BpeTrainer(counts, rule, order, limits);
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

void bind_trainer(nb::module_& m) {
    nb::class_<PieceCounts>(m, "PieceCounts")
        .def(nb::init<>())
        .def("__len__", &PieceCounts::size)
        .def("add_texts", &count_texts, "texts"_a, "pattern"_a, "specials"_a, "weight"_a, "threads"_a)
        .def("add_pieces", &count_pieces, "pieces"_a, "weight"_a)
        .def("write", &PieceCounts::write, "path"_a, "label"_a, nb::call_guard<nb::gil_scoped_release>())
        .def("read", &PieceCounts::read, "path"_a, "label"_a, "minimum"_a,
             nb::call_guard<nb::gil_scoped_release>());
    m.def("merge_count_files", &merge_count_files, "paths"_a, "out"_a, nb::call_guard<nb::gil_scoped_release>());

    nb::class_<BpeTrainer>(m, "BpeTrainer")
        .def("__init__", &make_trainer, "counts"_a, "tie_break"_a, "byte_order"_a, "min_piece_count"_a,
             "min_frequency"_a, "max_token_length"_a.none())
        .def("merge", &BpeTrainer::merge, "count"_a, nb::call_guard<nb::gil_scoped_release>())
        .def("merges", [](const BpeTrainer& trainer) { return pairs_to_numpy(trainer.merges()); });
}

}  // namespace

void bind_tokenizer(nb::module_& m) {
    m.def("piece_ends", &piece_ends, "text"_a, "pattern"_a);
    m.def("rank_file_tokens", &rank_file_tokens, "content"_a, "most_rank"_a);
    m.def("instruction_sets", &instruction_sets);
    m.def("use_instruction_set", &use_instruction_set, "name"_a);
    bind_encoder(m);
    bind_trainer(m);
}

}  // namespace tilth
