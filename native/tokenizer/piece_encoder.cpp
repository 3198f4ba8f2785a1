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

constexpr PieceKey kRare = {0, 0};  // the key of no piece

std::uint64_t low_bytes(std::uint64_t word, std::size_t n) {
    return word & ((std::uint64_t{1} << (8 * n)) - 1);  // n < 8
}

std::uint64_t load(const char* p) {
    std::uint64_t word;
    std::memcpy(&word, p, 8);
    return word;
}

/// The key of up to 15 bytes, of which 16 can be read. One of up to 7 bytes has all in its low word.
PieceKey readable_key(const char* p, std::size_t size, std::uint64_t flags) {
    const std::uint64_t tag = (size | flags) << 56;
    if (size <= kShort) return {low_bytes(load(p), size) | tag, 0};
    return {load(p), low_bytes(load(p + 8), size - 8) | tag};
}

bool leads_three_bytes(char c) { return (c & 0xF0) == 0xE0; }

/// Where in its bucket a key is, or a negative number.
int way_of(const ShortPieces::Bucket& bucket, std::uint64_t key) {
    const auto hit = [&](int way) { return static_cast<unsigned>(bucket.keys[way] == key) << way; };
    const unsigned hits = hit(0) | hit(1) | hit(2) | hit(3);
    return hits != 0 ? std::countr_zero(hits) : -1;
}

int way_of(const MiddlePieces::Bucket& bucket, const PieceKey& key) {
    for (int way = 0; way < 2; ++way) {
        if (bucket.keys[way].low == key.low && bucket.keys[way].high == key.high) return way;
    }
    return -1;
}

}  // namespace

PieceKey PieceEncoder::key_of(std::string_view piece, std::uint64_t flags) const {
    if (readable_end_ - piece.data() >= 16) return readable_key(piece.data(), piece.size(), flags);
    char bytes[16] = {};
    std::memcpy(bytes, piece.data(), piece.size());
    return readable_key(bytes, piece.size(), flags);
}

void PieceEncoder::encode(std::string_view text, Pattern pattern) {
    const char* ends[kPieces];
    PieceWalker walker(pattern, text);
    const char* start = text.data();
    readable_end_ = start + text.size();
    while (const std::size_t n = walker.next(ends, kPieces)) {
        prepare(start, ends, n);
        look_up(start, ends, n);
        start = ends[n - 1];
    }
    flush();
}

/// Makes keys and asks memory for their lines, so that the look-ups find them near.
void PieceEncoder::prepare(const char* start, const char* const* ends, std::size_t n) {
    const bool readable = readable_end_ - ends[n - 1] >= 16;
    for (std::size_t i = 0; i < n; start = ends[i++]) {
        const auto size = static_cast<std::size_t>(ends[i] - start);
        Probe& probe = probes_[i];
        if (size <= kShort) {
            probe.key = readable ? readable_key(start, size, 0) : key_of({start, size}, 0);
            probe.hash = ShortPieces::hash_of(probe.key.low);
            __builtin_prefetch(cache_.short_pieces.bucket(probe.hash));
        } else if (size <= kMiddle && !leads_three_bytes(start[0]) && !leads_three_bytes(start[1])) {
            probe.key = readable ? readable_key(start, size, 0) : key_of({start, size}, 0);
            probe.hash = MiddlePieces::hash_of(probe.key);
            __builtin_prefetch(cache_.middle_pieces.bucket(probe.hash));
        } else {
            probe.key = kRare;
        }
    }
}

void PieceEncoder::look_up(const char* start, const char* const* ends, std::size_t n) {
    std::uint32_t* out = ids_ + n_ids_;
    for (std::size_t i = 0; i < n; start = ends[i++]) {
        if (out >= ids_ + kIds) {
            n_ids_ = static_cast<std::size_t>(out - ids_);
            flush();
            out = ids_;
        }
        const Probe& probe = probes_[i];
        const auto size = static_cast<std::size_t>(ends[i] - start);
        if (size <= kShort) {
            const ShortPieces::Bucket& bucket = *cache_.short_pieces.bucket(probe.hash);
            if (const int way = way_of(bucket, probe.key.low); way >= 0) {
                out += PackedIds::unpack(bucket.ids[way], out);
                continue;
            }
        } else if (probe.key.high != 0) {
            const MiddlePieces::Bucket& bucket = *cache_.middle_pieces.bucket(probe.hash);
            if (const int way = way_of(bucket, probe.key); way >= 0) {
                out += PackedIds::unpack(bucket.ids[way].first, out);
                out += PackedIds::unpack(bucket.ids[way].second, out);
                continue;
            }
        }
        n_ids_ = static_cast<std::size_t>(out - ids_);
        encode_unknown({start, size}, probe);
        out = ids_ + n_ids_;
    }
    n_ids_ = static_cast<std::size_t>(out - ids_);
}

