#include "sentencepiece_encode.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <stdexcept>
#include <unordered_set>

namespace tilth {

namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581
constexpr std::uint32_t kInvalid = 0x10FFFF + 1;         // a byte that starts no valid UTF-8
constexpr std::size_t kShortRun = 32;

struct Place {
    std::uint32_t code;
    std::uint32_t length;
};

/// The character at `p`, which is before `end`.
Place place_at(const char* p, const char* end) {
    const auto byte = [&](int i) { return static_cast<unsigned char>(p[i]); };
    const auto follows = [&](int i) { return (byte(i) & 0xC0) == 0x80; };
    const std::uint32_t first = byte(0);
    if (first < 0x80) return {first, 1};
    if (first >= 0xC2 && first < 0xE0 && end - p > 1 && follows(1)) return {(first & 0x1F) << 6 | (byte(1) & 0x3Fu), 2};
    if (first >= 0xE0 && first < 0xF0 && end - p > 2 && follows(1) && follows(2)) {
        const std::uint32_t code = (first & 0xF) << 12 | (byte(1) & 0x3Fu) << 6 | (byte(2) & 0x3Fu);
        if (code >= 0x800 && (code < 0xD800 || code > 0xDFFF)) return {code, 3};
    }
    if (first >= 0xF0 && first < 0xF5 && end - p > 3 && follows(1) && follows(2) && follows(3)) {
        const std::uint32_t code =
            (first & 7) << 18 | (byte(1) & 0x3Fu) << 12 | (byte(2) & 0x3Fu) << 6 | (byte(3) & 0x3Fu);
        if (code >= 0x10000 && code <= 0x10FFFF) return {code, 4};
    }
    return {kInvalid, 1};
}

/// Calls `visit(start, length, code)` for each character.
template <class Visit>
void for_each_character(std::string_view text, Visit&& visit) {
    const char* const end = text.data() + text.size();
    for (std::size_t at = 0; at < text.size();) {
        const Place place = place_at(text.data() + at, end);
        visit(at, place.length, place.code);
        at += place.length;
    }
}

std::vector<std::pair<std::string, std::uint32_t>> named(const SentencePieces& vocabulary) {
    std::vector<std::pair<std::string, std::uint32_t>> tokens;
    for (const std::uint32_t id : vocabulary.user_defined) tokens.emplace_back(vocabulary.pieces.at(id), id);
    return tokens;
}

/// Merges up to kShortRun symbols in place, looking for the least rank each time.
template <class Find>
void merge_short(std::vector<std::uint32_t>& symbols, Find&& find) {
    std::array<Merge, kShortRun> merges;  // of each symbol with the next
    std::size_t n = symbols.size();
    for (std::size_t i = 0; i + 1 < n; ++i) merges[i] = find(symbols[i], symbols[i + 1]);
    while (n > 1) {
        std::size_t place = 0;
        for (std::size_t i = 1; i + 1 < n; ++i) place = merges[i].rank < merges[place].rank ? i : place;
        if (merges[place].rank == kNone) break;
        symbols[place] = merges[place].id;
        std::copy(symbols.data() + place + 2, symbols.data() + n, symbols.data() + place + 1);
        std::copy(merges.begin() + place + 1, merges.begin() + n - 1, merges.begin() + place);
        --n;
        if (place > 0) merges[place - 1] = find(symbols[place - 1], symbols[place]);
        if (place + 1 < n) merges[place] = find(symbols[place], symbols[place + 1]);
    }
    symbols.resize(n);
}

/// Runs of up to 8 * kWords - 1 bytes and their ids: direct-mapped, so that a newer run takes the place of an older.
template <std::size_t kWords, std::size_t kIds>
class RunTable {
  public:
    static constexpr std::size_t kMaxBytes = 8 * kWords - 1, kMaxIds = kIds;
    struct Entry {
        std::array<std::uint64_t, kWords> key{};  // the run, and in the last byte its length
        std::array<std::uint32_t, kIds> ids{};
        std::uint32_t count = 0;
    };

    void clear(std::size_t size) { entries_.assign(size, {}); }

    /// The entry at which `run` is or may be put; its count is 0 if it is new. `readable`: bytes from the run's start.
    Entry& at(std::string_view run, std::size_t readable) {
        std::array<std::uint64_t, kWords> key{};
        std::memcpy(key.data(), run.data(), readable >= sizeof key ? sizeof key : run.size());
        std::uint64_t hash = 0;
        for (std::size_t i = 0; i < kWords; ++i) {
            const std::size_t kept = run.size() <= 8 * i ? 0 : std::min<std::size_t>(run.size() - 8 * i, 8);
            key[i] = kept == 0 ? 0 : key[i] << (64 - 8 * kept) >> (64 - 8 * kept);
            if (i == kWords - 1) key[i] |= static_cast<std::uint64_t>(run.size()) << 56;
            hash = mix(hash ^ key[i]);
        }
        Entry& entry = entries_[hash & (entries_.size() - 1)];
        if (entry.key != key) entry = {key, {}, 0};
        return entry;
    }

