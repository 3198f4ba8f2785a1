// A text is cut into runs by the hundred; their cache lines are prefetched, and then they are looked up. Characters
// that join nothing go past that by a table. Ids gather in a buffer with room to spare, so that a look-up may write as
// many as an entry has room for.
#include "sentencepiece_encode.h"

#include <algorithm>
#include <array>
#include <string>

#include "run_table.h"

namespace tilth {

namespace {

constexpr std::size_t kRuns = 128;           // that are cut before the first of them is looked up
constexpr std::size_t kShortRun = 32;        // symbols
constexpr std::size_t kIds = 8192;           // room for those that wait to be appended to the output
constexpr std::size_t kMostCached = 15;  // ids of a run
// A batch begins with half of the room.
static_assert(kIds / 2 > (kRuns + 1) * (kMostCached + 1));

/// Merges up to kShortRun symbols in place, looking for the least rank each time; returns how many are left.
/// `merges[i]` is that of symbols i and i + 1.
template <class Find>
std::size_t merge_short(std::uint32_t* symbols, std::size_t n, Merge* merges, Find&& find) {
    while (n > 1) {
        std::uint64_t least = ~std::uint64_t{0};
        for (std::size_t i = 0; i + 1 < n; ++i) least = std::min(least, std::uint64_t{merges[i].rank} << 8 | i);
        if (least >> 8 == kNone) break;
        const std::size_t position = least & 0xFF;
        symbols[position] = merges[position].id;
        --n;
        for (std::size_t i = position + 1; i < n; ++i) {
            symbols[i] = symbols[i + 1];
            merges[i] = merges[i + 1];
        }
        if (position > 0) merges[position - 1] = find(symbols[position - 1], symbols[position]);
        if (position + 1 < n) merges[position] = find(symbols[position], symbols[position + 1]);
    }
    return n;
}

bool is_high(char c) { return static_cast<signed char>(c) < 0; }

std::vector<std::pair<std::string, std::uint32_t>> named(const SentencePieces& vocabulary) {
    std::vector<std::pair<std::string, std::uint32_t>> tokens;
    for (const std::uint32_t id : vocabulary.user_defined) tokens.emplace_back(vocabulary.pieces.at(id), id);
    return tokens;
}

}  // namespace

/// What one thread needs to encode: runs that came before, and room for a batch of them.
template <class Id>
struct RunCache {
    using Short = RunTable<2, Id, std::size_t{1} << 17>;
    using Long = RunTable<4, Id, std::size_t{1} << 15>;
    static constexpr std::size_t kShortest = Short::Key::kMostBytes, kLongest = Long::Key::kMostBytes;

    struct Probe {
        union {
            typename Short::Key short_key;
            typename Long::Key long_key;
        };
        std::uint64_t hash;
    };

    Short short_runs;
    Long long_runs;
    std::array<const char*, kRuns + 8> ends;
    std::array<Probe, kRuns> probes;
    std::vector<std::uint32_t> symbols;
    std::array<Id, kIds> ids;
};

struct SentencePieceEncoder::Caches {
    IdlePool<RunCache<std::uint16_t>> narrow;
    IdlePool<RunCache<std::uint32_t>> wide;

    template <class Id>
    auto& of() {
        if constexpr (sizeof(Id) == 2) {
            return narrow;
        } else {
            return wide;
        }
    }
};

namespace {

/// The hot loop: one text through one thread's cache.
template <class Id>
class RunEncoder {
  public:
    using Cache = RunCache<Id>;

    RunEncoder(const SentencePieceTables& tables, const SentencePieceEncoder::Options& options, Cache& cache,
               std::vector<Id>& out)
        : tables_(tables), options_(options), cache_(cache), out_(out), start_(out.size()) {}

