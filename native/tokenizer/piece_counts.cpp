#include "piece_counts.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <memory>
#include <queue>
#include <stdexcept>

#include "../unicode/character_class.h"
#include "pretokenize_simd.h"

namespace tilth {

namespace {

constexpr std::size_t kKeyBytes = 15;
constexpr std::size_t kPieces = 320;
constexpr char kMagic[8] = {'t', 'i', 'l', 't', 'h', 'c', 'n', '1'};

std::string_view bytes_of(const PieceKey& key) {
    return {reinterpret_cast<const char*>(&key), key.high >> 56};
}

constexpr std::uint64_t kEnd = ~std::uint64_t{0};  // in the position of the size of a piece

/// Counts of one file, one after the other.
class CountReader {
  public:
    explicit CountReader(const std::string& path) : path_(path), file_(path, std::ios::binary) {
        char magic[sizeof kMagic];
        if (!file_.read(magic, sizeof magic) || std::memcmp(magic, kMagic, sizeof magic) != 0) {
            fail("is not a file of piece counts");
        }
        label_ = bytes(number());
        const auto is_printable = [](char c) { return c >= ' ' && c <= '~'; };
        if (!std::all_of(label_.begin(), label_.end(), is_printable)) fail("is broken: its label is not ASCII");
        next();
    }

    bool done() const { return done_; }
    const std::string& label() const { return label_; }
    const std::string& piece() const { return piece_; }
    std::int64_t count() const { return count_; }

    void next() {
        const std::uint64_t size = number();
        done_ = size == kEnd;
        if (done_) return;
        std::string piece = bytes(size);
        count_ = static_cast<std::int64_t>(number());
        if (piece <= piece_ || count_ <= 0) fail("is broken: pieces out of order, or a count below 1");
        piece_ = std::move(piece);
    }

    [[noreturn]] void fail(const std::string& how) const { throw std::runtime_error(path_ + " " + how); }

  private:
    std::uint64_t number() {
        std::uint64_t value = 0;
        if (!file_.read(reinterpret_cast<char*>(&value), sizeof value)) fail("is cut off");
        return value;
    }

    std::string bytes(std::uint64_t size) {
        std::string value;
        // In steps, so that a broken size meets the end of the file before it meets the end of memory.
        while (value.size() < size) {
            const std::size_t start = value.size(), step = std::min<std::uint64_t>(size - start, 1 << 20);
            value.resize(start + step);
            if (!file_.read(value.data() + start, static_cast<std::streamsize>(step))) fail("is cut off");
        }
        return value;
    }

    std::string path_;
    std::ifstream file_;
    std::string label_, piece_;
    std::int64_t count_ = 0;
    bool done_ = false;
};

class CountWriter {
  public:
    CountWriter(const std::string& path, const std::string& label)
        : path_(path), file_(path, std::ios::binary | std::ios::trunc) {
        file_.write(kMagic, sizeof kMagic);
        bytes(label);
    }

    void write(std::string_view piece, std::int64_t count) {
        bytes(piece);
        number(static_cast<std::uint64_t>(count));
    }

    void finish() {
        number(kEnd);
        file_.close();
        if (!file_) throw std::runtime_error(path_ + " could not be written");
    }

  private:
    void number(std::uint64_t value) { file_.write(reinterpret_cast<const char*>(&value), sizeof value); }
    void bytes(std::string_view value) {
        number(value.size());
        file_.write(value.data(), static_cast<std::streamsize>(value.size()));
    }

