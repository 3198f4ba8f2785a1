#include "bpe_encode.h"

#include <functional>
#include <queue>
#include <stdexcept>

#include "piece_encoder.h"

namespace tilth {

namespace {

constexpr std::size_t kShortPiece = 48;

}  // namespace

CachePool::~CachePool() {
    for (std::atomic<PieceCache*>& slot : idle_) delete slot.load();
}

std::unique_ptr<PieceCache> CachePool::take() {
    for (std::atomic<PieceCache*>& slot : idle_) {
        if (slot.load(std::memory_order_relaxed) == nullptr) continue;
        if (PieceCache* const cache = slot.exchange(nullptr)) return std::unique_ptr<PieceCache>(cache);
    }
    return std::make_unique<PieceCache>();
}

void CachePool::give_back(std::unique_ptr<PieceCache> cache) {
    for (std::atomic<PieceCache*>& slot : idle_) {
        PieceCache* empty = nullptr;
        if (slot.compare_exchange_strong(empty, cache.get())) {
            cache.release();
            return;
        }
    }
}

BpeEncoder::BpeEncoder(std::vector<std::string> tokens, const std::vector<std::uint32_t>& special_ids,
                       std::size_t n_pairs)
    : tokens_(std::make_unique<const std::vector<std::string>>(std::move(tokens))),
      is_special_(tokens_->size()),
      pairs_(n_pairs),
      byte_merges_(1 << 16),
      joins_(*tokens_),
      token_ids_(*tokens_, tokens_->size()),
      whole_pieces_(*tokens_, tokens_->size()) {
    for (const std::uint32_t id : special_ids) is_special_.at(id) = true;
    for (std::uint32_t id = 0; id < tokens_->size(); ++id) {
        if (is_special_[id] || (*tokens_)[id].empty()) continue;
        if (!token_ids_.insert(id)) {
            throw std::invalid_argument("token " + std::to_string(id) + " has the same bytes as token " +
                                        std::to_string(token_ids_.find((*tokens_)[id])));
        }
    }
    for (const std::string& token : *tokens_) longest_token_ = std::max(longest_token_, token.size());
    for (int byte = 0; byte < 256; ++byte) {
        const char c = static_cast<char>(byte);
        byte_ids_[static_cast<std::size_t>(byte)] = token_ids_.find({&c, 1});
        if (byte_ids_[static_cast<std::size_t>(byte)] == kNone) {
            throw std::invalid_argument("no token for the byte " + std::to_string(byte));
        }
    }
}

BpeEncoder::BpeEncoder(std::vector<std::string> tokens, const std::vector<std::uint32_t>& special_ids,
                       const std::vector<TokenPair>& merges, bool ignore_merges)
    : BpeEncoder(std::move(tokens), special_ids, merges.size()) {
    for (std::uint32_t rank = 0; rank < merges.size(); ++rank) {
        const auto fail = [&](const char* why) {
            throw std::invalid_argument("merge " + std::to_string(rank) + " " + why);
        };
        const auto [left, right] = merges[rank];
        if (std::max(left, right) >= tokens_->size()) fail("names an id outside of the vocabulary");
        const std::uint32_t id = token_ids_.find((*tokens_)[left] + (*tokens_)[right]);
        if (id == kNone) fail("makes bytes that are no token");
        if (pairs_.find(pair_key(left, right)).rank != kNone) fail("repeats an earlier merge");
        add_merge(merges[rank], {rank, id});
    }
    add_whole_pieces(ignore_merges);
}

BpeEncoder BpeEncoder::from_ranks(std::vector<std::string> tokens, const std::vector<std::uint32_t>& special_ids) {
    BpeEncoder encoder(std::move(tokens), special_ids, 0);
    std::vector<std::pair<TokenPair, std::uint32_t>> merges;
    for (std::uint32_t id = 0; id < encoder.tokens_->size(); ++id) {
        if (encoder.is_special_[id]) continue;
        const std::string_view token = (*encoder.tokens_)[id];
        const auto first = static_cast<std::ptrdiff_t>(merges.size());
        for (std::size_t at = 1; at < token.size(); ++at) {
            const std::uint32_t left = encoder.token_ids_.find(token.substr(0, at));
            if (left == kNone) continue;
            const std::uint32_t right = encoder.token_ids_.find(token.substr(at));
            if (right != kNone) merges.push_back({{left, right}, id});
        }
        std::sort(merges.begin() + first, merges.end());
    }
    encoder.pairs_ = PairTable(merges.size());
    encoder.merges_.reserve(merges.size());
    for (const auto& [pair, id] : merges) encoder.add_merge(pair, {id, id});
    encoder.add_whole_pieces(true);
    return encoder;
}

void BpeEncoder::add_merge(TokenPair pair, Merge merge) {
    merges_.push_back(pair);
    pairs_.insert(pair_key(pair.first, pair.second), merge);
    const std::string &left = (*tokens_)[pair.first], &right = (*tokens_)[pair.second];
    if (left.size() == 1 && right.size() == 1) {
        byte_merges_[static_cast<unsigned char>(left[0]) << 8 | static_cast<unsigned char>(right[0])] = merge;
    }
}

void BpeEncoder::add_whole_pieces(bool ignore_merges) {
    std::vector<std::uint32_t> ids;
    for (std::uint32_t id = 0; id < tokens_->size(); ++id) {
        if (is_special_[id] || (*tokens_)[id].empty()) continue;
        ids.clear();
        if (!ignore_merges) merge_piece((*tokens_)[id], ids);
        if (ignore_merges || (ids.size() == 1 && ids[0] == id)) whole_pieces_.insert(id);
    }
}

void BpeEncoder::encode_piece(std::string_view piece, std::vector<std::uint32_t>& out) const {
    const std::uint32_t whole = piece.size() <= longest_token_ ? whole_pieces_.find(piece) : kNone;
    if (whole != kNone) {
        out.push_back(whole);
    } else {
        merge_piece(piece, out);
    }
}

void BpeEncoder::merge_piece(std::string_view piece, std::vector<std::uint32_t>& out) const {
    piece.size() <= kShortPiece ? merge_short(piece, out) : merge_long(piece, out);
}

void BpeEncoder::merge_short(std::string_view piece, std::vector<std::uint32_t>& out) const {
    std::uint32_t ids[kShortPiece];
    Merge merges[kShortPiece];  // merges[i]: of ids[i] with ids[i + 1]
    std::size_t n = piece.size();
    const auto* const bytes = reinterpret_cast<const unsigned char*>(piece.data());
    for (std::size_t i = 0; i < n; ++i) ids[i] = byte_ids_[bytes[i]];
    for (std::size_t i = 0; i + 1 < n; ++i) merges[i] = byte_merges_[bytes[i] << 8 | bytes[i + 1]];
    const auto look_up = [&](std::size_t i) { merges[i] = merge_of(ids[i], ids[i + 1]); };
    while (n > 1) {
        std::size_t best = 0;
        for (std::size_t i = 1; i + 1 < n; ++i) {
            if (merges[i].rank < merges[best].rank) best = i;
        }
        if (merges[best].rank == kNone) break;
        ids[best] = merges[best].id;
        std::copy(ids + best + 2, ids + n, ids + best + 1);
        std::copy(merges + best + 2, merges + n, merges + best + 1);
        --n;
        if (best + 1 < n) look_up(best);
        if (best > 0) look_up(best - 1);
    }
    out.insert(out.end(), ids, ids + n);
}

void BpeEncoder::merge_long(std::string_view piece, std::vector<std::uint32_t>& out) const {
    if (piece.size() >= kNone) throw std::length_error("a piece of 4 GiB or more between two places to split");
    struct Symbol {
        std::uint32_t id, previous, next;  // id == kNone: merged into its left neighbour
    };
    const auto n = static_cast<std::uint32_t>(piece.size());
    std::vector<Symbol> symbols(n);
    for (std::uint32_t i = 0; i < n; ++i) {
        symbols[i] = {byte_ids_[static_cast<unsigned char>(piece[i])], i - 1, i + 1};
    }
    // Entries are rank and place in one number: the least is the lowest rank, leftmost. An entry whose pair has
    // changed since is told by its rank and skipped.
    std::vector<std::uint64_t> entries;
    const auto merge_at = [&](std::uint32_t i) {
        return symbols[i].next < n ? pairs_.find(pair_key(symbols[i].id, symbols[symbols[i].next].id)) : Merge{};
    };
    for (std::uint32_t i = 0; i < n; ++i) {
        if (const Merge merge = merge_at(i); merge.rank != kNone) entries.push_back(pair_key(merge.rank, i));
    }
    std::priority_queue<std::uint64_t, std::vector<std::uint64_t>, std::greater<>> queue({}, std::move(entries));
    const auto push = [&](std::uint32_t i) {
        if (const Merge merge = merge_at(i); merge.rank != kNone) queue.push(pair_key(merge.rank, i));
    };
    while (!queue.empty()) {
        const auto rank = static_cast<std::uint32_t>(queue.top() >> 32);
        const auto i = static_cast<std::uint32_t>(queue.top());
        queue.pop();
        if (symbols[i].id == kNone) continue;
        const Merge merge = merge_at(i);
        if (merge.rank != rank) continue;
        Symbol& right = symbols[symbols[i].next];
        symbols[i].id = merge.id;
        symbols[i].next = right.next;
        right.id = kNone;
        if (symbols[i].next < n) symbols[symbols[i].next].previous = i;
        push(i);
        if (i > 0) push(symbols[i].previous);
    }
    for (std::uint32_t i = 0; i < n; i = symbols[i].next) out.push_back(symbols[i].id);
}

void BpeEncoder::encode(std::string_view text, Pattern pattern, const SpecialTokens* specials, IdSink& out) const {
    if (specials == nullptr) return encode(Span{text}, pattern, out);
    for (const Span& span : spans(text, specials, text.size() + 1)) encode(span, pattern, out);
}

std::vector<Span> BpeEncoder::spans(std::string_view text, const SpecialTokens* specials, std::size_t size) {
    std::vector<Span> spans;
    const auto add_ordinary = [&](std::string_view segment) {
        while (!segment.empty()) {
            const std::size_t end = segment.size() > size ? safe_cut(segment, size) : segment.size();
            spans.push_back({segment.substr(0, end)});
            segment.remove_prefix(end);
        }
    };
    std::size_t start = 0;
    while (specials != nullptr) {
        const auto match = specials->find(text, start);
        if (!match) break;
        add_ordinary(text.substr(start, match->start - start));
        spans.push_back({text.substr(match->start, match->end - match->start), match->id});
        start = match->end;
    }
    add_ordinary(text.substr(start));
    return spans;
}

void BpeEncoder::encode(const Span& span, Pattern pattern, IdSink& out) const {
    if (span.special != kNone) return out.append(&span.special, 1);
    auto cache = caches_->take();
    PieceEncoder(*this, *cache, out).encode(span.text, pattern);
    caches_->give_back(std::move(cache));
}

void BpeEncoder::decode(const std::uint32_t* ids, std::size_t count, std::string& out) const {
    for (std::size_t i = 0; i < count; ++i) {
        if (ids[i] >= tokens_->size() || (*tokens_)[ids[i]].empty()) throw std::out_of_range(std::to_string(ids[i]));
        out += (*tokens_)[ids[i]];
    }
}

}  // namespace tilth