    /// Text that no user-defined piece touches; `add_space`: as if a space were in front.
    void encode(std::string_view text, bool add_space) {
        const char* p = text.data();
        const char* const end = p + text.size();
        readable_end_ = end;
        if (add_space) p = encode_first(p, end);
        while (p < end) {
            p = encode_single(p, end);
            if (n_ids_ > kIds / 2) flush();
            if (p == end) break;
            const std::size_t n = cut(p, end);
            if (options_.dropout > 0 || !options_.use_cache) {
                encode_uncached(p, n);
            } else {
                prepare(p, n);
                look_up(p, n);
            }
            p = cache_.ends[n - 1];
        }
        flush();
    }

    void append(std::uint32_t id) { out_.push_back(static_cast<Id>(id)); }

  private:
    struct Character {
        Symbol symbol;
        std::uint32_t length;
    };

    Character character_at(const char* p, const char* end) const {
        const CodePoint character = code_point_at(p, end);
        return {tables_.symbol(character.code), character.length};
    }

    /// Encodes a space and what joins it; returns the end of that.
    const char* encode_first(const char* text, const char* end) {
        const char* p = text;
        for (Symbol left = tables_.symbol(' '); p < end;) {
            const Character next = character_at(p, end);
            if (!tables_.may_join(left, next.symbol)) break;
            left = next.symbol;
            p += next.length;
        }
        std::string run(1, ' ');
        encode_run(run.append(text, p));
        return p;
    }

    /// Characters of up to three bytes that don't join the next, such as nearly all Chinese ones, numbers and signs
    /// between them: each is a token or its bytes. Returns the first that is not so.
    const char* encode_single(const char* p, const char* end) {
        const std::uint64_t* const singles = tables_.singles();
        if (singles == nullptr) return p;
        Id* out = cache_.ids.data() + n_ids_;
        const Id* const last = cache_.ids.data() + kIds - 3;  // at least kIds / 2 ids away
        while (end - p >= 3 && out < last) {
            const auto byte = [&](int i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(p[i])); };
            const auto is_inside = [&](int i) { return (byte(i) & 0xC0) == 0x80; };
            std::uint32_t code = byte(0), length = 1;
            if (code >= 0xE0) {
                code = (code & 0xF) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
                length = 3;
                if (byte(0) >= 0xF0 || !is_inside(1) || !is_inside(2) || code < 0x800) break;
            } else if (code >= 0x80) {
                code = (code & 0x1F) << 6 | (byte(1) & 0x3F);
                length = 2;
                if (byte(0) < 0xC2 || !is_inside(1)) break;
            }
            const std::uint64_t single = singles[code];
            if (SingleIds::joins(single) && joins_next(code, p + length, end)) break;
            out += SingleIds::unpack(single, out);
            p += length;
        }
        n_ids_ = static_cast<std::size_t>(out - cache_.ids.data());
        return p;
    }

    bool joins_next(std::uint32_t code, const char* next, const char* end) const {
        return next < end && tables_.may_join(tables_.symbol(code), character_at(next, end).symbol);
    }

    /// Finds the ends of the next runs, from the cut `p` on; returns how many.
    std::size_t cut(const char* p, const char* end) {
        const char** const ends = cache_.ends.data();
        std::size_t n = 0;
        Character left = character_at(p, end);
        p += left.length;
        while (n < kRuns && p < end) {
            const Character here = character_at(p, end);
            const bool is_cut = !tables_.may_join(left.symbol, here.symbol);
            ends[n] = p;
            n += is_cut;
            const bool joins_nothing = is_cut && here.symbol.joiner == 0 && here.length > 1;
            if (joins_nothing && end - p >= 8 && is_high(p[here.length])) return n;  // encode_single continues
            left = here;
            p += here.length;
            if (here.length == 1 && !is_high(p[-1]) && end - p >= 8) {
                n = cut_ascii(p, end, n);
                left = {tables_.symbol(static_cast<unsigned char>(p[-1])), 1};
            }
        }
        if (n >= kRuns) return kRuns;
        ends[n] = end;
        return n + 1;
    }

