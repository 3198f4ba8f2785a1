#include "piece_encoder.h"

#include <algorithm>

#include "../unicode/character_class.h"
#include "pretokenize_simd.h"

namespace tilth {

namespace {

/// An inner part of a piece is merged, never taken for a whole token, so its key is another one.
constexpr std::uint64_t kInner = std::uint64_t{0x80} << 56;

bool leads_three_bytes(char c) { return (c & 0xF0) == 0xE0; }

/// Whether it is likely a run of characters of three bytes, which hardly repeats as a whole.
bool is_run_of_three_bytes(std::string_view piece) {
    return piece.size() > 7 && (leads_three_bytes(piece[0]) || leads_three_bytes(piece[1]));
}

}  // namespace

void PieceEncoder::encode(std::string_view text, Pattern pattern) {
    const char* ends[kPieces];
    PieceWalker walker(pattern, text);
    const char* start = text.data();
    readable_end_ = start + text.size();
    while (const std::size_t n = walker.next(ends, kPieces)) {
        if (n_ids_ > kIds) flush();
        prepare(start, ends, n);
        look_up(start, ends, n);
        start = ends[n - 1];
    }
    flush();
}

/// Makes keys and prefetches their cache lines.
void PieceEncoder::prepare(const char* start, const char* const* ends, std::size_t n) {
    const KnownPieces& known = cache_.known_pieces;
    const auto note = [&](std::size_t i, const PieceKey& key) {
        keys_[i] = key;
        lines_[i] = known.line(key.hash());
        __builtin_prefetch(lines_[i]);
    };
    std::size_t i = 0;
    for (; i < n && readable_end_ - start >= 16; start = ends[i++]) {
        note(i, readable_key(start, static_cast<std::size_t>(ends[i] - start)));
    }
    for (; i < n; start = ends[i++]) note(i, key_of({start, static_cast<std::size_t>(ends[i] - start)}));
}

void PieceEncoder::look_up(const char* start, const char* const* ends, std::size_t n) {
    std::uint32_t* out = ids_ + n_ids_;
    for (std::size_t i = 0; i < n; ++i) {
        if (const FewIds* const ids = lines_[i]->find(keys_[i])) {
            out += ids->copy_to(out);
            continue;
        }
        const char* const piece = i == 0 ? start : ends[i - 1];
        n_ids_ = static_cast<std::size_t>(out - ids_);
        encode_unknown({piece, static_cast<std::size_t>(ends[i] - piece)}, keys_[i], lines_[i]);
        out = ids_ + n_ids_;
        if (cache_.known_pieces.is_full()) {
            cache_.known_pieces.grow();
            for (std::size_t left = i + 1; left < n; ++left) {
                lines_[left] = cache_.known_pieces.line(keys_[left].hash());
            }
        }
    }
    n_ids_ = static_cast<std::size_t>(out - ids_);
}

void PieceEncoder::encode_unknown(std::string_view piece, const PieceKey& key, const KnownPieces::Line* line) {
    if (is_run_of_three_bytes(piece)) return encode_rare(piece);
    if (piece.size() <= PieceKey::kMostBytes) {
        if (!take_known(key, line)) encode_new(piece, key, false);
    } else if (!take(cache_.long_pieces.find(piece, false))) {
        encode_rare(piece);
    }
}

/// A piece that is long, or a run of characters of three bytes: its parts are looked up, not the whole.
void PieceEncoder::encode_rare(std::string_view piece) {
    encoder_.joins_.for_each_part(piece, [&](std::string_view part, std::uint32_t code) {
        if (part.size() == piece.size()) return encode_new(piece, key_of(piece), false);
        if (code == kNone) return encode_inner(part);
        append(ids_of_character(part, code));
        if (n_ids_ > kIds) flush();
    });
}

/// Those of an inner part that is one character of three bytes.
const FewIds& PieceEncoder::ids_of_character(std::string_view character, std::uint32_t code) {
    FewIds& ids = cache_.characters.of(code);
    if (ids.size() == 0) {
        std::vector<std::uint32_t> merged;
        encoder_.merge_piece(character, merged);
        ids = FewIds(merged.data(), merged.size());
    }
    return ids;
}

void PieceEncoder::encode_inner(std::string_view part) {
    const KnownPieces& known = cache_.known_pieces;
    PieceKey key = readable_end_ - part.data() >= 16 ? readable_key(part.data(), part.size()) : key_of(part);
    key.high ^= kInner;
    const KnownPieces::Line* const line = known.line(key.hash());
    if (const FewIds* const ids = line->find(key)) {
        append(*ids);
        if (n_ids_ > kIds) flush();
    } else {
        const bool is_long = part.size() > PieceKey::kMostBytes;
        const bool taken = is_long ? take(cache_.long_pieces.find(part, true)) : take_known(key, line);
        if (!taken) encode_new(part, key, true);
    }
}

/// Gives the ids of a piece that is known but not to be found in its own line.
bool PieceEncoder::take_known(const PieceKey& key, const KnownPieces::Line* line) {
    const PieceKey sign = KnownPieces::sign_of_many(key);
    if (const FewIds* const entry = line->find(sign)) return take(cache_.many_ids.at(*entry));
    if (!line->is_full()) return false;
    line = cache_.known_pieces.beside(line);
    if (const FewIds* const ids = line->find(key)) {
        append(*ids);
        return true;
    }
    const FewIds* const entry = line->find(sign);
    return entry != nullptr && take(cache_.many_ids.at(*entry));
}

/// Gives ids, if there are any.
bool PieceEncoder::take(std::span<const std::uint32_t> ids) {
    append(ids.data(), ids.size());
    return !ids.empty();
}

void PieceEncoder::encode_new(std::string_view piece, const PieceKey& key, bool inner) {
    std::vector<std::uint32_t>& ids = cache_.scratch;
    ids.clear();
    if (inner) {
        encoder_.merge_piece(piece, ids);
    } else {
        encode_whole(piece, ids);
    }
    if (piece.size() > PieceKey::kMostBytes) {
        if (piece.size() <= LongPieces::kLongest) cache_.long_pieces.insert(piece, inner, ids);
    } else if (FewIds::fit(ids.data(), ids.size())) {
        cache_.known_pieces.insert(key.hash(), key, FewIds(ids.data(), ids.size()));
    } else {
        cache_.known_pieces.set(key.hash(), KnownPieces::sign_of_many(key), cache_.many_ids.keep(ids));
    }
    append(ids.data(), ids.size());
}

/// Looks up or merges, in parts where the piece has any.
void PieceEncoder::encode_whole(std::string_view piece, std::vector<std::uint32_t>& ids) {
    if (!leads_three_bytes(piece[0]) && (piece.size() < 2 || !leads_three_bytes(piece[1]))) {
        return encoder_.encode_piece(piece, ids);
    }
    if (encoder_.take_whole(piece, ids)) return;
    encoder_.joins_.for_each_part(piece, [&](std::string_view part, std::uint32_t code) {
        if (code == kNone) return encoder_.merge_piece(part, ids);
        std::uint32_t few[FewIds::kMost];
        const std::size_t n = ids_of_character(part, code).copy_to(few);
        ids.insert(ids.end(), few, few + n);
    });
}

void PieceEncoder::append(const std::uint32_t* ids, std::size_t count) {
    if (n_ids_ + count > kIds) flush();
    if (count > kIds) return out_.append(ids, count);
    std::copy_n(ids, count, ids_ + n_ids_);
    n_ids_ += count;
}

void PieceEncoder::flush() {
    if (n_ids_ > 0) out_.append(ids_, n_ids_);
    n_ids_ = 0;
}

}  // namespace tilth
