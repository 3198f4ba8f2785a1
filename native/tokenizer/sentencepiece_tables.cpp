#include "sentencepiece_tables.h"

#include <algorithm>
#include <bit>
#include <stdexcept>

namespace tilth {

namespace {

constexpr std::uint32_t kMostJoiners = 2047;

/// Hashes of texts such that the hash of a part, and of two texts joined, follows without reading bytes again.
class PartHashes {
  public:
    explicit PartHashes(std::size_t longest) : powers_(longest + 1, 1) {
        for (std::size_t i = 1; i <= longest; ++i) powers_[i] = powers_[i - 1] * kBase;
    }

    /// The hashes of all beginnings of `text`.
    void read(std::string_view text, std::vector<std::uint64_t>& prefixes) const {
        prefixes.assign(1, 0);
        for (const char c : text) prefixes.push_back(prefixes.back() * kBase + static_cast<unsigned char>(c) + 1);
    }
    std::uint64_t rest(const std::vector<std::uint64_t>& prefixes, std::size_t from) const {
        return prefixes.back() - prefixes[from] * powers_[prefixes.size() - 1 - from];
    }
    std::uint64_t joined(std::uint64_t left, std::uint64_t right, std::size_t right_size) const {
        return left * powers_[right_size] + right;
    }

  private:
    static constexpr std::uint64_t kBase = 0x9E3779B97F4A7C15;
    std::vector<std::uint64_t> powers_;
};

std::size_t longest_of(const std::vector<std::string>& pieces) {
    std::size_t longest = 4;
    for (const std::string& piece : pieces) longest = std::max(longest, piece.size());
    return longest;
}

}  // namespace

std::string with_spaces(std::string_view text) {
    std::string changed;
    changed.reserve(text.size());
    std::size_t at = 0;
    for (std::size_t mark; (mark = text.find(kSpaceMark, at)) != text.npos; at = mark + kSpaceMark.size()) {
        changed.append(text, at, mark - at) += ' ';
    }
    return changed.append(text, at, text.npos);
}

/// Ids of pieces by their text.
class SentencePieceTables::Index {
  public:
    /// Raises std::invalid_argument if two pieces are the same.
    explicit Index(const std::vector<std::string>& pieces)
        : hashes(longest_of(pieces)), pieces_(pieces), slots_(table_size_for(pieces.size())), of_id_(pieces.size()) {
        for (std::uint32_t id = 0; id < pieces.size(); ++id) {
            if (pieces[id].empty()) continue;
            hashes.read(pieces[id], prefixes_);
            of_id_[id] = prefixes_.back();
            const auto is_same = [&](std::uint32_t other) { return pieces[other] == pieces[id]; };
            Slot& slot = slots_[find_slot(of_id_[id], is_same)];
            if (slot.id != kNone) {
                throw std::invalid_argument("token " + std::to_string(id) + " has the same text as token " +
                                            std::to_string(slot.id));
            }
            slot = {tag_of(of_id_[id]), id};
        }
    }

    /// kNone if there is no such piece.
    std::uint32_t find(std::string_view text, std::uint64_t hash) const {
        return slots_[find_slot(hash, [&](std::uint32_t id) { return pieces_[id] == text; })].id;
    }
    std::uint32_t find(std::string_view text) const {
        std::vector<std::uint64_t> prefixes;
        hashes.read(text, prefixes);
        return find(text, prefixes.back());
    }
    std::uint32_t find_joined(std::uint32_t left, std::uint32_t right) const {
        const std::string_view a = pieces_[left], b = pieces_[right];
        const auto is_join = [&](std::uint32_t id) {
            return pieces_[id].size() == a.size() + b.size() && pieces_[id].starts_with(a) && pieces_[id].ends_with(b);
        };
        return slots_[find_slot(hashes.joined(of_id_[left], of_id_[right], b.size()), is_join)].id;
    }

    const PartHashes hashes;

  private:
    struct Slot {
        std::uint32_t tag = 0;
        std::uint32_t id = kNone;
    };

    static std::uint32_t tag_of(std::uint64_t hash) { return static_cast<std::uint32_t>(hash >> 32); }

    template <class IsSame>
    std::size_t find_slot(std::uint64_t hash, IsSame&& is_same) const {
        std::size_t i = mix(hash) & (slots_.size() - 1);
        while (slots_[i].id != kNone && (slots_[i].tag != tag_of(hash) || !is_same(slots_[i].id))) {
            i = (i + 1) & (slots_.size() - 1);
        }
        return i;
    }

