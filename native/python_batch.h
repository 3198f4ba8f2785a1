// The ids of many texts on their way to Python as one numpy array with offsets, encoded on several threads.
//
// Short texts are a unit of work together, so that a thread takes work and memory seldom; a long text is a unit of its
// own, which all threads work on.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "parallel.h"
#include "python_ids.h"
#include "python_text.h"

namespace tilth {

/// Long texts are cut into parts of about this size, which threads take one after the other.
constexpr std::size_t kPartBytes = std::size_t{1} << 18;
/// Texts of more bytes than this are long.
constexpr std::size_t kLongTextBytes = 2 * kPartBytes;
/// About so many bytes of short texts are a unit of work.
constexpr std::size_t kUnitBytes = std::size_t{1} << 16;

/// All parts in one, which take their memory away with them.
template <class Id>
std::vector<Id> joined(std::vector<std::vector<Id>>&& parts) {
    if (parts.size() == 1) return std::move(parts[0]);
    std::vector<Id> all;
    std::size_t n = 0;
    for (const auto& part : parts) n += part.size();
    all.reserve(n);
    for (auto& part : parts) {
        all.insert(all.end(), part.begin(), part.end());
        std::vector<Id>().swap(part);
    }
    return all;
}

/// The first text of each unit of work, and the end. For one thread, all texts are one.
template <class IsLong>
std::vector<std::size_t> units_of(const std::vector<Text>& texts, std::size_t threads, const IsLong& is_long) {
    if (threads <= 1 && !texts.empty()) return {0, texts.size()};
    std::vector<std::size_t> begins{0};
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < texts.size(); ++i) {
        const std::size_t size = texts[i].view().size();
        if (i > begins.back() && (is_long(i) || is_long(i - 1) || bytes + size > kUnitBytes)) {
            begins.push_back(i);
            bytes = 0;
        }
        bytes += size;
    }
    if (!texts.empty()) begins.push_back(texts.size());
    return begins;
}

/// The ids of all texts in one array, and where those of each begin and end.
///
/// `append(text, ids)` adds the ids of a text, on one thread; `encode_long(text)` gives them from several.
template <class Id, class Append, class EncodeLong>
nanobind::tuple batch_to_numpy(const std::vector<Text>& texts, std::size_t threads, const Append& append,
                               const EncodeLong& encode_long) {
    std::vector<std::int64_t> offsets(texts.size() + 1);
    std::vector<Id> all;
    {
        const nanobind::gil_scoped_release release;
        const auto is_long = [&](std::size_t i) { return threads > 1 && texts[i].view().size() > kLongTextBytes; };
        const std::vector<std::size_t> begins = units_of(texts, threads, is_long);
        std::vector<std::vector<Id>> units(begins.size() - 1);
        parallel_for(units.size(), threads, [&](std::size_t unit) {
            if (is_long(begins[unit])) return;
            std::size_t bytes = 0;
            for (std::size_t i = begins[unit]; i < begins[unit + 1]; ++i) bytes += texts[i].view().size();
            units[unit].reserve(bytes / 4);
            for (std::size_t i = begins[unit]; i < begins[unit + 1]; ++i) {
                const std::size_t before = units[unit].size();
                append(texts[i].view(), units[unit]);
                offsets[i + 1] = static_cast<std::int64_t>(units[unit].size() - before);
            }
        });
        for (std::size_t unit = 0; unit < units.size(); ++unit) {
            if (!is_long(begins[unit])) continue;
            units[unit] = encode_long(texts[begins[unit]].view());
            offsets[begins[unit + 1]] = static_cast<std::int64_t>(units[unit].size());
        }
        for (std::size_t i = 0; i < texts.size(); ++i) offsets[i + 1] += offsets[i];
        all = joined(std::move(units));
    }
    return nanobind::make_tuple(to_numpy(std::move(all)), to_numpy(std::move(offsets)));
}

}  // namespace tilth