    /// Continues from `p`, behind a character of ASCII, while there are eight of them.
    std::size_t cut_ascii(const char*& p, const char* end, std::size_t n) {
        const char** const ends = cache_.ends.data();
        const char* at = p;
        for (; n < kRuns && end - at >= 8; at += 8) {
            std::uint64_t eight;
            std::memcpy(&eight, at, 8);
            if ((eight & 0x8080808080808080) != 0) break;
            for (int i = 0; i < 8; ++i) {
                ends[n] = at + i;
                n += !tables_.ascii_may_join(static_cast<unsigned char>(at[i - 1]), static_cast<unsigned char>(at[i]));
            }
        }
        p = at;
        return n;
    }

    /// Makes keys and prefetches their cache lines.
    void prepare(const char* start, std::size_t n) {
        const auto behind = static_cast<std::size_t>(readable_end_ - cache_.ends[n - 1]);
        const bool is_readable = behind >= sizeof(typename Cache::Long::Key);
        for (std::size_t i = 0; i < n; start = cache_.ends[i++]) {
            const auto size = static_cast<std::size_t>(cache_.ends[i] - start);
            if (size <= Cache::kShortest) {
                prepare(cache_.short_runs, cache_.probes[i].short_key, i, {start, size}, is_readable);
            } else if (size <= Cache::kLongest) {
                prepare(cache_.long_runs, cache_.probes[i].long_key, i, {start, size}, is_readable);
            }
        }
    }

    template <class Table>
    void prepare(const Table& table, typename Table::Key& key, std::size_t i, std::string_view run, bool is_readable) {
        key = is_readable ? Table::Key::of_readable(run.data(), run.size()) : Table::Key::of(run);
        cache_.probes[i].hash = key.hash();
        const auto& bucket = table.bucket(cache_.probes[i].hash);
        __builtin_prefetch(&bucket);
        __builtin_prefetch(&table.bucket(cache_.probes[i].hash ^ 1));
        if constexpr (sizeof bucket > 64) __builtin_prefetch(&bucket.entries[1]);
    }

    void look_up(const char* start, std::size_t n) {
        for (std::size_t i = 0; i < n; start = cache_.ends[i++]) {
            const std::string_view run(start, static_cast<std::size_t>(cache_.ends[i] - start));
            if (run.size() <= Cache::kShortest) {
                look_up(cache_.short_runs, cache_.probes[i].short_key, cache_.probes[i].hash, run);
            } else if (run.size() <= Cache::kLongest) {
                look_up(cache_.long_runs, cache_.probes[i].long_key, cache_.probes[i].hash, run);
            } else {
                encode_run(run);
            }
        }
    }

    template <class Table>
    void look_up(Table& table, const typename Table::Key& key, std::uint64_t hash, std::string_view run) {
        const auto& entry = Table::likely(table.bucket(hash), key);
        if (entry.key == key) [[likely]] {
            append(entry);
        } else {
            encode_missed(table, key, hash, run);
        }
    }

    template <class Table>
    [[gnu::noinline]] void encode_missed(Table& table, const typename Table::Key& key, std::uint64_t hash,
                                         std::string_view run) {
        if (const auto* const entry = table.find_in_second(hash, key)) return append(*entry);
        const std::size_t count = encode_run(run);
        if (count == 0 || count > Table::kMostIds) return;
        table.insert(hash, key, cache_.ids.data() + n_ids_ - count, count);
    }

    template <class Entry>
    void append(const Entry& entry) {
        std::memcpy(cache_.ids.data() + n_ids_, entry.ids.data(), sizeof entry.ids);
        n_ids_ += entry.count();
    }

    void encode_uncached(const char* start, std::size_t n) {
        for (std::size_t i = 0; i < n; start = cache_.ends[i++]) encode_run({start, cache_.ends[i]});
    }