    std::string path_;
    std::ofstream file_;
};

}  // namespace

void PieceCounts::add(std::string_view piece, std::int64_t count) {
    if (piece.empty()) return;
    if (piece.size() <= kKeyBytes) {
        const PieceKey key = key_of(piece);
        return add_key(key, key.hash() >> 32, count);
    }
    const auto found = long_.find(piece);
    if (found != long_.end()) {
        found->second += count;
    } else {
        long_.emplace(piece, count);
    }
}

void PieceCounts::add_key(const PieceKey& key, std::uint64_t hash, std::int64_t count) {
    const auto find_slot = [&] {
        const std::size_t mask = slots_.size() - 1;
        std::size_t i = hash & mask;
        while (slots_[i].count != 0 && (slots_[i].key.low != key.low || slots_[i].key.high != key.high)) {
            i = (i + 1) & mask;
        }
        return i;
    };
    std::size_t i = find_slot();
    if (slots_[i].count == 0) {
        // Before the piece is added: the table must keep empty slots even if there is no memory to grow.
        if (2 * (n_short_ + 1) > slots_.size()) {
            grow();
            i = find_slot();
        }
        slots_[i].key = key;
        ++n_short_;
    }
    slots_[i].count += count;
}

/// Raises std::bad_alloc and then leaves the table as it was.
void PieceCounts::grow() {
    std::vector<Slot> old(4 * slots_.size());
    old.swap(slots_);
    n_short_ = 0;
    for (const Slot& slot : old) {
        if (slot.count != 0) add_key(slot.key, slot.key.hash() >> 32, slot.count);
    }
}

void PieceCounts::add_segment(std::string_view segment, Pattern pattern, std::int64_t weight) {
    const char* ends[kPieces];
    std::array<PieceKey, kPieces> keys;
    std::array<std::uint64_t, kPieces> hashes;
    PieceWalker walker(pattern, segment);
    const char* start = segment.data();
    const char* const readable_end = start + segment.size();
    while (const std::size_t n = walker.next(ends, kPieces)) {
        const char* p = start;
        for (std::size_t i = 0; i < n; p = ends[i++]) {
            const auto size = static_cast<std::size_t>(ends[i] - p);
            if (size > kKeyBytes) continue;
            keys[i] = readable_end - p >= 16 ? readable_key(p, size) : key_of({p, size});
            hashes[i] = keys[i].hash() >> 32;
            __builtin_prefetch(&slots_[hashes[i] & (slots_.size() - 1)], 1);
        }
        for (std::size_t i = 0; i < n; start = ends[i++]) {
            const auto size = static_cast<std::size_t>(ends[i] - start);
            if (size <= kKeyBytes) {
                add_key(keys[i], hashes[i], weight);
            } else {
                add({start, size}, weight);
            }
        }
    }
}

void PieceCounts::add_text(std::string_view text, Pattern pattern, const SpecialTokens& specials, std::int64_t weight) {
    std::size_t start = 0;
    while (const auto match = specials.find(text, start)) {
        add_segment(text.substr(start, match->start - start), pattern, weight);
        start = match->end;
    }
    add_segment(text.substr(start), pattern, weight);
}

void PieceCounts::add_all(const PieceCounts& other) {
    for (const Slot& slot : other.slots_) {
        if (slot.count != 0) add_key(slot.key, slot.key.hash() >> 32, slot.count);
    }
    for (const auto& [piece, count] : other.long_) add(piece, count);
}

std::vector<PieceCounts::Counted> PieceCounts::sorted(std::int64_t minimum) const {
    struct Entry {
        std::uint64_t first_bytes;  // as a number of the same order, so that sorting seldom looks at the piece
        Counted counted;
    };
    std::vector<Entry> entries;
    entries.reserve(size());
    const auto add = [&](std::string_view piece, std::int64_t count) {
        unsigned char first[8] = {};
        std::memcpy(first, piece.data(), std::min<std::size_t>(piece.size(), sizeof first));
        std::uint64_t number = 0;
        for (const unsigned char byte : first) number = number << 8 | byte;
        entries.push_back({number, {piece, count}});
    };
    for (const Slot& slot : slots_) {
        if (slot.count >= minimum && slot.count != 0) add(bytes_of(slot.key), slot.count);
    }
    for (const auto& [piece, count] : long_) {
        if (count >= minimum) add(piece, count);
    }
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
        return a.first_bytes != b.first_bytes ? a.first_bytes < b.first_bytes : a.counted.piece < b.counted.piece;
    });
    std::vector<Counted> all;
    all.reserve(entries.size());
    for (const Entry& entry : entries) all.push_back(entry.counted);
    return all;
}

std::map<std::string, std::int64_t> PieceCounts::characters() const {
    std::map<std::string, std::int64_t> counts;
    for (const auto& [piece, count] : sorted(1)) {
        const char* const end = piece.data() + piece.size();
        for (const char* p = piece.data(); p < end;) {
            const auto length = static_cast<std::size_t>(character_at(p, end).length);
            // A single byte that is not ASCII is part of no character.
            if (length > 1 || static_cast<unsigned char>(*p) < 0x80) counts[std::string(p, length)] += count;
            p += length;
        }
    }
    return counts;
}

void PieceCounts::write(const std::string& path, const std::string& label) const {
    CountWriter writer(path, label);
    for (const auto& [piece, count] : sorted(1)) writer.write(piece, count);
    writer.finish();
}

void PieceCounts::read(const std::string& path, const std::string& label, std::int64_t minimum) {
    CountReader reader(path);
    if (reader.label() != label) reader.fail("was cut in another way: " + reader.label() + ", not " + label);
    for (; !reader.done(); reader.next()) {
        if (reader.count() >= minimum) add(reader.piece(), reader.count());
    }
}

void merge_count_files(const std::vector<std::string>& paths, const std::string& out) {
    if (paths.empty()) throw std::invalid_argument("no count files to merge");
    std::vector<std::unique_ptr<CountReader>> readers;
    for (const std::string& path : paths) {
        readers.push_back(std::make_unique<CountReader>(path));
        const std::string& label = readers[0]->label();
        if (readers.back()->label() != label) {
            readers.back()->fail("was cut in another way: " + readers.back()->label() + ", not " + label);
        }
    }
    const auto is_later = [](const CountReader* a, const CountReader* b) { return a->piece() > b->piece(); };
    std::priority_queue<CountReader*, std::vector<CountReader*>, decltype(is_later)> queue(is_later);
    for (const auto& reader : readers) {
        if (!reader->done()) queue.push(reader.get());
    }
    CountWriter writer(out, readers[0]->label());
    while (!queue.empty()) {
        const std::string piece = queue.top()->piece();
        std::int64_t count = 0;
        while (!queue.empty() && queue.top()->piece() == piece) {
            CountReader* const reader = queue.top();
            queue.pop();
            count += reader->count();
            reader->next();
            if (!reader->done()) queue.push(reader);
        }
        writer.write(piece, count);
    }
    writer.finish();
}

}  // namespace tilth
