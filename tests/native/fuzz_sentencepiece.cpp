// The oracle has no cuts, tables and caches: it merges the whole text, the least rank and leftmost first.
#include <cstring>
#include <map>
#include <stdexcept>
#include <unordered_map>

#include "fuzz.h"
#include "tokenizer/run_table.h"
#include "tokenizer/sentencepiece_encode.h"
#include "tokenizer/sentencepiece_model.h"

using namespace tilth;

namespace {

using Ids = std::vector<std::uint32_t>;

/// A vocabulary with ranks, or with merges if there are any.
struct Model {
    SentencePieces vocabulary;
    Ids ranks;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> merges;

    SentencePieceTables tables() const {
        return merges.empty() ? SentencePieceTables::from_ranks(vocabulary, ranks)
                              : SentencePieceTables::from_merges(vocabulary, merges);
    }
};

void add_bytes(Model& model) {
    for (int byte = 0; byte < 256; ++byte) {
        model.vocabulary.byte_ids.push_back(static_cast<std::uint32_t>(model.vocabulary.pieces.size()));
        model.vocabulary.pieces.emplace_back();
    }
}

/// Some characters, and then joins of two pieces that are there, in an order of merging with ties.
Model random_model(Dice& random) {
    Model model;
    std::vector<std::string>& pieces = model.vocabulary.pieces;
    pieces.emplace_back();
    model.vocabulary.unknown_id = 0;
    if (below(random, 3) > 0) add_bytes(model);
    std::unordered_map<std::string, std::uint32_t> known;
    for (const char* const bit : kBits) {
        for_each_character(bit, [&](std::size_t at, std::size_t length, std::uint32_t code) {
            const std::string character(bit + at, length);
            if (code == kInvalid || character == kSpaceMark || below(random, 6) == 0) return;
            if (known.emplace(character, pieces.size()).second) pieces.push_back(character);
        });
    }
    const bool by_merges = below(random, 2) == 0;
    for (std::size_t i = below(random, 300); i > 0 && !known.empty(); --i) {
        const auto any = [&] { return static_cast<std::uint32_t>(pieces.size() - 1 - below(random, known.size())); };
        const std::uint32_t left = any(), right = any();
        const std::string joined = pieces[left] + pieces[right];
        if (pieces[left].empty() || pieces[right].empty() || joined.size() > 40) continue;
        if (!known.emplace(joined, pieces.size()).second) continue;
        pieces.push_back(joined);
        if (by_merges) model.merges.emplace_back(left, right);
    }
    for (const std::string& piece : pieces) {
        const bool is_made = !piece.empty() && code_point_at(piece.data(), piece.data() + piece.size()).length < piece.size();
        model.ranks.push_back(is_made ? static_cast<std::uint32_t>(below(random, 100)) : kNone);
    }
    model.vocabulary.split_at_spaces = below(random, 3) == 0;
    if (below(random, 4) == 0) model.vocabulary.user_defined = {static_cast<std::uint32_t>(pieces.size() - 1)};
    if (pieces.back().empty()) model.vocabulary.user_defined.clear();
    return model;
}

class Oracle {
  public:
    explicit Oracle(const Model& model) : model_(model) {
        const auto& pieces = model.vocabulary.pieces;
        for (std::uint32_t id = 0; id < pieces.size(); ++id) {
            if (!pieces[id].empty()) ids_[pieces[id]] = id;
        }
        for (std::uint32_t rank = 0; rank < model.merges.size(); ++rank) {
            ranks_of_pairs_[{pieces[model.merges[rank].first], pieces[model.merges[rank].second]}] = rank;
        }
    }

    Ids encode(std::string_view text, bool add_space) const {
        std::string spaced = add_space && !text.empty() ? " " : "";
        spaced += with_spaces(text);
        Ids out;
        std::vector<std::string> parts;
        for (std::size_t at = 0; at < spaced.size();) {
            if (const auto user = user_defined_at(spaced, at); user != kNone) {
                merge(parts, out);
                out.push_back(user);
                at += model_.vocabulary.pieces[user].size();
                continue;
            }
            if (model_.vocabulary.split_at_spaces && spaced[at] == ' ') merge(parts, out);
            const CodePoint character = code_point_at(spaced.data() + at, spaced.data() + spaced.size());
            parts.push_back(spaced.substr(at, character.length));
            at += character.length;
        }
        merge(parts, out);
        return out;
    }

  private:
    std::uint32_t user_defined_at(const std::string& text, std::size_t at) const {
        for (const std::uint32_t id : model_.vocabulary.user_defined) {
            if (text.compare(at, model_.vocabulary.pieces[id].size(), model_.vocabulary.pieces[id]) == 0) return id;
        }
        return kNone;
    }

    std::uint32_t rank_of(const std::string& left, const std::string& right) const {
        if (!model_.merges.empty()) {
            const auto found = ranks_of_pairs_.find({left, right});
            return found == ranks_of_pairs_.end() ? kNone : found->second;
        }
        const auto found = ids_.find(left + right);
        return found == ids_.end() ? kNone : model_.ranks[found->second];
    }