void PieceEncoder::encode_unknown(std::string_view piece, const Probe& probe) {
    if (piece.size() <= kShort) return encode_short(piece, probe, false);
    if (probe.key.high == 0) return encode_rare(piece);
    const std::vector<std::uint32_t>& ids = ids_of(piece, false);
    append(ids.data(), ids.size());
}

/// A piece of up to 7 bytes. One of more than three ids stands in the table of middle ones.
void PieceEncoder::encode_short(std::string_view piece, const Probe& probe, bool inner) {
    const ShortPieces::Bucket& bucket = *cache_.short_pieces.bucket(probe.hash);
    if (const int way = way_of(bucket, probe.key.low); way >= 0) {
        n_ids_ += PackedIds::unpack(bucket.ids[way], ids_ + n_ids_);
        if (n_ids_ >= kIds) flush();
        return;
    }
    const Probe other = {probe.key, MiddlePieces::hash_of(probe.key)};
    const MiddlePieces::Bucket& middle = *cache_.middle_pieces.bucket(other.hash);
    if (const int way = way_of(middle, other.key); way >= 0) return append(middle.ids[way]);
    const std::vector<std::uint32_t>& ids = ids_of(piece, inner);
    if (PackedIds::fit(ids.data(), ids.size(), PackedIds::kMost)) {
        cache_.short_pieces.insert(probe.hash, probe.key.low, PackedIds::pack(ids.data(), ids.size()));
    }
    append(ids.data(), ids.size());
}

void PieceEncoder::encode_middle(std::string_view piece, const Probe& probe, bool inner) {
    const MiddlePieces::Bucket& bucket = *cache_.middle_pieces.bucket(probe.hash);
    if (const int way = way_of(bucket, probe.key); way >= 0) return append(bucket.ids[way]);
    const std::vector<std::uint32_t>& ids = ids_of(piece, inner);
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
    const PieceKey key = key_of(part, kInner);
    if (part.size() <= kShort) {
        encode_short(part, {key, ShortPieces::hash_of(key.low)}, true);
    } else {
        encode_middle(part, {key, MiddlePieces::hash_of(key)}, true);
    }
}

/// The ids of a piece that is not in the table of short ones; they stand in the scratch vector.
const std::vector<std::uint32_t>& PieceEncoder::ids_of(std::string_view piece, bool inner) {
    std::vector<std::uint32_t>& ids = cache_.scratch;
    ids.clear();
    const bool keep_long = piece.size() > kMiddle && piece.size() <= LongPieces::kLongest;
    const std::uint64_t hash = keep_long ? hash_bytes(piece) : 0;
    if (keep_long && cache_.long_pieces.find(hash, piece, inner, ids)) return ids;
    if (inner) {
        encoder_.merge_piece(piece, ids);
    } else {
        encoder_.encode_piece(piece, ids);
    }
    if (keep_long) {
        cache_.long_pieces.insert(hash, piece, inner, ids);
    } else if (piece.size() <= kMiddle) {
        keep_middle(piece, inner, ids);
    }
    return ids;
}

/// Pieces of more ids than fit, which are hardly words, are merged each time they come.
void PieceEncoder::keep_middle(std::string_view piece, bool inner, const std::vector<std::uint32_t>& ids) {
    constexpr std::size_t most = PackedIds::kMost;
    const bool is_short = piece.size() <= kShort && ids.size() <= most;
    if (is_short || !PackedIds::fit(ids.data(), ids.size(), 2 * most)) return;
    const std::size_t n_first = std::min(most, ids.size());
    const PieceKey key = key_of(piece, inner ? kInner : 0);
    cache_.middle_pieces.insert(MiddlePieces::hash_of(key), key,
                                {PackedIds::pack(ids.data(), n_first),
                                 PackedIds::pack(ids.data() + n_first, ids.size() - n_first)});
}

void PieceEncoder::append(const std::uint32_t* ids, std::size_t count) {
    if (n_ids_ + count > kIds) flush();
    if (count > kIds) return out_.append(ids, count);
    std::copy_n(ids, count, ids_ + n_ids_);
    n_ids_ += count;
    if (n_ids_ >= kIds) flush();
}

inline void PieceEncoder::append(const IdWords& words) {
    n_ids_ += PackedIds::unpack(words.first, ids_ + n_ids_);
    n_ids_ += PackedIds::unpack(words.second, ids_ + n_ids_);
    if (n_ids_ >= kIds) flush();
}

void PieceEncoder::flush() {
    if (n_ids_ > 0) out_.append(ids_, n_ids_);
    n_ids_ = 0;
}

}  // namespace tilth