  private:
    std::vector<Entry> entries_;
};

/// What a thread remembers of one encoder's runs.
struct RunMemory {
    std::uint64_t owner = 0;
    RunTable<2, 3> short_runs;  // 32 bytes an entry
    RunTable<4, 7> long_runs;   // 64

    static RunMemory& of_thread(std::uint64_t owner) {
        thread_local RunMemory memory;
        if (memory.owner != owner) {
            memory.short_runs.clear(1 << 15);
            memory.long_runs.clear(1 << 14);
            memory.owner = owner;
        }
        return memory;
    }
};

std::atomic<std::uint64_t> next_serial{1};

}  // namespace

struct SentencePieceEncoder::Sink {
    const Options& options;
    std::vector<std::uint32_t>& out;
    std::size_t start;  // where this text's ids begin in `out`
    RunMemory& memory;
    std::vector<std::uint32_t> symbols;
};

SentencePieceEncoder::SentencePieceEncoder(SentencePieces vocabulary)
    : vocabulary_(std::move(vocabulary)), serial_(next_serial++), pages_(1), user_defined_(named(vocabulary_)) {
    if (!vocabulary_.byte_ids.empty() && vocabulary_.byte_ids.size() != 256) {
        throw std::invalid_argument("byte fallback needs a token for each of the 256 bytes");
    }
    if (vocabulary_.byte_ids.empty() && vocabulary_.unknown_id == kNone) {
        throw std::invalid_argument("there is neither a token for unknown text nor byte fallback");
    }
}

SentencePieceEncoder::Ids SentencePieceEncoder::find_ids() {
    Ids ids;
    std::size_t n_neighbours = 0;
    ids.reserve(vocabulary_.pieces.size());
    for (std::uint32_t id = 0; id < vocabulary_.pieces.size(); ++id) {
        const std::string& piece = vocabulary_.pieces[id];
        if (piece.empty()) continue;
        const auto [found, is_new] = ids.try_emplace(piece, id);
        if (!is_new) {
            throw std::invalid_argument("token " + std::to_string(id) + " has the same text as token " +
                                        std::to_string(found->second));
        }
        n_neighbours += piece.size();
    }
    joins_ = PairTable(n_neighbours);
    return ids;
}

SentencePieceEncoder::Symbol& SentencePieceEncoder::symbol_to_change(std::uint32_t code) {
    std::uint16_t& page = page_of_[code >> 8];
    if (page == 0) {
        page = static_cast<std::uint16_t>(pages_.size());
        pages_.emplace_back();
    }
    return pages_[page][code & 0xFF];
}

/// Gives every character of `piece` a symbol, and notes which stand side by side.
void SentencePieceEncoder::add_characters(std::string_view piece, const Ids& ids) {
    std::uint32_t previous = kInvalid;
    for_each_character(piece, [&](std::size_t at, std::size_t length, std::uint32_t code) {
        if (code == kInvalid) throw std::invalid_argument("a token is not valid UTF-8");
        Symbol& here = symbol_to_change(code);
        if (here.id == kNone) {
            const auto found = ids.find(piece.substr(at, length));
            here.id = found != ids.end() ? found->second
                                         : static_cast<std::uint32_t>(vocabulary_.pieces.size() + parts_.size());
            if (found == ids.end()) parts_.emplace_back(piece.substr(at, length));
        }
        if (at > 0) {
            here.joins_previous = true;
            symbol_to_change(previous).joins_next = true;
            if (previous < 128 && code < 128) ascii_joins_[previous][code] = true;
            joins_.insert(pair_key(previous, code), {0, 0});
        }
        previous = code;
    });
}