    void merge(std::vector<std::string>& parts, Ids& out) const {
        Ids ranks;  // of each part with the next
        for (std::size_t i = 0; i + 1 < parts.size(); ++i) ranks.push_back(rank_of(parts[i], parts[i + 1]));
        while (!ranks.empty()) {
            const auto least = std::min_element(ranks.begin(), ranks.end());
            if (*least == kNone) break;
            const auto i = static_cast<std::size_t>(least - ranks.begin());
            parts[i] += parts[i + 1];
            parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(i) + 1);
            ranks.erase(least);
            if (i > 0) ranks[i - 1] = rank_of(parts[i - 1], parts[i]);
            if (i < ranks.size()) ranks[i] = rank_of(parts[i], parts[i + 1]);
        }
        for (const std::string& part : parts) emit(part, out);
        parts.clear();
    }

    void emit(const std::string& part, Ids& out) const {
        const SentencePieces& v = model_.vocabulary;
        if (const auto found = ids_.find(part); found != ids_.end()) {
            out.push_back(found->second);
        } else if (v.byte_ids.empty()) {
            if (out.empty() || out.back() != v.unknown_id) out.push_back(v.unknown_id);
        } else {
            for (const char c : part) out.push_back(v.byte_ids[static_cast<unsigned char>(c)]);
        }
    }

    const Model& model_;
    std::map<std::string, std::uint32_t> ids_;
    std::map<std::pair<std::string, std::string>, std::uint32_t> ranks_of_pairs_;
};

template <class Id>
Ids encode(const SentencePieceEncoder& encoder, std::string_view text, SentencePieceEncoder::Options options) {
    std::vector<Id> ids;
    encoder.encode(text, options, ids);
    return {ids.begin(), ids.end()};
}

void check_ways(Dice& random, const SentencePieceEncoder& encoder, const Oracle& oracle, std::string_view text) {
    SentencePieceEncoder::Options options;
    options.add_space = below(random, 2) == 0;
    const Ids expected = oracle.encode(text, options.add_space);
    is_ended_by_failing_allocation(random, 12, [&] { encode<std::uint16_t>(encoder, text, options); });
    is_ended_by_failing_allocation(random, 12, [&] { encode<std::uint32_t>(encoder, text, options); });
    check(encode<std::uint16_t>(encoder, text, options) == expected, "ids are those of merging the whole");
    check(encode<std::uint16_t>(encoder, text, options) == expected, "and again, from the cache");
    check(encode<std::uint32_t>(encoder, text, options) == expected, "and as uint32");
    options.use_cache = false;
    check(encode<std::uint32_t>(encoder, text, options) == expected, "and without a cache");
    UnknownRuns unknown;
    options.unknown = &unknown;
    check(encode<std::uint32_t>(encoder, text, options) == expected, "and with indexes of the unknown");
    for (const auto& [index, n_bytes] : unknown) check(index < expected.size() && n_bytes > 0, "an unknown has an index");

    const SpecialTokens specials({{"<s>", 0}, {"<s><t>", 0}});
    const PrefixSpace prefix{below(random, 2) == 0, below(random, 2) == 0, below(random, 2) == 0};
    std::vector<std::uint16_t> whole, in_parts;
    for (const Segment& part : encoder.segments(text, &specials, prefix, text.size() + 1)) encoder.encode(part, whole);
    for (const Segment& part : encoder.segments(text, &specials, prefix, 20)) encoder.encode(part, in_parts);
    check(whole == in_parts, "parts give the ids of the whole");
}

void check_dropout(Dice& random, const Model& model, const SentencePieceEncoder& encoder, std::string_view text) {
    tilth::Random chance(random());
    SentencePieceEncoder::Options options;
    options.random = &chance;
    const Ids without = encode<std::uint32_t>(encoder, text, options);
    options.dropout = 0.4;
    const auto text_of = [&](const Ids& ids) {
        std::string joined;
        for (const std::uint32_t id : ids) {
            const auto byte = std::find(model.vocabulary.byte_ids.begin(), model.vocabulary.byte_ids.end(), id);
            if (byte != model.vocabulary.byte_ids.end()) joined += static_cast<char>(byte - model.vocabulary.byte_ids.begin());
            joined += model.vocabulary.pieces[id];
        }
        return joined;
    };
    const bool keeps_all = !model.vocabulary.byte_ids.empty();
    const Ids with = encode<std::uint32_t>(encoder, text, options);
    check(!keeps_all || text_of(with) == text_of(without), "dropout keeps the text");
}

