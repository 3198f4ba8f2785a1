// Python bindings of the SentencePiece-style encoder and of BPE-dropout.
#include "../bindings.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>

#include "../parallel.h"
#include "../python_batch.h"
#include "../python_ids.h"
#include "../python_text.h"
#include "bpe_dropout.h"
#include "sentencepiece_encode.h"
#include "sentencepiece_model.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace tilth {

namespace {

using Ids = std::vector<std::uint32_t>;
using IdArray = nb::ndarray<const std::uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using PairArray = nb::ndarray<const std::uint32_t, nb::shape<-1, 2>, nb::c_contig, nb::device::cpu>;

constexpr std::size_t kUncut = std::size_t{1} << 62;

std::vector<std::string> strings_of(const std::vector<nb::bytes>& tokens) {
    std::vector<std::string> strings;
    strings.reserve(tokens.size());
    for (const nb::bytes& token : tokens) strings.emplace_back(token.c_str(), token.size());
    return strings;
}

std::vector<std::pair<std::uint32_t, std::uint32_t>> pairs_of(const PairArray& merges) {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> pairs(merges.shape(0));
    for (std::size_t i = 0; i < pairs.size(); ++i) pairs[i] = {merges.data()[2 * i], merges.data()[2 * i + 1]};
    return pairs;
}

/// UTF-8 with a space for each U+2581. Raises UnicodeEncodeError for what is no UTF-8.
std::vector<std::string> spaced_pieces(const nb::list& pieces) {
    std::vector<std::string> strings;
    strings.reserve(pieces.size());
    for (const nb::handle piece : pieces) {
        Py_ssize_t size = 0;
        const char* const data = PyUnicode_AsUTF8AndSize(piece.ptr(), &size);
        if (data == nullptr) throw nb::python_error();
        strings.push_back(with_spaces({data, static_cast<std::size_t>(size)}));
    }
    return strings;
}

/// A list of what `make` gives of each piece: a new reference, or null for an error of Python.
template <class Make>
nb::list listed(const std::vector<ModelPiece>& pieces, Make&& make) {
    nb::list list = nb::steal<nb::list>(PyList_New(static_cast<Py_ssize_t>(pieces.size())));
    if (!list.is_valid()) throw nb::python_error();
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        PyObject* const made = make(pieces[i]);
        if (made == nullptr) throw nb::python_error();
        PyList_SET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i), made);
    }
    return list;
}

nb::tuple read_model(nb::handle content) {
    const Text held(content);
    const SentencePieceModel model = read_sentencepiece_model(held.view());
    std::vector<float> scores;
    std::vector<std::uint8_t> kinds;
    for (const ModelPiece& piece : model.pieces) {
        scores.push_back(piece.score);
        kinds.push_back(piece.kind);
    }
    const auto size = [](std::string_view text) { return static_cast<Py_ssize_t>(text.size()); };
    const nb::list as_bytes = listed(model.pieces, [&](const ModelPiece& piece) {
        return PyBytes_FromStringAndSize(piece.text.data(), size(piece.text));
    });
    const nb::list spaced = listed(model.pieces, [&](const ModelPiece& piece) {
        const std::string text = with_spaces(piece.text);
        return PyBytes_FromStringAndSize(text.data(), size(text));
    });
    nb::list others;
    for (const auto& [number, bytes] : model.others) {
        others.append(nb::make_tuple(number, nb::bytes(bytes.data(), bytes.size())));
    }
    return nb::make_tuple(as_bytes, spaced, to_numpy(std::move(scores)), to_numpy(std::move(kinds)), others);
}

void make_encoder(SentencePieceEncoder* self, const nb::list& pieces, const IdArray& ranks,
                  const std::optional<PairArray>& merges, const Ids& byte_ids, std::optional<std::uint32_t> unknown_id,
                  const Ids& user_defined, bool split_at_spaces) {
    SentencePieces vocabulary{spaced_pieces(pieces), byte_ids, unknown_id.value_or(kNone), user_defined, split_at_spaces};
    if (merges) {
        new (self) SentencePieceEncoder(SentencePieceTables::from_merges(std::move(vocabulary), pairs_of(*merges)));
    } else {
        const Ids by_id(ranks.data(), ranks.data() + ranks.shape(0));
        new (self) SentencePieceEncoder(SentencePieceTables::from_ranks(std::move(vocabulary), by_id));
    }
}