SentencePieceEncoder SentencePieceEncoder::from_ranks(SentencePieces vocabulary,
                                                      const std::vector<std::uint32_t>& ranks) {
    SentencePieceEncoder encoder(std::move(vocabulary));
    const Ids ids = encoder.find_ids();
    const auto& pieces = encoder.vocabulary_.pieces;
    if (ranks.size() != pieces.size()) throw std::invalid_argument("as many ranks as tokens are needed");
    std::size_t n_pairs = 0;
    for (const std::string& piece : pieces) {
        encoder.add_characters(piece, ids);
        n_pairs += piece.size();
    }
    encoder.pairs_ = PairTable(n_pairs);
    const auto part = [&](std::string_view text) -> std::uint32_t {
        const Place place = place_at(text.data(), text.data() + text.size());
        if (place.length == text.size()) return encoder.symbol(place.code).id;
        const auto found = ids.find(text);
        return found == ids.end() || ranks[found->second] == kNone ? kNone : found->second;
    };
    for (std::uint32_t id = 0; id < pieces.size(); ++id) {
        if (ranks[id] == kNone) continue;
        const std::string_view piece = pieces[id];
        for_each_character(piece, [&](std::size_t at, std::size_t, std::uint32_t) {
            if (at == 0) return;
            const std::uint32_t left = part(piece.substr(0, at)), right = part(piece.substr(at));
            if (left != kNone && right != kNone) encoder.pairs_.insert(pair_key(left, right), {ranks[id], id});
        });
    }
    return encoder;
}

SentencePieceEncoder SentencePieceEncoder::from_merges(
    SentencePieces vocabulary, const std::vector<std::pair<std::uint32_t, std::uint32_t>>& merges) {
    SentencePieceEncoder encoder(std::move(vocabulary));
    const Ids ids = encoder.find_ids();
    const auto& pieces = encoder.vocabulary_.pieces;
    encoder.pairs_ = PairTable(merges.size());
    for (const std::string& piece : pieces) {
        if (!piece.empty() && place_at(piece.data(), piece.data() + piece.size()).length == piece.size()) {
            encoder.add_characters(piece, ids);
        }
    }
    for (const std::uint32_t id : encoder.vocabulary_.user_defined) encoder.add_characters(pieces[id], ids);
    for (std::uint32_t rank = 0; rank < merges.size(); ++rank) {
        const auto fail = [&](const char* why) {
            throw std::invalid_argument("merge " + std::to_string(rank) + " " + why);
        };
        const auto [left, right] = merges[rank];
        if (std::max(left, right) >= pieces.size()) fail("names an id outside of the vocabulary");
        if (pieces[left].empty() || pieces[right].empty()) fail("joins a token that takes no part in merging");
        const auto found = ids.find(pieces[left] + pieces[right]);
        if (found == ids.end()) fail("makes a text that is no token");
        if (!encoder.pairs_.insert(pair_key(left, right), {rank, found->second})) fail("repeats an earlier merge");
        encoder.add_characters(pieces[found->second], ids);
    }
    return encoder;
}

bool SentencePieceEncoder::may_join(std::uint32_t left, std::uint32_t right) const {
    return !(vocabulary_.split_at_spaces && right == ' ') && stand_in_a_piece(left, right);
}

bool SentencePieceEncoder::stand_in_a_piece(std::uint32_t left, std::uint32_t right) const {
    if (left < 128 && right < 128) return ascii_joins_[left][right];
    if (left >= kInvalid || right >= kInvalid) return false;
    if (!symbol(left).joins_next || !symbol(right).joins_previous) return false;
    return joins_.find(pair_key(left, right)).rank != kNone;
}

void SentencePieceEncoder::encode(std::string_view text, const Options& options,
                                  std::vector<std::uint32_t>& out) const {
    if (text.empty()) return;
    std::string changed;
    if (options.add_space || text.find(kSpaceMark) != text.npos) {
        changed.reserve(text.size() + 1);
        if (options.add_space) changed += ' ';
        std::size_t at = 0;
        for (std::size_t mark; (mark = text.find(kSpaceMark, at)) != text.npos; at = mark + kSpaceMark.size()) {
            changed.append(text, at, mark - at) += ' ';
        }
        changed.append(text, at, text.npos);
        text = changed;
    }
    Sink sink{options, out, out.size(), RunMemory::of_thread(serial_), {}};
    std::size_t start = 0;
    while (!vocabulary_.user_defined.empty()) {
        const auto match = user_defined_.find(text, start);
        if (!match) break;
        encode_segment(text.substr(start, match->start - start), sink);
        out.push_back(match->id);
        start = match->end;
    }
    encode_segment(text.substr(start), sink);
}

void SentencePieceEncoder::encode_segment(std::string_view text, Sink& sink) const {
    const char* p = text.data();
    const char* const end = p + text.size();
    if (p == end) return;
    Place first = place_at(p, end);
    while (p < end) {
        const char* run_end = p + first.length;
        Place last = first, next{kInvalid, 0};
        while (run_end < end) {
            next = place_at(run_end, end);
            if (!may_join(last.code, next.code)) break;
            last = next;
            run_end += next.length;
        }
        const std::string_view run(p, static_cast<std::size_t>(run_end - p));
        if (run.size() == first.length) {
            encode_character(first.code, run, sink);
        } else {
            encode_run(run, static_cast<std::size_t>(end - p), sink);
        }
        p = run_end;
        first = next;
    }
}