/// A vocabulary of any content is refused, or it encodes.
void check_broken(Dice& random, Model model) {
    const auto any_id = [&] { return static_cast<std::uint32_t>(below(random, model.vocabulary.pieces.size() + 3)); };
    for (std::size_t i = 1 + below(random, 3); i > 0; --i) {
        std::string& piece = model.vocabulary.pieces[below(random, model.vocabulary.pieces.size())];
        switch (below(random, 8)) {
            case 0: piece = random_text(random); break;
            case 1: piece.clear(); break;
            case 2: model.merges.emplace_back(any_id(), any_id()); break;
            case 3: model.vocabulary.byte_ids.resize(below(random, 300), any_id()); break;
            case 4: model.vocabulary.unknown_id = any_id(); break;
            case 5: model.vocabulary.user_defined.push_back(any_id()); break;
            case 6: model.ranks.resize(below(random, 2 * model.ranks.size())); break;
            default: std::generate(model.ranks.begin(), model.ranks.end(), [&] { return any_id(); });
        }
    }
    try {
        const SentencePieceEncoder encoder(model.tables());
        for (int i = 0; i < 5; ++i) {
            const Exact text(random_text(random));
            const Ids ids = encode<std::uint16_t>(encoder, text.view(), {});
            check(text.size == 0 || !ids.empty(), "text has ids");
            check(encode<std::uint16_t>(encoder, text.view(), {}) == ids, "the same text has the same ids");
        }
    } catch (const std::invalid_argument&) {
    }
}

std::string field(int number, const std::string& bytes) {
    return static_cast<char>(number << 3 | 2) + std::string(1, static_cast<char>(bytes.size())) + bytes;
}

/// Model files with bytes changed and cut off.
void check_files(Dice& random) {
    std::string file;
    for (std::size_t i = 1 + below(random, 6); i > 0; --i) {
        const float score = -static_cast<float>(i);
        std::string number(1, 0x15);
        number.append(reinterpret_cast<const char*>(&score), sizeof score);
        file += field(1, field(1, std::string(kBits[below(random, std::size(kBits))])) + number + "\x18\x01");
    }
    file += field(2, "\x18\x02") + field(3, field(1, "identity"));
    check(read_sentencepiece_model(file).others.size() == 2, "a whole file is read");
    for (std::size_t i = below(random, 4); i > 0; --i) file[below(random, file.size())] = static_cast<char>(random());
    if (below(random, 2) == 0) file.resize(below(random, file.size()));
    const Exact content(file);
    try {
        std::size_t bytes = 0;
        for (const ModelPiece& piece : read_sentencepiece_model(content.view()).pieces) bytes += piece.text.size();
        check(bytes <= content.size, "pieces are in the file");
    } catch (const std::invalid_argument&) {
    }
}

/// A table that could not grow still holds what it held.
void check_run_table_without_memory(Dice& random) {
    using Table = RunTable<2, std::uint16_t, std::size_t{1} << 17>;
    Table table;
    for (std::uint16_t i = 0; i < 4000; ++i) {
        const auto key = Table::Key::of(std::to_string(i));
        is_ended_by_failing_allocation(random, 2, [&] { table.insert(key.hash(), key, &i, 1); });
    }
    std::size_t n_found = 0;
    for (std::uint16_t i = 0; i < 4000; ++i) {
        const auto key = Table::Key::of(std::to_string(i));
        const auto* found = &Table::likely(table.bucket(key.hash()), key);
        if (!(found->key == key)) found = table.find_in_second(key.hash(), key);
        if (found == nullptr) continue;
        check(found->count() == 1 && found->ids[0] == i, "a run has its own ids");
        ++n_found;
    }
    check(n_found > 1000, "a table that could not grow keeps its runs");
}

/// Vocabularies of up to three tokens, which are refused or encode.
void check_tiny(Dice& random) {
    Model model;
    for (std::size_t n = below(random, 4); n > 0; --n) {
        model.vocabulary.pieces.push_back(n == 2 ? "" : std::string(n, 'a'));
    }
    model.ranks.assign(model.vocabulary.pieces.size(), below(random, 2) == 0 ? kNone : 0);
    model.vocabulary.unknown_id = static_cast<std::uint32_t>(below(random, 4));
    const bool is_refused = model.vocabulary.unknown_id >= model.vocabulary.pieces.size();
    try {
        const SentencePieceEncoder encoder(model.tables());
        check(!is_refused, "an unknown token outside of the vocabulary is refused");
        const Exact text(random_text(random));
        check(encode<std::uint16_t>(encoder, text.view(), {}) == Oracle(model).encode(text.view(), false), "few tokens");
    } catch (const std::invalid_argument&) {
        check(is_refused, "a tiny vocabulary encodes");
    }
}

}  // namespace

void fuzz_sentencepiece(Dice& random) {
    const Model model = random_model(random);
    const SentencePieceEncoder encoder(model.tables());
    const Oracle oracle(model);
    for (int i = 0; i < 40; ++i) {
        const Exact text(random_text(random));
        check_ways(random, encoder, oracle, text.view());
        check_dropout(random, model, encoder, text.view());
        check_files(random);
    }
    check_run_table_without_memory(random);
    for (int i = 0; i < 5; ++i) {
        check_broken(random, model);
        check_tiny(random);
    }
}