/// Calls `body` with a vector of uint16 where they hold every id, otherwise of uint32; special tokens have ids as well.
template <class Body>
auto with_ids(const SentencePieceEncoder& encoder, Body&& body) {
    return encoder.size() <= std::size_t{1} << 16 ? body(std::vector<std::uint16_t>()) : body(Ids());
}

struct Request {
    const SpecialTokens* specials;
    PrefixSpace prefix;
    std::size_t threads;
};

/// The ids of `text` in one or more parts.
template <class Id>
std::vector<std::vector<Id>> encode_parts(const SentencePieceEncoder& encoder, std::string_view text,
                                          const Request& request) {
    const bool is_long = request.threads > 1 && text.size() > kLongTextBytes;
    const auto segments = encoder.segments(text, request.specials, request.prefix, is_long ? kPartBytes : kUncut);
    std::vector<std::size_t> ends;  // of the segments that one thread takes at a time
    for (std::size_t i = 0, bytes = 0; i < segments.size(); ++i) {
        bytes += segments[i].text.size();
        if (i + 1 < segments.size() && (!is_long || bytes < kPartBytes / 2)) continue;
        ends.push_back(i + 1);
        bytes = 0;
    }
    std::vector<std::vector<Id>> parts(ends.size());
    parallel_for(parts.size(), request.threads, [&](std::size_t part) {
        for (std::size_t i = part == 0 ? 0 : ends[part - 1]; i < ends[part]; ++i) encoder.encode(segments[i], parts[part]);
    });
    return parts;
}

nb::object encode(const SentencePieceEncoder& encoder, nb::handle text, const SpecialTokens* specials, bool first_space,
                  bool later_space, bool unless_space, std::size_t threads) {
    const Text held(text);
    const std::string_view view = held.view();
    return with_ids(encoder, [&]<class Id>(std::vector<Id>&& ids) {
        {
            const nb::gil_scoped_release release;
            ids = joined(encode_parts<Id>(encoder, view, {specials, {first_space, later_space, unless_space}, threads}));
        }
        return nb::cast(to_numpy(std::move(ids)));
    });
}

nb::list encode_batch(const SentencePieceEncoder& encoder, const nb::list& texts, const SpecialTokens* specials,
                      bool first_space, bool later_space, bool unless_space, std::size_t threads) {
    const std::vector<Text> list = texts_of(texts);
    return with_ids(encoder, [&]<class Id>(const std::vector<Id>&) {
        std::vector<std::vector<std::vector<Id>>> results(list.size());
        const auto encode_one = [&](std::size_t i, std::size_t on_threads) {
            const Request request{specials, {first_space, later_space, unless_space}, on_threads};
            results[i] = encode_parts<Id>(encoder, list[i].view(), request);
        };
        {
            const nb::gil_scoped_release release;
            // A short text is one task; a long one is cut, so that all threads work on it.
            const auto is_long = [&](std::size_t i) { return threads > 1 && list[i].view().size() > kLongTextBytes; };
            parallel_for(list.size(), threads, [&](std::size_t i) { is_long(i) ? void() : encode_one(i, 1); });
            for (std::size_t i = 0; i < list.size(); ++i) is_long(i) ? encode_one(i, threads) : void();
        }
        nb::list all;
        for (auto& parts : results) {
            all.append(to_list(parts));
            std::vector<std::vector<Id>>().swap(parts);
        }
        return all;
    });
}

