// Python bindings of training (counting pieces, and merging), and of what only superwords need.
#include "../bindings.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>

#include "../parallel.h"
#include "../python_ids.h"
#include "../python_text.h"
#include "bpe_encode.h"
#include "bpe_train.h"
#include "piece_counts.h"
#include "pretokenize.h"
#include "special_tokens.h"
#include "superword_encode.h"
#include "superword_split.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace tilth {

namespace {

nb::ndarray<nb::numpy, std::uint32_t> merges_of(const BpeTrainer& trainer) {
    std::vector<std::uint32_t> flat;
    flat.reserve(2 * trainer.merges().size());
    for (const auto& [left, right] : trainer.merges()) flat.insert(flat.end(), {left, right});
    return to_numpy(std::move(flat), 2);
}

nb::ndarray<nb::numpy, std::int64_t> ends_of(nb::handle text, int most_digits) {
    const Text held(text);
    const std::string_view view = held.view();
    std::vector<std::int64_t> ends;
    {
        const nb::gil_scoped_release release;
        ends = superword_ends(view, most_digits);
    }
    return to_numpy(std::move(ends), 1);
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

void count_superwords(PieceCounts& counts, const nb::list& texts, int most_digits, const SpecialTokens& specials,
                      std::int64_t weight) {
    const std::vector<Text> list = texts_of(texts);
    if (weight < 1) throw std::invalid_argument("a weight must be at least 1");
    const nb::gil_scoped_release release;
    const auto add = [&](std::string_view segment) {
        std::size_t start = 0;
        for (const std::int64_t end : superword_ends(segment, most_digits)) {
            counts.add(segment.substr(start, static_cast<std::size_t>(end) - start), weight);
            start = static_cast<std::size_t>(end);
        }
    };
    for (const Text& text : list) {
        std::size_t start = 0;
        while (const auto match = specials.find(text.view(), start)) {
            add(text.view().substr(start, match->start - start));
            start = match->end;
        }
        add(text.view().substr(start));
    }
}

std::vector<std::pair<nb::bytes, std::int64_t>> characters_of(const PieceCounts& counts) {
    std::vector<std::pair<nb::bytes, std::int64_t>> all;
    for (const auto& [character, count] : counts.characters()) {
        all.emplace_back(nb::bytes(character.data(), character.size()), count);
    }
    return all;
}

std::vector<std::string> strings_of(const std::vector<nb::bytes>& tokens) {
    std::vector<std::string> strings;
    strings.reserve(tokens.size());
    for (const nb::bytes& token : tokens) strings.emplace_back(token.c_str(), token.size());
    return strings;
}

TieBreak tie_break_named(const std::string& name) {
    if (name == "lowest_pair") return TieBreak::kLowestPair;
    if (name == "lexicographic") return TieBreak::kLexicographic;
    throw std::invalid_argument("unknown tie break '" + name + "'");
}

void make_trainer(BpeTrainer* self, const PieceCounts& counts, const std::vector<nb::bytes>& tokens,
                  const BpeEncoder* encoder, const SuperwordEncoder* superword_encoder, const std::string& symbols, const std::string& tie_break,
                  std::int64_t min_piece_count, std::int64_t min_frequency,
                  std::optional<std::size_t> max_token_length, bool superwords) {
    TrainingRules rules;
    rules.tie_break = tie_break_named(tie_break);
    rules.minimum_piece_count = min_piece_count;
    rules.minimum_pair_count = min_frequency;
    if (max_token_length) rules.longest_token = *max_token_length;
    rules.superwords = superwords;
    if (symbols != "bytes" && symbols != "characters") throw std::invalid_argument("unknown symbols '" + symbols + "'");
    std::vector<std::string> strings = strings_of(tokens);
    const nb::gil_scoped_release release;
    using Out = std::vector<std::uint32_t>;
    if (superword_encoder != nullptr) {
        const auto encode = [&](std::string_view piece, Out& out) { superword_encoder->encode_piece(piece, out); };
        new (self) BpeTrainer(counts, std::move(strings), encode, rules);
    } else if (encoder != nullptr) {
        const auto encode = [&](std::string_view piece, Out& out) { encoder->encode_piece(piece, out); };
        new (self) BpeTrainer(counts, std::move(strings), encode, rules);
    } else {
        const Symbols kind = symbols == "bytes" ? Symbols::kBytes : Symbols::kCharacters;
        new (self) BpeTrainer(counts, std::move(strings), kind, rules);
    }
}

using PairArray = nb::ndarray<const std::uint32_t, nb::shape<-1, 2>, nb::c_contig, nb::device::cpu>;

void make_superword_encoder(SuperwordEncoder* self, const std::vector<nb::bytes>& tokens,
                            const std::vector<std::uint32_t>& special_ids, const PairArray& merges, int most_digits) {
    std::vector<TokenPair> pairs(merges.shape(0));
    for (std::size_t i = 0; i < pairs.size(); ++i) pairs[i] = {merges.data()[2 * i], merges.data()[2 * i + 1]};
    new (self) SuperwordEncoder(strings_of(tokens), special_ids, pairs, most_digits);
}

nb::ndarray<nb::numpy, std::uint32_t> encode(const SuperwordEncoder& encoder, nb::handle text,
                                             const SpecialTokens* specials) {
    const Text held(text);
    const std::string_view view = held.view();
    std::vector<std::uint32_t> ids;
    {
        const nb::gil_scoped_release release;
        encoder.encode(view, specials, ids);
    }
    return to_numpy(std::move(ids), 1);
}

std::vector<nb::ndarray<nb::numpy, std::uint32_t>> encode_batch(const SuperwordEncoder& encoder, const nb::list& texts,
                                                                const SpecialTokens* specials, std::size_t threads) {
    const std::vector<Text> list = texts_of(texts);
    std::vector<std::vector<std::uint32_t>> results(list.size());
    {
        const nb::gil_scoped_release release;
        parallel_for(list.size(), threads, [&](std::size_t i) { encoder.encode(list[i].view(), specials, results[i]); });
    }
    std::vector<nb::ndarray<nb::numpy, std::uint32_t>> arrays;
    for (auto& ids : results) arrays.push_back(to_numpy(std::move(ids), 1));
    return arrays;
}

}  // namespace

void bind_training(nb::module_& m) {
    m.def("superword_ends", &ends_of, "text"_a, "most_digits"_a);
    nb::class_<PieceCounts>(m, "PieceCounts")
        .def(nb::init<>())
        .def("__len__", &PieceCounts::size)
        .def("add_texts", &count_texts, "texts"_a, "pattern"_a, "specials"_a, "weight"_a, "threads"_a)
        .def("add_superwords", &count_superwords, "texts"_a, "most_digits"_a, "specials"_a, "weight"_a)
        .def("add_pieces", &count_pieces, "pieces"_a, "weight"_a)
        .def("characters", &characters_of)
        .def("write", &PieceCounts::write, "path"_a, "label"_a, nb::call_guard<nb::gil_scoped_release>())
        .def("read", &PieceCounts::read, "path"_a, "label"_a, "minimum"_a,
             nb::call_guard<nb::gil_scoped_release>());
    m.def("merge_count_files", &merge_count_files, "paths"_a, "out"_a, nb::call_guard<nb::gil_scoped_release>());

    nb::class_<SuperwordEncoder>(m, "SuperwordEncoder")
        .def("__init__", &make_superword_encoder, "tokens"_a, "special_ids"_a, nb::arg("merges").noconvert(),
             "most_digits"_a)
        .def("encode", &encode, "text"_a, "specials"_a.none())
        .def("encode_batch", &encode_batch, "texts"_a, "specials"_a.none(), "threads"_a);

    nb::class_<BpeTrainer>(m, "BpeTrainer")
        .def("__init__", &make_trainer, "counts"_a, "tokens"_a, "encoder"_a.none(), "superword_encoder"_a.none(), "symbols"_a, "tie_break"_a,
             "min_piece_count"_a, "min_frequency"_a, "max_token_length"_a.none(), "superwords"_a)
        .def("merge", &BpeTrainer::merge, "count"_a, nb::call_guard<nb::gil_scoped_release>())
        .def("merges", &merges_of);
}

}  // namespace tilth
