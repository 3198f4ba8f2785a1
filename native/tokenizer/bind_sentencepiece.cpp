// Python bindings of the SentencePiece-style encoder and of BPE-dropout.
#include "../bindings.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>

#include "../parallel.h"
#include "../python_text.h"
#include "bpe_dropout.h"
#include "sentencepiece_encode.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace tilth {

namespace {

using Ids = std::vector<std::uint32_t>;
using IdArray = nb::ndarray<const std::uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using PairArray = nb::ndarray<const std::uint32_t, nb::shape<-1, 2>, nb::c_contig, nb::device::cpu>;
using IdsOut = nb::ndarray<nb::numpy, std::uint32_t, nb::ndim<1>>;

/// A numpy array that owns `ids`.
IdsOut to_array(Ids&& ids) {
    auto owned = std::make_unique<Ids>(std::move(ids));
    std::uint32_t* const data = owned->data();
    const std::size_t size = owned->size();
    nb::capsule owner(owned.release(), [](void* p) noexcept { delete static_cast<Ids*>(p); });
    return IdsOut(data, {size}, owner);
}

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

void make_encoder(SentencePieceEncoder* place, const std::vector<nb::bytes>& pieces, const IdArray& ranks,
                  const std::optional<PairArray>& merges, const Ids& byte_ids, std::optional<std::uint32_t> unknown_id,
                  const Ids& user_defined, bool split_at_spaces) {
    SentencePieces vocabulary{strings_of(pieces), byte_ids, unknown_id.value_or(kNone), user_defined, split_at_spaces};
    if (merges) {
        new (place) SentencePieceEncoder(SentencePieceEncoder::from_merges(std::move(vocabulary), pairs_of(*merges)));
    } else {
        const Ids by_id(ranks.data(), ranks.data() + ranks.shape(0));
        new (place) SentencePieceEncoder(SentencePieceEncoder::from_ranks(std::move(vocabulary), by_id));
    }
}

IdsOut encode(const SentencePieceEncoder& encoder, nb::handle text, bool add_space, double dropout,
              std::uint64_t seed) {
    const Text held(text);
    const std::string_view view = held.view();
    Ids ids;
    {
        const nb::gil_scoped_release release;
        Random random(seed);
        encoder.encode(view, {add_space, nullptr, dropout, &random}, ids);
    }
    return to_array(std::move(ids));
}

std::pair<IdsOut, UnknownRuns> encode_with_unknown(const SentencePieceEncoder& encoder, nb::handle text,
                                                   bool add_space) {
    const Text held(text);
    Ids ids;
    UnknownRuns unknown;
    encoder.encode(held.view(), {add_space, &unknown, 0, nullptr}, ids);
    return {to_array(std::move(ids)), std::move(unknown)};
}

nb::list encode_batch(const SentencePieceEncoder& encoder, const nb::list& texts, const std::vector<bool>& add_space,
                      std::size_t threads) {
    const std::vector<Text> list = texts_of(texts);
    if (add_space.size() != list.size()) throw std::invalid_argument("as many flags as texts are needed");
    std::vector<Ids> results(list.size());
    {
        const nb::gil_scoped_release release;
        parallel_for(results.size(), threads, [&](std::size_t i) {
            encoder.encode(list[i].view(), {add_space[i], nullptr, 0, nullptr}, results[i]);
        });
    }
    nb::list all;
    for (Ids& ids : results) all.append(to_array(std::move(ids)));
    return all;
}

}  // namespace

void bind_sentencepiece(nb::module_& m) {
    nb::class_<SentencePieceEncoder>(m, "SentencePieceEncoder")
        .def("__init__", &make_encoder, "pieces"_a, nb::arg("ranks").noconvert(), nb::arg("merges").noconvert().none(),
             "byte_ids"_a, "unknown_id"_a.none(), "user_defined"_a, "split_at_spaces"_a)
        .def("encode", &encode, "text"_a, "add_space"_a, "dropout"_a = 0.0, "seed"_a = 0)
        .def("encode_with_unknown", &encode_with_unknown, "text"_a, "add_space"_a)
        .def("encode_batch", &encode_batch, "texts"_a, "add_space"_a, "threads"_a)
        .def("last_cut", [](const SentencePieceEncoder& encoder,
                            nb::handle text) { return encoder.last_cut(Text(text).view()); }, "text"_a);

    nb::class_<BpeDropout>(m, "BpeDropout")
        .def("__init__",
             [](BpeDropout* place, const std::vector<nb::bytes>& tokens, const Ids& special_ids,
                const PairArray& merges) { new (place) BpeDropout(strings_of(tokens), special_ids, pairs_of(merges)); },
             "tokens"_a, "special_ids"_a, nb::arg("merges").noconvert())
        .def("encode_pieces",
             [](const BpeDropout& encoder, const nb::list& pieces, double dropout, std::uint64_t seed) {
                 const std::vector<Text> list = texts_of(pieces);
                 Ids ids;
                 Random random(seed);
                 for (const Text& piece : list) encoder.encode_piece(piece.view(), dropout, random, ids);
                 return to_array(std::move(ids));
             },
             "pieces"_a, "dropout"_a, "seed"_a);
}

}  // namespace tilth