    /// Merges a run. Returns how many ids it has, which end the buffer; 0 if they are not cached, because they
    /// are many or depend on what came before.
    std::size_t encode_run(std::string_view run) {
        if (n_ids_ > kIds / 2) flush();
        const std::size_t before = out_.size() + n_ids_;
        is_lasting_ = true;
        std::vector<std::uint32_t>& symbols = cache_.symbols;
        symbols.clear();
        for_each_character(run, [&](std::size_t, std::size_t, std::uint32_t code) {
            symbols.push_back(tables_.symbol(code).id);
        });
        if (symbols[0] == kNone) {  // such a character is a run of its own
            emit_unknown(run);
        } else {
            merge(symbols);
            emit(symbols);
        }
        const std::size_t count = out_.size() + n_ids_ - before;
        if (count <= kMostCached) return is_lasting_ ? count : 0;
        flush();
        return 0;
    }

    void emit(const std::vector<std::uint32_t>& symbols) {
        for (const std::uint32_t id : symbols) {
            if (n_ids_ == kIds) flush();
            if (id < tables_.size()) {
                cache_.ids[n_ids_++] = static_cast<Id>(id);
            } else {
                emit_unknown(tables_.part(id));
            }
        }
    }

    void merge(std::vector<std::uint32_t>& symbols) {
        const auto find = [&](std::uint32_t left, std::uint32_t right) { return tables_.merge_of(left, right); };
        if (options_.dropout > 0) {
            merge_with_queue(symbols, find, [&] { return options_.random->next() < options_.dropout; });
        } else if (symbols.size() > kShortRun) {
            merge_with_queue(symbols, find, [] { return false; });
        } else if (symbols.size() > 1) {
            std::array<Merge, kShortRun> merges;
            for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
                merges[i] = tables_.first_merge_of(symbols[i], symbols[i + 1]);
            }
            symbols.resize(merge_short(symbols.data(), symbols.size(), merges.data(), find));
        }
    }

    /// Bytes that are in no piece. Without byte fallback ids depend on what came before: a run of unknowns is one.
    void emit_unknown(std::string_view bytes) {
        if (n_ids_ + 4 > kIds) flush();
        if (tables_.has_byte_ids()) {
            for (const char c : bytes) {
                cache_.ids[n_ids_++] = static_cast<Id>(tables_.byte_ids()[static_cast<unsigned char>(c)]);
            }
            return;
        }
        is_lasting_ = false;
        const std::uint32_t unknown = tables_.vocabulary().unknown_id;
        const bool continues =
            n_ids_ > 0 ? cache_.ids[n_ids_ - 1] == unknown : out_.size() > start_ && out_.back() == unknown;
        if (!continues) cache_.ids[n_ids_++] = static_cast<Id>(unknown);
        if (UnknownRuns* const runs = options_.unknown) {
            if (!continues) runs->emplace_back(out_.size() + n_ids_ - 1, 0);
            runs->back().second += static_cast<std::uint32_t>(bytes.size());
        }
    }

    void flush() {
        out_.insert(out_.end(), cache_.ids.data(), cache_.ids.data() + n_ids_);
        n_ids_ = 0;
    }

    const SentencePieceTables& tables_;
    const SentencePieceEncoder::Options& options_;
    Cache& cache_;
    std::vector<Id>& out_;
    const std::size_t start_;  // where this text's ids begin
    const char* readable_end_ = nullptr;
    std::size_t n_ids_ = 0;
    bool is_lasting_ = true;
};

}  // namespace

SentencePieceEncoder::SentencePieceEncoder(SentencePieceTables tables)
    : tables_(std::move(tables)), caches_(std::make_unique<Caches>()) {
    if (!tables_.vocabulary().user_defined.empty()) user_defined_.emplace(named(tables_.vocabulary()));
}

SentencePieceEncoder::SentencePieceEncoder(SentencePieceEncoder&&) noexcept = default;
SentencePieceEncoder::~SentencePieceEncoder() = default;

