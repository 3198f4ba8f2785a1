#include "piece_encoder.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "pretokenize_simd.h"

namespace tilth {

namespace {

constexpr std::size_t kShort = 7, kMiddle = 15;

/// An inner part of a piece is merged, never taken for a whole token, so its key is another one.
constexpr std::uint64_t kInner = 0x80;

constexpr std::uint64_t kRare = 0;  // a key of no piece: not in the tables of short keys

std::uint64_t low_bytes(std::uint64_t word, std::size_t n) {
    return word & ((std::uint64_t{1} << (8 * n)) - 1);  // n < 8
}

std::uint64_t load(const char* p) {
    std::uint64_t word;
    std::memcpy(&word, p, 8);
    return word;
}

/// The key of up to 15 bytes, of which 16 can be read. One of up to 7 bytes has all in its low word.
PieceKey key_of(const char* p, std::size_t size, std::uint64_t flags) {
    const std::uint64_t tag = (size | flags) << 56;
    if (size <= kShort) return {low_bytes(load(p), size) | tag, 0};
    return {load(p), low_bytes(load(p + 8), size - 8) | tag};
}

PieceKey key_of_copy(std::string_view piece, std::uint64_t flags) {
    char bytes[16] = {};
    std::memcpy(bytes, piece.data(), piece.size());
    return key_of(bytes, piece.size(), flags);
}

bool leads_three_bytes(char c) { return (c & 0xF0) == 0xE0; }

/// The packed ids of a key, or 0.
std::uint64_t find(const ShortPieces::Bucket& bucket, std::uint64_t key) {
    const unsigned hits = static_cast<unsigned>(bucket.keys[0] == key) | static_cast<unsigned>(bucket.keys[1] == key) << 1 |
                          static_cast<unsigned>(bucket.keys[2] == key) << 2 |
                          static_cast<unsigned>(bucket.keys[3] == key) << 3;
    return hits != 0 ? bucket.ids[std::countr_zero(hits)] : 0;
}

std::uint64_t find(const MiddlePieces::Bucket& bucket, const PieceKey& key) {
    for (int way = 0; way < 2; ++way) {
        if (bucket.keys[way].low == key.low && bucket.keys[way].high == key.high) return bucket.ids[way];
    }
    return 0;
}

}  // namespace

void PieceEncoder::encode(std::string_view text, Pattern pattern) {
    const char* ends[kPieces];
    PieceWalker walker(pattern, text);
    const char* start = text.data();
    while (const std::size_t n = walker.next(ends, kPieces)) {
        prepare(start, ends, n, text.data() + text.size());
        look_up(start, ends, n);
        start = ends[n - 1];
    }
    flush();
}

/// Makes keys and asks memory for their lines, so that the look-ups find them near.
void PieceEncoder::prepare(const char* start, const char* const* ends, std::size_t n, const char* readable_end) {
    for (std::size_t i = 0; i < n; start = ends[i++]) {
        const auto size = static_cast<std::size_t>(ends[i] - start);
        Probe& probe = probes_[i];
        if (size > kMiddle || (size > kShort && leads_three_bytes(*start))) {
            probe.key.low = probe.key.high = kRare;
            continue;
        }
        probe.key = readable_end - start >= 16 ? key_of(start, size, 0) : key_of_copy({start, size}, 0);
        if (size <= kShort) {
            probe.hash = ShortPieces::hash_of(probe.key.low);
            __builtin_prefetch(cache_.short_pieces.bucket(probe.hash));
        } else {
            probe.hash = MiddlePieces::hash_of(probe.key);
            __builtin_prefetch(cache_.middle_pieces.bucket(probe.hash));
        }
    }
}

void PieceEncoder::look_up(const char* start, const char* const* ends, std::size_t n) {
    for (std::size_t i = 0; i < n; start = ends[i++]) {
        const Probe& probe = probes_[i];
        std::uint64_t packed = 0;
        if (probe.key.high == 0 && probe.key.low != kRare) {
            packed = find(*cache_.short_pieces.bucket(probe.hash), probe.key.low);
        } else if (probe.key.high != 0) {
            packed = find(*cache_.middle_pieces.bucket(probe.hash), probe.key);
        }
        if (packed != 0) {
            n_ids_ += PackedIds::unpack(packed, ids_ + n_ids_);
            if (n_ids_ >= kIds) flush();
            continue;
        }
        const std::string_view piece(start, static_cast<std::size_t>(ends[i] - start));
        if (probe.key.low == kRare && probe.key.high == kRare) {
            encode_rare(piece);
        } else {
            encode_uncached(piece, probe, false);
        }
    }
}

/// A piece with a key that is not in its table: it will be, if its ids fit there.
void PieceEncoder::encode_uncached(std::string_view piece, const Probe& probe, bool inner) {
    const std::vector<std::uint32_t>& ids = ids_of(piece, inner);
    if (PackedIds::fits(ids.data(), ids.size())) {
        const std::uint64_t packed = PackedIds::pack(ids.data(), ids.size());
        if (probe.key.high == 0) {
            cache_.short_pieces.insert(probe.hash, probe.key.low, packed);
        } else {
            cache_.middle_pieces.insert(probe.hash, probe.key, packed);
        }
    }
    append(ids.data(), ids.size());
}

/// A piece that is long, or a run of characters of three bytes: cut where no merge can cross.
void PieceEncoder::encode_rare(std::string_view piece) {
    std::size_t cut = encoder_.joins_.first_cut(piece);
    if (cut == piece.size()) {
        const std::vector<std::uint32_t>& ids = ids_of(piece, false);
        return append(ids.data(), ids.size());
    }
    for (; !piece.empty(); cut = encoder_.joins_.first_cut(piece)) {
        encode_inner(piece.substr(0, cut));
        piece.remove_prefix(cut);
    }
}

void PieceEncoder::encode_inner(std::string_view part) {
    if (part.size() > kMiddle) {
        const std::vector<std::uint32_t>& ids = ids_of(part, true);
        return append(ids.data(), ids.size());
    }
    Probe probe;
    probe.key = key_of_copy(part, kInner);
    std::uint64_t packed;
    if (probe.key.high == 0) {
        probe.hash = ShortPieces::hash_of(probe.key.low);
        packed = find(*cache_.short_pieces.bucket(probe.hash), probe.key.low);
    } else {
        probe.hash = MiddlePieces::hash_of(probe.key);
        packed = find(*cache_.middle_pieces.bucket(probe.hash), probe.key);
    }
    if (packed == 0) return encode_uncached(part, probe, true);
    n_ids_ += PackedIds::unpack(packed, ids_ + n_ids_);
    if (n_ids_ >= kIds) flush();
}

/// The ids of a piece from the arena or by merging; they stand in the scratch vector.
const std::vector<std::uint32_t>& PieceEncoder::ids_of(std::string_view piece, bool inner) {
    std::vector<std::uint32_t>& ids = cache_.scratch;
    ids.clear();
    const bool keep = piece.size() <= LongPieces::kLongest;
    const std::uint64_t hash = keep ? hash_bytes(piece) : 0;
    if (keep && cache_.long_pieces.find(hash, piece, inner, ids)) return ids;
    if (inner) {
        encoder_.merge_piece(piece, ids);
    } else {
        encoder_.encode_piece(piece, ids);
    }
    if (keep && (piece.size() > kMiddle || !PackedIds::fits(ids.data(), ids.size()))) {
        cache_.long_pieces.insert(hash, piece, inner, ids);
    }
    return ids;
}

void PieceEncoder::append(const std::uint32_t* ids, std::size_t count) {
    if (n_ids_ + count > kIds) flush();
    if (count > kIds) return out_.append(ids, count);
    std::copy_n(ids, count, ids_ + n_ids_);
    n_ids_ += count;
    if (n_ids_ >= kIds) flush();
}

void PieceEncoder::flush() {
    if (n_ids_ > 0) out_.append(ids_, n_ids_);
    n_ids_ = 0;
}

}  // namespace tilth