void SentencePieceEncoder::encode_character(std::uint32_t code, std::string_view bytes, Sink& sink) const {
    const std::uint32_t id = code < kInvalid ? symbol(code).id : kNone;
    if (id < vocabulary_.pieces.size()) {
        sink.out.push_back(id);
    } else {
        emit_unknown(bytes, sink);
    }
}

void SentencePieceEncoder::encode_run(std::string_view run, std::size_t readable, Sink& sink) const {
    const auto encode_remembered = [&](auto& table) {
        auto& entry = table.at(run, readable);
        if (entry.count > 0) {
            sink.out.insert(sink.out.end(), entry.ids.data(), entry.ids.data() + entry.count);
            return;
        }
        const std::size_t before = sink.out.size();
        const bool is_lasting = merge_run(run, sink);
        const std::size_t count = sink.out.size() - before;
        if (is_lasting && count <= entry.ids.size()) {
            std::copy(sink.out.begin() + static_cast<std::ptrdiff_t>(before), sink.out.end(), entry.ids.begin());
            entry.count = static_cast<std::uint32_t>(count);
        }
    };
    if (sink.options.dropout > 0 || run.size() > sink.memory.long_runs.kMaxBytes) {
        merge_run(run, sink);
    } else if (run.size() <= sink.memory.short_runs.kMaxBytes) {
        encode_remembered(sink.memory.short_runs);
    } else {
        encode_remembered(sink.memory.long_runs);
    }
}

/// Merges a run; false if its ids depend on what came before it.
bool SentencePieceEncoder::merge_run(std::string_view run, Sink& sink) const {
    std::vector<std::uint32_t>& symbols = sink.symbols;
    symbols.clear();
    for_each_character(run, [&](std::size_t, std::size_t, std::uint32_t code) { symbols.push_back(symbol(code).id); });
    const auto find = [&](std::uint32_t left, std::uint32_t right) { return pairs_.find(pair_key(left, right)); };
    if (sink.options.dropout > 0) {
        merge_with_queue(symbols, find, [&] { return sink.options.random->next() < sink.options.dropout; });
    } else if (symbols.size() > kShortRun) {
        merge_with_queue(symbols, find, [] { return false; });
    } else {
        merge_short(symbols, find);
    }
    bool is_lasting = true;
    for (const std::uint32_t id : symbols) {
        if (id < vocabulary_.pieces.size()) {
            sink.out.push_back(id);
        } else {
            is_lasting &= emit_unknown(parts_[id - vocabulary_.pieces.size()], sink);
        }
    }
    return is_lasting;
}

/// Bytes that are in no piece. False if the ids depend on what came before: a run of unknowns is one.
bool SentencePieceEncoder::emit_unknown(std::string_view bytes, Sink& sink) const {
    if (!vocabulary_.byte_ids.empty()) {
        for (const char c : bytes) sink.out.push_back(vocabulary_.byte_ids[static_cast<unsigned char>(c)]);
        return true;
    }
    const bool goes_on = sink.out.size() > sink.start && sink.out.back() == vocabulary_.unknown_id;
    if (!goes_on) sink.out.push_back(vocabulary_.unknown_id);
    if (UnknownRuns* const runs = sink.options.unknown) {
        if (!goes_on) runs->emplace_back(sink.out.size() - 1, 0);
        runs->back().second += static_cast<std::uint32_t>(bytes.size());
    }
    return false;
}

std::size_t SentencePieceEncoder::last_cut(std::string_view text) const {
    const auto code_at = [&](std::size_t at) {
        const Place place = place_at(text.data() + at, text.data() + text.size());
        const bool is_mark = text.substr(at, kSpaceMark.size()) == kSpaceMark;
        return is_mark ? Place{' ', place.length} : place;
    };
    const auto is_inside = [&](std::size_t at) { return (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80; };
    std::size_t right = text.size();
    while (right > 0) {
        do --right;
        while (right > 0 && is_inside(right));
        if (right == 0) break;
        std::size_t left = right - 1;
        while (left > 0 && right - left < 4 && is_inside(left)) --left;
        const Place before = code_at(left), after = code_at(right);
        const bool is_whole = before.code < kInvalid && after.code < kInvalid && left + before.length == right;
        if (is_whole && symbol(before.code).id < vocabulary_.pieces.size() &&
            !stand_in_a_piece(before.code, after.code)) {
            return right;
        }
    }
    return 0;
}

}  // namespace tilth
