#include "bpe_encode.h"

#include <stdexcept>

#include "piece_encoder.h"

namespace tilth {

BpeEncoder::BpeEncoder(std::vector<std::string> tokens, const std::vector<std::uint32_t>& special_ids,
                       std::size_t n_pairs, bool whole_pieces)
    : tokens_(std::move(tokens)),
      is_special_(tokens_.size()),
      whole_pieces_(whole_pieces),
      token_ids_(tokens_.size()),
      joins_(tokens_) {
    if (std::max(tokens_.size(), n_pairs) > kMostMerges) throw std::invalid_argument("too many tokens or merges");
    for (const std::uint32_t id : special_ids) is_special_.at(id) = true;
    constexpr std::size_t ahead = 16;
    for (std::uint32_t id = 0; id < tokens_.size(); ++id) {
        if (id + ahead < tokens_.size()) token_ids_.prefetch(tokens_[id + ahead]);
        if (is_special_[id] || tokens_[id].empty()) continue;
        if (!token_ids_.insert(tokens_[id], id)) {
            throw std::invalid_argument("token " + std::to_string(id) + " has the same bytes as token " +
                                        std::to_string(token_ids_.find(tokens_[id])));
        }
    }
    for (std::size_t byte = 0; byte < 256; ++byte) {
        const char c = static_cast<char>(byte);
        bytes_.ids[byte] = token_ids_.find({&c, 1});
        if (bytes_.ids[byte] == kNone) throw std::invalid_argument("no token for the byte " + std::to_string(byte));
    }
}

BpeEncoder::BpeEncoder(std::vector<std::string> tokens, const std::vector<std::uint32_t>& special_ids,
                       const std::vector<TokenPair>& merges, bool ignore_merges)
    : BpeEncoder(std::move(tokens), special_ids, merges.size(), ignore_merges) {
    pairs_.emplace(merges.size());
    merges_ = merges;
    for (std::uint32_t rank = 0; rank < merges.size(); ++rank) {
        const auto fail = [&](const char* why) {
            throw std::invalid_argument("merge " + std::to_string(rank) + " " + why);
        };
        const auto [left, right] = merges[rank];
        if (std::max(left, right) >= tokens_.size()) fail("names an id outside of the vocabulary");
        const std::uint32_t id = token_ids_.find(tokens_[left] + tokens_[right]);
        if (id == kNone) fail("makes bytes that are no token");
        if (!pairs_->insert(pair_key(left, right), {rank, id})) fail("repeats an earlier merge");
        bytes_.add(tokens_[left] + tokens_[right], {rank, id});
    }
}

BpeEncoder BpeEncoder::from_ranks(std::vector<std::string> tokens, const std::vector<std::uint32_t>& special_ids) {
    BpeEncoder encoder(std::move(tokens), special_ids, 0, true);
    for (std::uint32_t id = 0; id < encoder.tokens_.size(); ++id) {
        if (!encoder.is_special_[id]) encoder.bytes_.add(encoder.tokens_[id], {id, id});
    }
    return encoder;
}

std::vector<TokenPair> BpeEncoder::merges() const {
    if (pairs_) return merges_;
    std::vector<TokenPair> merges;
    for (std::uint32_t id = 0; id < tokens_.size(); ++id) {
        if (is_special_[id]) continue;
        const std::string_view token = tokens_[id];
        const auto first = static_cast<std::ptrdiff_t>(merges.size());
        for (std::size_t at = 1; at < token.size(); ++at) {
            const std::uint32_t left = token_ids_.find(token.substr(0, at));
            if (left == kNone) continue;
            const std::uint32_t right = token_ids_.find(token.substr(at));
            if (right != kNone) merges.emplace_back(left, right);
        }
        std::sort(merges.begin() + first, merges.end());
    }
    return merges;
}

void BpeEncoder::encode_piece(std::string_view piece, std::vector<std::uint32_t>& out) const {
    if (!take_whole(piece, out)) merge_piece(piece, out);
}

bool BpeEncoder::take_whole(std::string_view piece, std::vector<std::uint32_t>& out) const {
    const std::uint32_t whole = whole_pieces_ ? token_ids_.find(piece) : kNone;
    if (whole != kNone) out.push_back(whole);
    return whole != kNone;
}

/// Each merge waits for the one before it; all that may come up can be asked for at once.
void BpeEncoder::ask_for_tokens(std::string_view piece) const {
    constexpr std::size_t kMost = 20;
    if (piece.size() < 4 || piece.size() > kMost) return;
    char text[kMost + 16];
    std::memcpy(text, piece.data(), piece.size());
    for (std::size_t start = 0; start + 3 <= piece.size(); ++start) {
        const std::size_t most = std::min(piece.size() - start, PieceKey::kMostBytes);
        for (std::size_t size = 3; size <= most; ++size) token_ids_.prefetch_readable(text + start, size);
    }
}

void BpeEncoder::merge_piece(std::string_view piece, std::vector<std::uint32_t>& out) const {
    const auto merge = [&](const auto& find) {
        piece.size() <= kShortPiece ? merge_short(piece, bytes_, find, out) : merge_long(piece, bytes_, find, out);
    };
    if (pairs_) {
        merge([&](std::uint32_t left, std::uint32_t right, const char*, std::size_t) {
            return pairs_->find(pair_key(left, right));
        });
    } else {
        ask_for_tokens(piece);
        merge([&](std::uint32_t, std::uint32_t, const char* start, std::size_t size) {
            const std::uint32_t id = token_ids_.find_readable(start, size);
            return Merge{id, id};
        });
    }
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
    const IdlePool<PieceCache>::Lease cache(*caches_);
    PieceEncoder(*this, *cache, out).encode(span.text, pattern);
}

void BpeEncoder::decode(const std::uint32_t* ids, std::size_t count, std::string& out) const {
    for (std::size_t i = 0; i < count; ++i) {
        if (ids[i] >= tokens_.size() || tokens_[ids[i]].empty()) throw std::out_of_range(std::to_string(ids[i]));
        out += tokens_[ids[i]];
    }
}

}  // namespace tilth