nb::tuple encode_batch_to_numpy(const SentencePieceEncoder& encoder, const nb::list& texts,
                                const SpecialTokens* specials, bool first_space, bool later_space, bool unless_space,
                                std::size_t threads) {
    const PrefixSpace prefix{first_space, later_space, unless_space};
    return with_ids(encoder, [&]<class Id>(const std::vector<Id>&) {
        return batch_to_numpy<Id>(
            texts_of(texts), threads,
            [&](std::string_view text, std::vector<Id>& ids) {
                for (const auto& segment : encoder.segments(text, specials, prefix, kUncut)) encoder.encode(segment, ids);
            },
            [&](std::string_view text) { return joined(encode_parts<Id>(encoder, text, {specials, prefix, threads})); });
    });
}

nb::ndarray<nb::numpy, std::uint32_t> encode_with_dropout(const SentencePieceEncoder& encoder, nb::handle text,
                                                          bool add_space, double dropout, std::uint64_t seed) {
    const Text held(text);
    const std::string_view view = held.view();
    Ids ids;
    {
        const nb::gil_scoped_release release;
        Random random(seed);
        SentencePieceEncoder::Options options;
        options.add_space = add_space;
        options.dropout = dropout;
        options.random = &random;
        encoder.encode(view, options, ids);
    }
    return to_numpy(std::move(ids));
}

std::pair<nb::ndarray<nb::numpy, std::uint32_t>, UnknownRuns> encode_with_unknown(const SentencePieceEncoder& encoder,
                                                                                  nb::handle text, bool add_space) {
    const Text held(text);
    Ids ids;
    UnknownRuns unknown;
    SentencePieceEncoder::Options options;
    options.add_space = add_space;
    options.unknown = &unknown;
    encoder.encode(held.view(), options, ids);
    return {to_numpy(std::move(ids)), std::move(unknown)};
}

}  // namespace

void bind_sentencepiece(nb::module_& m) {
    m.def("read_sentencepiece_model", &read_model, "content"_a);
    nb::class_<SentencePieceEncoder>(m, "SentencePieceEncoder")
        .def("__init__", &make_encoder, "pieces"_a, nb::arg("ranks").noconvert(), nb::arg("merges").noconvert().none(),
             "byte_ids"_a, "unknown_id"_a.none(), "user_defined"_a, "split_at_spaces"_a)
        .def("encode", &encode, "text"_a, "specials"_a.none(), "first_space"_a, "later_space"_a, "unless_space"_a,
             "threads"_a)
        .def("encode_batch", &encode_batch, "texts"_a, "specials"_a.none(), "first_space"_a, "later_space"_a,
             "unless_space"_a, "threads"_a)
        .def("encode_batch_to_numpy", &encode_batch_to_numpy, "texts"_a, "specials"_a.none(), "first_space"_a,
             "later_space"_a, "unless_space"_a, "threads"_a)
        .def("encode_with_dropout", &encode_with_dropout, "text"_a, "add_space"_a, "dropout"_a, "seed"_a)
        .def("encode_with_unknown", &encode_with_unknown, "text"_a, "add_space"_a)
        .def("last_cut", [](const SentencePieceEncoder& encoder,
                            nb::handle text) { return encoder.last_cut(Text(text).view()); }, "text"_a);

    nb::class_<BpeDropout>(m, "BpeDropout")
        .def("__init__",
             [](BpeDropout* self, const std::vector<nb::bytes>& tokens, const Ids& special_ids,
                const PairArray& merges) { new (self) BpeDropout(strings_of(tokens), special_ids, pairs_of(merges)); },
             "tokens"_a, "special_ids"_a, nb::arg("merges").noconvert())
        .def("encode_pieces",
             [](const BpeDropout& encoder, const nb::list& pieces, double dropout, std::uint64_t seed) {
                 const std::vector<Text> list = texts_of(pieces);
                 Ids ids;
                 Random random(seed);
                 for (const Text& piece : list) encoder.encode_piece(piece.view(), dropout, random, ids);
                 return to_numpy(std::move(ids));
             },
             "pieces"_a, "dropout"_a, "seed"_a);
}

}  // namespace tilth