    const std::vector<std::string>& pieces_;
    std::vector<Slot> slots_;
    std::vector<std::uint64_t> of_id_, prefixes_;
};

SentencePieceTables::SentencePieceTables(SentencePieces vocabulary) : vocabulary_(std::move(vocabulary)), pages_(1) {
    const auto check = [&](std::uint32_t id) {
        if (id >= size()) throw std::invalid_argument("id " + std::to_string(id) + " is outside of the vocabulary");
    };
    if (has_byte_ids() && vocabulary_.byte_ids.size() != 256) {
        throw std::invalid_argument("byte fallback needs a token for each of the 256 bytes");
    }
    if (!has_byte_ids() && vocabulary_.unknown_id == kNone) {
        throw std::invalid_argument("there is neither a token for unknown text nor byte fallback");
    }
    if (vocabulary_.unknown_id != kNone) check(vocabulary_.unknown_id);
    for (const auto* ids : {&vocabulary_.byte_ids, &vocabulary_.user_defined}) {
        std::for_each(ids->begin(), ids->end(), check);
    }
    symbol_to_change(' ').joiner = ++n_joiners_;  // a row that it shares with no other character
    byte_ids_.fill(vocabulary_.unknown_id);
    std::copy(vocabulary_.byte_ids.begin(), vocabulary_.byte_ids.end(), byte_ids_.begin());
}

Symbol& SentencePieceTables::symbol_to_change(std::uint32_t code) {
    std::uint16_t& page = page_of_[code >> 8];
    if (page == 0) {
        page = static_cast<std::uint16_t>(pages_.size());
        pages_.emplace_back();
    }
    return pages_[page][code & 0xFF];
}

/// Gives `character` an id if it has none, and an index in the table of joins.
Symbol& SentencePieceTables::symbol_in_a_piece(std::uint32_t code, std::string_view character, const Index& index) {
    Symbol& here = symbol_to_change(code);
    if (here.id == kNone) {
        here.id = index.find(character);
        if (here.id == kNone) {
            here.id = static_cast<std::uint32_t>(size() + parts_.size());
            parts_.emplace_back(character);
        }
    }
    return here;
}

/// Gives every character of `piece` a symbol, and notes which are neighbours.
void SentencePieceTables::add_characters(std::string_view piece, const Index& index) {
    const auto joiner = [&](std::uint32_t code) {
        Symbol& here = symbol_to_change(code);
        if (here.joiner == 0) {
            here.joiner = n_joiners_ < kMostJoiners ? 1 + n_joiners_ : 2 + n_joiners_ % (kMostJoiners - 1);
            ++n_joiners_;
        }
        return static_cast<std::uint16_t>(here.joiner);
    };
    std::uint32_t previous = kInvalid;
    for_each_character(piece, [&](std::size_t at, std::size_t length, std::uint32_t code) {
        if (code == kInvalid) throw std::invalid_argument("a token is not valid UTF-8");
        symbol_in_a_piece(code, piece.substr(at, length), index);
        const bool is_known = at == 0 || (previous < 128 && code < 128 && ascii_joins_[previous][code]);
        if (!is_known) neighbours_.emplace_back(joiner(previous), joiner(code));
        if (at > 0 && previous < 128 && code < 128) ascii_joins_[previous][code] = 1;
        previous = code;
    });
}

void SentencePieceTables::build_joins() {
    const std::uint32_t columns = std::max(64u, std::bit_ceil(1 + std::min(n_joiners_, kMostJoiners)));
    joins_shift_ = static_cast<std::uint32_t>(std::countr_zero(columns)) - 6;
    joins_.assign(std::size_t{columns} << joins_shift_, 0);
    for (const auto& [left, right] : neighbours_) {
        joins_[std::size_t{left} << joins_shift_ | right >> 6] |= std::uint64_t{1} << (right & 63);
    }
    neighbours_ = {};
    const std::uint32_t space = symbol(' ').joiner;
    for (std::uint32_t row = 0; vocabulary_.split_at_spaces && row < columns; ++row) {
        joins_[std::size_t{row} << joins_shift_ | space >> 6] &= ~(std::uint64_t{1} << (space & 63));
    }
    // Filled again, so that both tables give one answer, also where characters share rows.
    for (std::uint32_t left = 0; left < 128; ++left) {
        for (std::uint32_t right = 0; right < 128; ++right) {
            ascii_joins_[left][right] = may_join(symbol(left), symbol(right));
        }
    }
    symbol_to_change(0x2581) = symbol(' ');
}

/// Copies the merges of two characters.
void SentencePieceTables::build_first_pairs() {
    std::vector<std::uint64_t> pairs;
    for (const std::string& piece : vocabulary_.pieces) {
        const char* const end = piece.data() + piece.size();
        if (piece.empty()) continue;
        const CodePoint left = code_point_at(piece.data(), end);
        if (left.length == piece.size()) continue;
        const CodePoint right = code_point_at(piece.data() + left.length, end);
        if (left.length + right.length < piece.size()) continue;
        pairs.push_back(pair_key(symbol(left.code).id, symbol(right.code).id));
    }
    first_pairs_ = PairTable(pairs.size());
    for (const std::uint64_t pair : pairs) first_pairs_.insert(pair, pairs_.find(pair));
}

bool SentencePieceTables::add_merge(std::uint64_t pair, Merge merge) {
    const std::uint64_t bit = filter_bit(pair);
    filter_[bit >> 6] |= std::uint64_t{1} << (bit & 63);
    return pairs_.insert(pair, merge);
}

void SentencePieceTables::add_pairs(const Index& index, const std::vector<std::uint32_t>& ranks) {
    const auto part = [&](std::string_view text, std::uint64_t hash) -> std::uint32_t {
        const CodePoint first = code_point_at(text.data(), text.data() + text.size());
        if (first.length == text.size()) return symbol(first.code).id;
        const std::uint32_t id = index.find(text, hash);
        return id == kNone || ranks[id] == kNone ? kNone : id;
    };
    std::vector<std::pair<std::uint64_t, std::uint32_t>> found;
    std::vector<std::uint64_t> prefixes;
    for (std::uint32_t id = 0; id < size(); ++id) {
        if (ranks[id] == kNone) continue;
        const std::string_view piece = vocabulary_.pieces[id];
        index.hashes.read(piece, prefixes);
        for_each_character(piece, [&](std::size_t at, std::size_t, std::uint32_t) {
            if (at == 0) return;
            const std::uint32_t left = part(piece.substr(0, at), prefixes[at]);
            if (left == kNone) return;
            const std::uint32_t right = part(piece.substr(at), index.hashes.rest(prefixes, at));
            if (right != kNone) found.emplace_back(pair_key(left, right), id);
        });
    }
    pairs_ = PairTable(found.size());
    for (const auto& [pair, id] : found) add_merge(pair, {ranks[id], id});
}

void SentencePieceTables::build_singles() {
    if (!has_byte_ids() || size() > std::size_t{1} << SingleIds::kIdBits) return;
    singles_.resize(1 << 16);
    for (std::uint32_t code = 0; code < singles_.size(); ++code) {
        const std::uint32_t bytes[] = {code < 0x80 ? code : code < 0x800 ? 0xC0 | code >> 6 : 0xE0 | code >> 12,
                                       0x80 | (code < 0x800 ? code & 0x3F : code >> 6 & 0x3F), 0x80 | (code & 0x3F)};
        const std::uint32_t ids[] = {byte_ids_[bytes[0]], byte_ids_[bytes[1]], byte_ids_[bytes[2]]};
        const Symbol found = symbol(code);
        const bool joins = found.joiner != 0;
        singles_[code] = found.id < size() ? SingleIds::pack(&found.id, 1, joins)
                                           : SingleIds::pack(ids, code < 0x80 ? 1 : code < 0x800 ? 2 : 3, joins);
    }
}

SentencePieceTables SentencePieceTables::from_ranks(SentencePieces vocabulary,
                                                    const std::vector<std::uint32_t>& ranks) {
    SentencePieceTables tables(std::move(vocabulary));
    const auto& pieces = tables.vocabulary_.pieces;
    const Index index(pieces);
    if (ranks.size() != pieces.size()) throw std::invalid_argument("as many ranks as tokens are needed");
    for (const std::string& piece : pieces) tables.add_characters(piece, index);
    tables.add_pairs(index, ranks);
    tables.build_joins();
    tables.build_first_pairs();
    tables.build_singles();
    return tables;
}

SentencePieceTables SentencePieceTables::from_merges(
    SentencePieces vocabulary, const std::vector<std::pair<std::uint32_t, std::uint32_t>>& merges) {
    SentencePieceTables tables(std::move(vocabulary));
    const auto& pieces = tables.vocabulary_.pieces;
    const Index index(pieces);
    tables.pairs_ = PairTable(merges.size());
    for (const std::string& piece : pieces) {
        if (!piece.empty() && code_point_at(piece.data(), piece.data() + piece.size()).length == piece.size()) {
            tables.add_characters(piece, index);
        }
    }
    for (const std::uint32_t id : tables.vocabulary_.user_defined) tables.add_characters(pieces[id], index);
    for (std::uint32_t rank = 0; rank < merges.size(); ++rank) {
        const auto fail = [&](const char* why) {
            throw std::invalid_argument("merge " + std::to_string(rank) + " " + why);
        };
        const auto [left, right] = merges[rank];
        if (std::max(left, right) >= pieces.size()) fail("names an id outside of the vocabulary");
        if (pieces[left].empty() || pieces[right].empty()) fail("joins a token that takes no part in merging");
        const std::uint32_t made = index.find_joined(left, right);
        if (made == kNone) fail("makes a text that is no token");
        if (!tables.add_merge(pair_key(left, right), {rank, made})) fail("repeats an earlier merge");
        tables.add_characters(pieces[made], index);
    }
    tables.build_joins();
    tables.build_first_pairs();
    tables.build_singles();
    return tables;
}

}  // namespace tilth