template <class Id>
void SentencePieceEncoder::encode(std::string_view text, const Options& options, std::vector<Id>& out) const {
    if (text.empty()) return;
    const typename IdlePool<RunCache<Id>>::Lease cache(caches_->of<Id>());
    RunEncoder<Id> encoder(tables_, options, *cache, out);
    std::string changed;
    if (options.unknown != nullptr || user_defined_) text = changed = with_spaces(text);
    if (!user_defined_) return encoder.encode(text, options.add_space);
    if (options.add_space) text = changed.insert(0, 1, ' ');
    std::size_t start = 0;
    while (const auto match = user_defined_->find(text, start)) {
        encoder.encode(text.substr(start, match->start - start), false);
        encoder.append(match->id);
        start = match->end;
    }
    encoder.encode(text.substr(start), false);
}

template void SentencePieceEncoder::encode(std::string_view, const Options&, std::vector<std::uint16_t>&) const;
template void SentencePieceEncoder::encode(std::string_view, const Options&, std::vector<std::uint32_t>&) const;

std::size_t SentencePieceEncoder::last_cut(std::string_view text) const {
    const auto character = [&](std::size_t at) { return code_point_at(text.data() + at, text.data() + text.size()); };
    const auto is_inside = [&](std::size_t at) { return (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80; };
    std::size_t right = text.size();
    while (right > 0) {
        do --right;
        while (right > 0 && is_inside(right));
        if (right == 0) break;
        std::size_t left = right - 1;
        while (left > 0 && right - left < 4 && is_inside(left)) --left;
        const CodePoint before = character(left), after = character(right);
        const bool is_whole = before.code < kInvalid && after.code < kInvalid && left + before.length == right;
        const Symbol symbol = tables_.symbol(before.code), next = tables_.symbol(after.code);
        if (is_whole && symbol.id < tables_.size() && !tables_.may_join(symbol, next)) return right;
    }
    return 0;
}

std::vector<Segment> SentencePieceEncoder::segments(std::string_view text, const SpecialTokens* specials,
                                                    PrefixSpace prefix, std::size_t size) const {
    std::vector<Segment> found;
    const auto add = [&](std::size_t start, std::size_t end) {
        const std::string_view part = text.substr(start, end - start);
        const bool has_space = part.starts_with(' ') || part.starts_with(kSpaceMark);
        const bool wanted = start == 0 ? prefix.first : prefix.later;
        if (!part.empty()) add_segments(part, wanted && !(prefix.unless_space && has_space), size, found);
    };
    std::size_t done = 0;
    while (specials != nullptr) {
        const auto match = specials->find(text, done);
        if (!match) break;
        add(done, match->start);
        found.push_back({{}, false, match->id});
        done = match->end;
    }
    add(done, text.size());
    return found;
}

void SentencePieceEncoder::add_segments(std::string_view text, bool add_space, std::size_t size,
                                        std::vector<Segment>& out) const {
    for (std::size_t wanted = size; text.size() > wanted;) {
        const std::size_t cut = last_cut(text.substr(0, wanted));
        wanted = cut == 0 ? 2 * wanted : size;
        if (cut == 0) continue;
        out.push_back({text.substr(0, cut), add_space});
        text.remove_prefix(cut);
        add_space = false;
    }
    out.push_back({text, add_space});
}

template <class Id>
void SentencePieceEncoder::encode(const Segment& segment, std::vector<Id>& out) const {
    if (segment.special != kNone) return out.push_back(static_cast<Id>(segment.special));
    Options options;
    options.add_space = segment.add_space;
    encode(segment.text, options, out);
}

template void SentencePieceEncoder::encode(const Segment&, std::vector<std::uint16_t>&) const;
template void SentencePieceEncoder::encode(const Segment&, std::vector<std::uint32_t>&) const;

}  // namespace tilth
