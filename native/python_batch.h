// The ids of many texts on their way to Python as one numpy array with offsets, encoded on several threads.
//
// Several short texts are one task, so that threads seldom ask for work and memory; a long text is a task of its own,
// which all threads work on.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "parallel.h"
#include "python_ids.h"
#include "python_text.h"

namespace tilth {

/// Long texts are cut into parts of about this size, which are tasks of threads.
constexpr std::size_t kPartBytes = std::size_t{1} << 18;
/// Texts of more bytes than this are long.
constexpr std::size_t kLongTextBytes = 2 * kPartBytes;
/// The size of a task of short texts, about.
constexpr std::size_t kTaskBytes = std::size_t{1} << 16;

/// All parts in one vector; each is freed once it is copied.
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

/// The first text of each task, and the end. For one thread, all texts are one task.
template <class IsLong>
std::vector<std::size_t> tasks_of(const std::vector<Text>& texts, std::size_t threads, const IsLong& is_long) {
    if (threads <= 1 && !texts.empty()) return {0, texts.size()};
    std::vector<std::size_t> begins{0};
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < texts.size(); ++i) {
        const std::size_t size = texts[i].view().size();
        if (i > begins.back() && (is_long(i) || is_long(i - 1) || bytes + size > kTaskBytes)) {
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
        const std::vector<std::size_t> begins = tasks_of(texts, threads, is_long);
        std::vector<std::vector<Id>> results(begins.size() - 1);
        parallel_for(results.size(), threads, [&](std::size_t task) {
            if (is_long(begins[task])) return;
            std::size_t bytes = 0;
            for (std::size_t i = begins[task]; i < begins[task + 1]; ++i) bytes += texts[i].view().size();
            results[task].reserve(bytes / 4);
            for (std::size_t i = begins[task]; i < begins[task + 1]; ++i) {
                const std::size_t before = results[task].size();
                append(texts[i].view(), results[task]);
                offsets[i + 1] = static_cast<std::int64_t>(results[task].size() - before);
            }
        });
        for (std::size_t task = 0; task < results.size(); ++task) {
            if (!is_long(begins[task])) continue;
            results[task] = encode_long(texts[begins[task]].view());
            offsets[begins[task + 1]] = static_cast<std::int64_t>(results[task].size());
        }
        for (std::size_t i = 0; i < texts.size(); ++i) offsets[i + 1] += offsets[i];
        all = joined(std::move(results));
    }
    return nanobind::make_tuple(to_numpy(std::move(all)), to_numpy(std::move(offsets)));
}

}  // namespace tilth
